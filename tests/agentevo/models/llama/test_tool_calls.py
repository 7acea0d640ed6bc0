"""Tool calls in text, whole or in any portions."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.models.llama.answer_text import AnswerText
from agentevo.models.llama.tool_calls import BrokenCall, ParsedCall, Part, ToolCallParser

CALL = (
    '<tool_call>\n{"name": "run", "arguments": {"command": "a </tool_call> \\" b"}}\n</tool_call>'
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def parse(*portions: str) -> list[Any]:
    """Return text joined, calls without their ids."""
    parser = ToolCallParser()
    parts = [part for portion in portions for part in parser.push(portion)] + parser.finish()
    out: list[Any] = []
    for part in parts:
        if isinstance(part, str) and out and isinstance(out[-1], str):
            out[-1] += part
        else:
            out.append(plain(part))
    return out


def plain(part: Part) -> Any:
    if isinstance(part, ParsedCall):
        return (part.name, part.args)
    return part if isinstance(part, str) else ("broken", part.text)


def test_text_and_calls_come_out_in_order() -> None:
    assert parse(f"Plan.\n{CALL} and{CALL}") == [
        "Plan.\n",
        ("run", {"command": 'a </tool_call> " b'}),
        " and",
        ("run", {"command": 'a </tool_call> " b'}),
    ]


@given(st.lists(st.integers(0, 200), max_size=6), st.sampled_from(["", "<tool_call>x", "<tool"]))
def test_portions_do_not_matter(cuts: list[int], tail: str) -> None:
    text = f"Plan {CALL} < <tool {CALL}{tail}"
    ends = sorted({min(c, len(text)) for c in cuts} | {len(text)})
    portions = [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    assert parse(*portions) == parse(text)


@given(st.text(min_size=1), st.dictionaries(st.text(), values))
def test_every_call_survives_being_written(name: str, args: dict[str, Any]) -> None:
    body = json.dumps({"name": name, "arguments": args})
    assert parse(f"<tool_call>\n{body}\n</tool_call>") == [(name, args)]


@given(st.text())
def test_no_text_between_the_tags_raises(text: str) -> None:
    assert "".join(
        p if isinstance(p, str) else "" for p in parse(f"a<tool_call>{text}</tool_call>")
    )


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('{"name": "run", ', "not valid JSON"),
        ('["run"]', "list, not an object"),
        ('{"arguments": {}}', "no name"),
        ('{"name": "run", "arguments": [1]}', "no JSON object"),
        ('{"name": "run", "arguments": "{"}', "no JSON object"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_malformed_call_says_what_is_wrong(body: str, error: str) -> None:
    (part,) = ToolCallParser().push(f"<tool_call>{body}</tool_call>")
    assert isinstance(part, BrokenCall)
    assert error in part.error
    assert body in part.text


def test_call_without_closing_tag_counts_if_it_is_complete() -> None:
    assert parse('<tool_call>{"name": "run", "arguments": {}}') == [("run", {})]
    assert parse('<tool_call>{"name": "run"') == [("broken", '<tool_call>{"name": "run"')]


def test_arguments_may_be_json_text() -> None:
    body = json.dumps({"name": "run", "arguments": json.dumps({"a": 1})})
    assert parse(f"<tool_call>{body}</tool_call>") == [("run", {"a": 1})]


@given(st.text(alphabet="abé☃", max_size=30), st.lists(st.text("ab", min_size=1, max_size=3)))
def test_answer_text_is_cut_at_the_first_stop_in_any_portions(text: str, stops: list[str]) -> None:
    answer = AnswerText(stops)
    streamed = "".join(answer.push(bytes([byte])) for byte in text.encode()) + answer.finish()
    assert streamed == answer.text
    assert text.startswith(streamed)
    assert not any(stop in streamed for stop in stops)
    if not any(stop in text for stop in stops):
        assert streamed == text
