"""Tool calls in a model's text, in the Hermes and Qwen form `<tool_call>{...}</tool_call>`.

The parser takes text in any portions. Text before and between calls comes out unchanged; a call
comes out when it is complete. What is no valid call comes out as such, never silently.
"""

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from agentevo.models.llama.answer_text import overlap

OPEN: Final = "<tool_call>"
CLOSE: Final = "</tool_call>"


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """One complete call.

    Attributes:
        name: The tool, known or not.
        args: Its arguments.
        id: Made here; unique.
    """

    name: str
    args: dict[str, Any]
    id: str


@dataclass(frozen=True, slots=True)
class BrokenCall:
    """Something between the tags that is no call.

    Attributes:
        text: What the model wrote, with the opening tag.
        error: What is wrong with it.
        id: Made here; unique.
    """

    text: str
    error: str
    id: str


Part = str | ParsedCall | BrokenCall


class ToolCallParser:
    """Splits the text of one answer into text and calls."""

    def __init__(self) -> None:
        self._held = ""
        self._inside = False

    def push(self, text: str) -> list[Part]:
        """Return what became certain with this portion, in order."""
        self._held += text
        return list(self._parts())

    def finish(self) -> list[Part]:
        """Return what is left; a call whose closing tag is missing counts if it is complete."""
        held, self._held = self._held, ""
        if self._inside:
            self._inside = False
            body, tag, rest = held.partition(CLOSE)
            call = parse_call(body, closed=bool(tag))
            return [call, rest] if rest else [call]
        return [held] if held else []

    def _parts(self) -> Iterator[Part]:
        while True:
            tag = CLOSE if self._inside else OPEN
            at = self._end_of_call() if self._inside else self._held.find(tag)
            if at < 0:
                break
            before, self._held = self._held[:at], self._held[at + len(tag) :]
            if self._inside:
                yield parse_call(before)
            elif before:
                yield before
            self._inside = not self._inside
        if not self._inside:
            cut = len(self._held) - overlap(self._held, OPEN)
            out, self._held = self._held[:cut], self._held[cut:]
            if out:
                yield out

    def _end_of_call(self) -> int:
        """Find the closing tag, but none that stands inside a text of the call."""
        at = self._held.find(CLOSE)
        while at >= 0 and _in_string(self._held[:at]):
            at = self._held.find(CLOSE, at + 1)
        return at


def _in_string(json_text: str) -> bool:
    quotes = re.findall(r'\\.|(")', json_text, re.DOTALL)
    return sum(map(bool, quotes)) % 2 == 1


def parse_call(body: str, *, closed: bool = True) -> ParsedCall | BrokenCall:
    """Return the call in the text between the tags."""
    name = f"call_{uuid.uuid4().hex[:24]}"
    written = f"{OPEN}{body}{CLOSE if closed else ''}"
    try:
        call = json.loads(body)
    except (json.JSONDecodeError, RecursionError) as error:
        return BrokenCall(written, f"the call is not valid JSON: {error}", name)
    if problem := _problem(call):
        return BrokenCall(written, problem, name)
    return ParsedCall(call["name"], _arguments(call), name)


def _problem(call: Any) -> str | None:
    if not isinstance(call, dict):
        return f"the call is {type(call).__name__}, not an object with name and arguments"
    if not isinstance(call.get("name"), str) or not call["name"]:
        return "the call has no name; it needs name and arguments"
    if _arguments(call) is None:
        return "the arguments of the call are no JSON object"
    return None


def _arguments(call: dict[str, Any]) -> Any:
    """Return the arguments, which some models write as JSON text; None if they are no object."""
    given = call.get("arguments", call.get("parameters", {}))
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except json.JSONDecodeError:
            return None
    return given if isinstance(given, dict) else None
