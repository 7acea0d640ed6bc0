"""The chat model beyond LangChain's suites: tools, structured answers, streams, bad input."""

import asyncio
import json
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.exceptions import ContextOverflowError, OutputParserException
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from agentevo.errors import ModelError
from agentevo.models import init_model
from agentevo.models.llama.chat import ChatLlamaEngine
from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.errors import SchemaError
from agentevo.models.llama.gbnf import literal
from agentevo.models.llama.messages import to_template
from agentevo.models.llama.model import LlamaModel
from agentevo_environments.packs.quirks.prompts import INSTRUCTIONS

RULES = f"{INSTRUCTIONS}\nRules, later ones win:\n- In Moki move is zabo"
TASK = [SystemMessage(RULES), HumanMessage("In Moki: move the red box to the shelf.")]


@tool
def run(command: str) -> str:
    """Run a command on the machine."""
    return f"ran {command}"


@tool
def measure(size: Annotated[int, Field(ge=1, le=9)], unit: str) -> str:
    """Measure something."""
    return f"{size} {unit}"


class Parcel(BaseModel):
    """A thing to send."""

    name: str = Field(max_length=20)
    weight: int = Field(ge=1, le=40)


class ParcelDict(TypedDict):
    """A thing to send."""

    name: Annotated[str, ..., "its name"]
    weight: Annotated[int, ..., "its weight"]


@pytest.fixture(scope="module")
def chat(weights: LlamaModel) -> Iterator[ChatLlamaEngine]:
    with LlamaEngine(weights) as engine:
        yield ChatLlamaEngine(engine=engine, max_tokens=300)


def answering(chat: ChatLlamaEngine, text: str, **more: Any) -> Any:
    """Return the model bound to say exactly `text`."""
    return chat.bind(grammar=f"root ::= {literal(text)}", **more)


def test_unforced_tool_call_is_parsed(chat: ChatLlamaEngine) -> None:
    answer = chat.bind_tools([run]).invoke(TASK)
    assert [call["name"] for call in answer.tool_calls] == ["run"]
    assert answer.tool_calls[0]["args"]["command"].startswith("do zabo ")
    assert "<tool_call>" not in answer.text
    assert answer.text.startswith("Plan: Moki move is zabo")


def test_the_same_call_comes_out_of_a_stream(chat: ChatLlamaEngine) -> None:
    model = chat.bind_tools([run])
    chunks = list(model.stream(TASK))
    whole: Any = sum(chunks[1:], start=chunks[0])
    answer = model.invoke(TASK)
    assert whole.text == answer.text
    assert [c["args"] for c in whole.tool_calls] == [c["args"] for c in answer.tool_calls]
    assert [bool(c.usage_metadata) for c in chunks] == [False] * (len(chunks) - 1) + [True]
    usage = answer.usage_metadata
    assert usage
    assert whole.usage_metadata["output_tokens"] == usage["output_tokens"]


@pytest.mark.parametrize("choice", ["any", "required", True, "measure"])
def test_forced_choice_gives_one_valid_call(chat: ChatLlamaEngine, choice: Any) -> None:
    answer = chat.bind_tools([measure], tool_choice=choice).invoke("hi", temperature=2.0)
    (call,) = answer.tool_calls
    assert 1 <= call["args"]["size"] <= 9
    assert measure.invoke(call["args"]).startswith(str(call["args"]["size"]))


def test_choice_by_name_never_calls_another_tool(chat: ChatLlamaEngine) -> None:
    model = chat.bind_tools([run, measure], tool_choice="measure")
    assert {
        model.invoke(TASK, seed=i, temperature=1.5).tool_calls[0]["name"] for i in range(4)
    } == {"measure"}


def test_choice_none_calls_nothing_and_unknown_choice_is_refused(chat: ChatLlamaEngine) -> None:
    assert chat.bind_tools([run], tool_choice="none").invoke(TASK).tool_calls == []
    with pytest.raises(ValueError, match="allowed: auto, any, none, or one of run"):
        chat.bind_tools([run], tool_choice="walk")
    with pytest.raises(ValueError, match="there are no tools"):
        chat.bind_tools([], tool_choice="any")


def test_malformed_call_is_invalid_whole_and_streamed(chat: ChatLlamaEngine) -> None:
    text = '<tool_call>\n{"name": "run", "arguments": {"command": \n</tool_call>'
    model = answering(chat, text, tools=[_definition()])
    answer = model.invoke("hi")
    chunks = list(model.stream("hi"))
    whole = sum(chunks[1:], start=chunks[0])
    for message in (answer, whole):
        assert message.tool_calls == []
        (bad,) = message.invalid_tool_calls
        assert '"command": ' in bad["args"]
    assert "not valid JSON" in answer.invalid_tool_calls[0]["error"]


