"""`with_structured_output`: answers as Pydantic objects, TypedDicts or plain dictionaries."""

import json
from collections.abc import Mapping
from operator import itemgetter
from typing import Any, Literal

from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import BaseGenerationOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, ValidationError
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic.v1 import ValidationError as ValidationErrorV1

Method = Literal["function_calling", "json_schema", "json_mode"]


class StructuredParser(BaseGenerationOutputParser[Any]):
    """Turns one answer into the value that was asked for, or says why it is none.

    Attributes:
        target: Pydantic class to return, None for plain dictionaries.
        tool: Name of the tool whose arguments are the value; None if the text is.
    """

    target: Any = None
    tool: str | None = None

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        """Return the value in the first of `result`.

        Raises:
            OutputParserException: The answer is cut off, no JSON, or not valid for the class.
        """
        generation = result[0]
        if not isinstance(generation, ChatGeneration) or not isinstance(
            generation.message, AIMessage
        ):
            raise OutputParserException("structured output needs a chat model's answer")
        value = self._value(generation.message)
        if self.target is None:
            return value
        try:
            if issubclass(self.target, BaseModelV1):
                return self.target.parse_obj(value)
            return self.target.model_validate(value)
        except (ValidationError, ValidationErrorV1) as error:
            raise OutputParserException(f"the answer {value!r} is not valid: {error}") from error

    def _value(self, message: AIMessage) -> Any:
        if message.response_metadata.get("finish_reason") == "length":
            tokens = message.usage_metadata and message.usage_metadata["output_tokens"]
            raise OutputParserException(
                f"the answer was cut off after {tokens} tokens; raise max_tokens or n_ctx"
            )
        if self.tool is not None:
            for call in message.tool_calls:
                if call["name"] == self.tool:
                    return call["args"]
            raise OutputParserException(
                f"the answer has no call of {self.tool!r}: {message.text!r}"
            )
        try:
            return json.loads(message.text)
        except json.JSONDecodeError as error:
            raise OutputParserException(f"the answer is no JSON: {message.text!r}") from error


def schema_of(schema: Mapping[str, Any] | type) -> dict[str, Any]:
    """Return the JSON Schema of a Pydantic class, a TypedDict, or a schema."""
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return schema.model_json_schema()
    if isinstance(schema, type) and issubclass(schema, BaseModelV1):
        return schema.schema()
    if isinstance(schema, Mapping) and "$defs" in schema:
        return dict(schema)
    given: Any = schema
    return convert_to_json_schema(given)


def target_of(schema: Any) -> type | None:
    """Return the class whose objects the caller expects, None for dictionaries."""
    is_model = isinstance(schema, type) and issubclass(schema, (BaseModel, BaseModelV1))
    return schema if is_model else None


def with_raw(model: Runnable[Any, Any], parser: StructuredParser) -> Runnable[Any, Any]:
    """Return a runnable that gives `raw`, `parsed` and `parsing_error` instead of raising."""
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | parsed.with_fallbacks([failed], exception_key="parsing_error")
