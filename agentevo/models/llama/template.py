"""`ChatTemplate`: a conversation to prompt tokens by the template of the GGUF file.

The template runs in Jinja's sandbox. What people and tools wrote is never read as control: wherever
such text looks like a special token it travels through the template as a placeholder and is
tokenised as plain text afterwards.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NoReturn

from agentevo.models.llama.errors import TemplateError
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.vocabulary import Vocabulary

_OPEN, _CLOSE = "\ue000", "\ue001"
_PLACEHOLDER = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
_TEMPLATE_KEY: Final = "tokenizer.chat_template"
_CHATML: Final = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

Message = dict[str, Any]


class ChatTemplate:
    """One model's way of writing a conversation. Safe to use from several threads.

    Attributes:
        shows_tools: Whether the template tells the model about tools.
        separates_calls: Whether the template puts a line break before a tool call by itself.
    """

    def __init__(self, source: str, vocabulary: Vocabulary) -> None:
        """Compile the template.

        Raises:
            TemplateError: It is no valid template.
        """
        import jinja2
        from jinja2 import meta
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        try:
            names = meta.find_undeclared_variables(environment.parse(source))
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise TemplateError(f"the chat template is not valid: {error}") from error
        self._vocabulary = vocabulary
        self.shows_tools = "tools" in names
        self.separates_calls = self._probe_separation()

    @classmethod
    def of(cls, model: LlamaModel, source: str | None = None) -> "ChatTemplate":
        """Return the template `source`, or the model's own, or ChatML if its tokens exist.

        Raises:
            TemplateError: There is none, or it is not valid.
        """
        found = source or model.file.metadata.get(_TEMPLATE_KEY)
        if not found and "<|im_start|>" in model.vocabulary.specials:
            found = _CHATML
        if not found:
            raise TemplateError(f"{model.name!r} has no chat template; give one as chat_template=")
        return cls(str(found), model.vocabulary)

    def tokens(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] = ()
    ) -> list[int]:
        """Return the prompt for the model's next turn.

        Args:
            messages: Dictionaries with `role`, `content` and perhaps `tool_calls`.
            tools: OpenAI tool definitions, shown if the template shows tools.

        Raises:
            TemplateError: The template refuses the conversation.
        """
        guard = _Guard(self._vocabulary)
        text = self._render([guard.message(m) for m in messages], guard.value(list(tools)) or None)
        tokens: list[int] = []
        done = 0
        for match in _PLACEHOLDER.finditer(text):
            tokens += self._vocabulary.tokenize(text[done : match.start()])
            tokens += self._vocabulary.tokenize_plain(guard.spans[int(match[1])])
            done = match.end()
        tokens += self._vocabulary.tokenize(text[done:])
        return self._with_begin(tokens)

    def _with_begin(self, tokens: list[int]) -> list[int]:
        if not self._vocabulary.adds_bos or not self._vocabulary.bos_text:
            return tokens
        begin = self._vocabulary.specials.get(self._vocabulary.bos_text)
        return tokens if begin is None or tokens[:1] == [begin] else [begin, *tokens]

    def _render(self, messages: list[Any], tools: Any) -> str:
        import jinja2

        try:
            return self._template.render(
                messages=messages,
                tools=tools,
                add_generation_prompt=True,
                bos_token=self._vocabulary.bos_text,
                eos_token=self._vocabulary.eos_text,
            )
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise TemplateError(f"the chat template refuses the conversation: {error}") from error

    def _probe_separation(self) -> bool:
        """Find out how the template joins text and a tool call."""
        call = {"type": "function", "function": {"name": "n", "arguments": {}}}
        messages = [
            {"role": "user", "content": "x"},
            {"role": "assistant", "content": "PROBE", "tool_calls": [call]},
        ]
        try:
            text = self._render(messages, None)
        except TemplateError:
            return False
        return "PROBE\n" in text


class _Guard:
    """Replaces what looks like control in untrusted text by placeholders."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.spans: list[str] = []

    def message(self, message: Message) -> Message:
        """Return the message with everything but its role guarded.

        A model's own earlier text keeps tags such as `</think>`, which templates look for.
        """
        own = message.get("role") == "assistant"
        return {
            name: value if name == "role" else self.value(value, own=own and name == "content")
            for name, value in message.items()
        }

    def value(self, value: Any, *, own: bool = False) -> Any:
        """Return a JSON-like value with every text in it guarded."""
        if isinstance(value, str):
            return self._text(value, own=own)
        if isinstance(value, Mapping):
            return {self.value(k): self.value(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        return value

    def _text(self, text: str, *, own: bool) -> str:
        spans = self._vocabulary.find_specials(text, controls_only=own)
        spans += [m.span() for m in re.finditer(f"[{_OPEN}{_CLOSE}]", text)]
        parts, done = [], 0
        for start, end in sorted(spans):
            if start < done:
                continue
            self.spans.append(text[start:end])
            parts += [text[done:start], f"{_OPEN}{len(self.spans) - 1}{_CLOSE}"]
            done = end
        return "".join([*parts, text[done:]])


def _to_json(value: Any, indent: int | None = None, **_options: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    import jinja2

    raise jinja2.TemplateError(message)