def test_malformed_call_stays_in_the_conversation(chat: ChatLlamaEngine) -> None:
    text = 'Plan.<tool_call>{"name": </tool_call>'
    answer = answering(chat, text, tools=[_definition()]).invoke("hi")
    assert answer.text == "Plan."
    assert to_template(answer, separates_calls=False)["content"] == text


def test_without_a_seed_answers_differ_and_with_one_they_repeat(chat: ChatLlamaEngine) -> None:
    def texts(**options: Any) -> set[str]:
        return {chat.invoke(TASK, temperature=2.0, **options).text for _ in range(4)}

    assert len(texts()) > 1
    assert len(texts(seed=7)) == 1


def test_agent_gets_an_error_for_an_unknown_tool_and_for_wrong_arguments(
    chat: ChatLlamaEngine,
) -> None:
    calls = [("walk", {}), ("measure", {"size": "big", "unit": "m"})]
    for name, args in calls:
        call = json.dumps({"name": name, "arguments": args})

        class Once(ChatLlamaEngine):
            def _prepare(self, messages: Any, stop: Any, kwargs: dict[str, Any]) -> Any:
                first = not any(isinstance(m, ToolMessage) for m in messages)
                text = f"<tool_call>{call}</tool_call>" if first else "done"  # noqa: B023
                kwargs = {**kwargs, "grammar": f"root ::= {literal(text)}"}
                return super()._prepare(messages, stop, kwargs)

        agent = create_agent(Once(engine=chat.engine), [run, measure])
        messages = agent.invoke({"messages": [HumanMessage("hi")]})["messages"]
        assert [m.type for m in messages] == ["human", "ai", "tool", "ai"]
        assert messages[2].status == "error"
        assert messages[-1].text == "done"


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode", None])
def test_structured_answers_are_valid_values(chat: ChatLlamaEngine, method: Any) -> None:
    for schema in (Parcel, ParcelDict, Parcel.model_json_schema()):
        model = chat.with_structured_output(schema, method=method)
        value = model.invoke("Send it.", temperature=1.5)
        assert isinstance(value, Parcel) == (schema is Parcel)
        given = value.model_dump() if isinstance(value, Parcel) else value
        assert {name: type(part) for name, part in given.items()} == {"name": str, "weight": int}


def test_cut_off_structured_answer_is_an_error_not_half_a_value(chat: ChatLlamaEngine) -> None:
    short = ChatLlamaEngine(engine=chat.engine, max_tokens=4)
    for method in ("json_schema", "function_calling"):
        with pytest.raises(OutputParserException, match="cut off after 4 tokens"):
            short.with_structured_output(Parcel, method=method).invoke("Send it.")
        raw = short.with_structured_output(Parcel, method=method, include_raw=True)
        result = raw.invoke("Send it.")
        assert isinstance(result["raw"], AIMessage)
        assert result["parsed"] is None
        assert isinstance(result["parsing_error"], OutputParserException)


def test_inexpressible_schema_is_a_typed_error(chat: ChatLlamaEngine) -> None:
    schema = {
        "title": "x",
        "description": "y",
        "type": "object",
        "properties": {"a": {"not": {"type": "null"}}},
    }
    with pytest.raises(SchemaError, match="'not'"):
        chat.with_structured_output(schema).invoke("hi")


def test_overflow_is_the_error_that_langchain_knows(chat: ChatLlamaEngine) -> None:
    with pytest.raises(ContextOverflowError, match="shorten it"):
        chat.invoke("word " * 5000)


def test_images_and_unknown_arguments_are_refused(chat: ChatLlamaEngine) -> None:
    image = HumanMessage([{"type": "image_url", "image_url": {"url": "data:"}}])
    with pytest.raises(ModelError, match="text only"):
        chat.invoke([image])
    with pytest.raises(ModelError, match="unknown argument 'presence_penalty'; allowed"):
        chat.invoke("hi", presence_penalty=1)


def test_several_answers_differ_by_seed(chat: ChatLlamaEngine) -> None:
    result = chat.generate([TASK], n=4, temperature=2.0)
    assert len({g.text for g in result.generations[0]}) > 1
    assert len(result.generations[0]) == 4


