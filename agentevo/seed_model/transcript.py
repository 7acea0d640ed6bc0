"""A conversation in ChatML with a role for every character: what the model is trained on.

The text is what the GGUF file's chat template makes of `messages`; a test compares the bytes.
"""

import json
from enum import IntEnum
from typing import Any, TypeAlias


class Role(IntEnum):
    """What a piece of text is to the learner; the loss and the reported accuracies go by it."""

    CONTEXT = 0
    FRAME = 1
    KEY = 2
    RULE = 3
    DEFAULT = 4
    COMMAND = 5
    ARGUMENT = 6
    FLAG = 7
    STEP = 8
    REFLECT = 9
    NEXT = 10
    END = 11
    OTHER = 12


LOSS_WEIGHTS = {
    Role.CONTEXT: 0.0,
    Role.FRAME: 0.1,
    Role.KEY: 0.7,
    Role.RULE: 2.0,
    Role.DEFAULT: 2.0,
    Role.COMMAND: 2.0,
    Role.ARGUMENT: 1.0,
    Role.FLAG: 2.0,
    Role.STEP: 2.0,
    Role.REFLECT: 1.0,
    Role.NEXT: 2.0,
    Role.END: 0.7,
    Role.OTHER: 0.3,
}

Spans: TypeAlias = list[tuple[str, Role]]


class Transcript:
    """Builds one conversation.

    Attributes:
        messages: The conversation as a chat API takes it.
        spans: The same as ChatML text, piece by piece, each with its role.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.spans: Spans = []

    @property
    def text(self) -> str:
        """The whole conversation as ChatML."""
        return "".join(text for text, _ in self.spans)

    def system(self, content: str, tools: tuple[str, ...] = ()) -> None:
        """Add the system message; the names of the tools follow its content."""
        self.messages.append({"role": "system", "content": content})
        listed = f"\nTools: {', '.join(tools)}" if tools else ""
        self._add(f"<|im_start|>system\n{content}{listed}<|im_end|>\n")

    def user(self, content: str) -> None:
        """Add a user message."""
        self.messages.append({"role": "user", "content": content})
        self._add(f"<|im_start|>user\n{content}<|im_end|>\n")

    def tool(self, content: str) -> None:
        """Add the answer of a tool."""
        self.messages.append({"role": "tool", "content": content, "tool_call_id": "0"})
        wrapped = f"<tool_response>\n{content}\n</tool_response>"
        self._add(f"<|im_start|>user\n{wrapped}<|im_end|>\n")

    def assistant(
        self, content: Spans, *, call: Spans | None = None, tool: str = "run", learn: bool = True
    ) -> None:
        """Add what the agent says and the command it calls its tool with, if any.

        Args:
            content: The words before the call.
            call: The command.
            tool: The tool's name.
            learn: Whether the model is trained to say this; False for deliberate mistakes.
        """
        said = "".join(text for text, _ in content)
        message: dict[str, Any] = {"role": "assistant", "content": said}
        self._add("<|im_start|>assistant\n")
        spans = list(content)
        if call is not None:
            arguments = {"command": "".join(text for text, _ in call)}
            function = {"name": tool, "arguments": json.dumps(arguments)}
            message["tool_calls"] = [{"id": "0", "type": "function", "function": function}]
            opening = f'<tool_call>\n{{"name": "{tool}", "arguments": {{"command": "'
            spans.append((("\n" if content else "") + opening, Role.FRAME))
            spans += [*call, ('"}}\n</tool_call>', Role.FRAME)]
        spans.append(("<|im_end|>", Role.END))
        self.messages.append(message)
        self.spans += spans if learn else [(text, Role.CONTEXT) for text, _ in spans]
        self._add("\n")

    def _add(self, text: str) -> None:
        self.spans.append((text, Role.CONTEXT))