def test_logprobs_are_reported_per_token(chat: ChatLlamaEngine) -> None:
    answer = chat.invoke(TASK, logprobs=True, top_logprobs=2, max_tokens=5)
    content = answer.response_metadata["logprobs"]["content"]
    assert len(content) == 5
    assert all(len(entry["top_logprobs"]) == 2 for entry in content)
    streamed = [
        c.response_metadata.get("logprobs") for c in chat.stream(TASK, logprobs=True, max_tokens=5)
    ]
    assert sum(len(entry["content"]) for entry in streamed if entry) == 5


def test_leaving_a_stream_cancels_it(chat: ChatLlamaEngine) -> None:
    stream = chat.stream("hi", grammar='root ::= "a" root', max_tokens=None)
    next(iter(stream))
    stream.close()  # type: ignore[attr-defined]
    _wait_until_idle(chat)


async def test_cancelling_a_task_cancels_its_request(chat: ChatLlamaEngine) -> None:
    endless: dict[str, Any] = {"grammar": 'root ::= "a" root', "max_tokens": None}
    for call in (chat.ainvoke("hi", **endless), _drain(chat, "hi", **endless)):
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(_wait_until_idle, chat)


async def test_many_async_calls_run_together(chat: ChatLlamaEngine) -> None:
    answers = await chat.abatch([TASK] * 12)
    assert len({a.text for a in answers}) == 1


def test_adapters_can_be_chosen_per_call(chat: ChatLlamaEngine, make_adapter: Any) -> None:
    adapter = chat.engine.model.adapters.load(make_adapter(40, 8.0))
    plain = chat.invoke(TASK).text
    adapted = chat.invoke(TASK, adapters={adapter.id: 1.0})
    assert adapted.text != plain
    assert adapted.response_metadata["adapters"] == {adapter.id: 1.0}
    assert chat.invoke(TASK, adapters={}).text == plain


def test_name_of_a_file_gives_a_model_and_equal_names_share_an_engine(
    model_path: Any, make_adapter: Any
) -> None:
    first = init_model(f"llamacpp:{model_path}?n_ctx=256&temperature=0.5")
    second = init_model(f"llamacpp:{model_path}?n_ctx=256")
    other = init_model(f"llamacpp:{model_path}?n_ctx=256&lora={make_adapter(41)}:0.5", max_tokens=3)
    assert isinstance(first, ChatLlamaEngine)
    assert isinstance(second, ChatLlamaEngine)
    assert isinstance(other, ChatLlamaEngine)
    assert first.engine is second.engine is other.engine
    assert (first.temperature, first.engine.n_ctx, other.max_tokens) == (0.5, 256, 3)
    assert list((other.adapters or {}).values()) == [0.5]


def test_seed_is_the_shipped_model_or_a_clear_error() -> None:
    try:
        model = init_model("seed")
    except ModelError as error:
        assert "no seed model" in str(error)  # noqa: PT017 (which of the two depends on the build)
    else:
        assert isinstance(model, ChatLlamaEngine)
        assert model.invoke(TASK).text


def test_tokens_are_counted_exactly(chat: ChatLlamaEngine) -> None:
    usage = chat.invoke(TASK, max_tokens=1).usage_metadata
    assert usage
    assert chat.get_num_tokens_from_messages(TASK) == usage["input_tokens"]
    assert chat.get_num_tokens("zabo") == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("none.gguf", "no model file"),
        ("{}?n_cxt=4", "unknown option 'n_cxt'.*n_ctx"),
        ("{}?n_ctx=many", "n_ctx is 'many'"),
        ("{}?n_ctx=1", "n_ctx is 1; allowed"),
        ("{}?lora=none.gguf", "no model file"),
    ],
)
def test_bad_name_says_what_is_wrong(model_path: Any, line: str, message: str) -> None:
    with pytest.raises((ModelError, ValueError), match=message):
        init_model(f"llamacpp:{line.format(model_path)}")


def _definition() -> dict[str, Any]:
    from langchain_core.utils.function_calling import convert_to_openai_tool

    return convert_to_openai_tool(run)


async def _drain(chat: ChatLlamaEngine, text: str, **options: Any) -> None:
    async for _ in chat.astream(text, **options):
        pass


def _wait_until_idle(chat: ChatLlamaEngine) -> None:
    for _ in range(500):
        if chat.engine.stats()["active"] == 0:
            return
        asyncio.run(asyncio.sleep(0.01))
    raise AssertionError(chat.engine.stats())
