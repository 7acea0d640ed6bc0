"""Grammars accept exactly what the schema allows, within the stated bounds."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentevo.models.llama.engine import LlamaEngine
from agentevo.models.llama.errors import SchemaError
from agentevo.models.llama.grammar import Bounds, json_grammar
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.number_grammar import Interval, decimals, integers
from agentevo.models.llama.request import Completion
from agentevo.models.llama.sampling import Sampler, SamplingOptions

SMALL = Bounds(string=12, items=3, digits=6, depth=2)
numbers = st.integers(-3000, 3000)

NODE = {
    "type": "object",
    "properties": {
        "value": {"type": "integer", "minimum": -5, "maximum": 120},
        "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
        "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}, "maxItems": 2},
    },
    "required": ["value", "next"],
    "additionalProperties": False,
}
EXPRESSIBLE: Mapping[str, Mapping[str, Any]] = {
    "object": {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": 3, "maximum": 17},
            "b": {"type": "string", "minLength": 2, "maxLength": 9},
            "c": {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}]},
            "d": {"type": "boolean"},
        },
        "required": ["b"],
    },
    "enum": {"enum": ["x", 1, None, 'q"\\', {"k": [1]}]},
    "array": {"type": "array", "items": {"type": "number"}, "minItems": 1, "maxItems": 4},
    "tuple": {
        "type": "array",
        "prefixItems": [{"type": "string"}, {"type": "integer"}],
        "minItems": 2,
        "items": False,
    },
    "pattern": {"type": "string", "pattern": r"^[a-z]{2,3}-\d+(\.[xyz]|\"q\\)?$"},
    "open pattern": {"pattern": "ab|cd+"},
    "date-time": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "recursive": {"$defs": {"Node": NODE}, "$ref": "#/$defs/Node"},
    "free object": {"type": "object", "additionalProperties": {"type": "integer"}},
    "required without definition": {"type": "object", "required": ["k"]},
    "several types": {"type": ["string", "null", "boolean"]},
    "allOf": {
        "allOf": [
            {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"const": 2}}},
        ]
    },
    "oneOf by type": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    "oneOf by constant": {
        "oneOf": [
            {"type": "object", "properties": {"k": {"const": k}}, "required": ["k"]}
            for k in ("a", "b")
        ]
    },
    "anything": {},
}
INEXPRESSIBLE: Mapping[str, tuple[Any, str]] = {
    "not": ({"not": {"type": "string"}}, "list what is allowed"),
    "multipleOf": ({"type": "integer", "multipleOf": 3}, "check the value afterwards"),
    "uniqueItems": ({"type": "array", "uniqueItems": True}, "remove duplicates"),
    "fractional bound": ({"type": "number", "minimum": 0.5}, "whole numbers"),
    "empty range": ({"type": "integer", "minimum": 5, "maximum": 4}, "correct the bounds"),
    "look-ahead": ({"pattern": "^(?=a)b$"}, "look-around"),
    "back reference": ({"pattern": r"^(a)\1$"}, "cannot be a grammar"),
    "foreign ref": ({"$ref": "https://example.com/x"}, "outside the schema"),
    "dangling ref": ({"$ref": "#/$defs/X"}, "points to nothing"),
    "endless": ({"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}, "without an end"),
    "overlapping oneOf": ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "use anyOf"),
    "unknown type": ({"type": "text"}, "allowed: array"),
    "false": ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "no schema"),
    "properties beside anyOf": ({"anyOf": [{}], "properties": {}}, "nest them"),
    "pattern and length": ({"pattern": "a", "maxLength": 3}, "use one of them"),
    "mistyped enum": ({"type": "string", "enum": [1]}, "correct the schema"),
}


@pytest.fixture(scope="module")
def accepts(weights: LlamaModel) -> Callable[[str, str], bool]:
    """Say whether a text matches a grammar, by llama.cpp's own reading of it."""
    vocabulary = weights.vocabulary
    letters = {vocabulary.piece(i): i for i in range(256)}
    end = min(vocabulary.end_ids)

    def accepts(grammar: str, text: str) -> bool:
        sampler = Sampler(SamplingOptions(grammar=grammar), vocabulary)
        try:
            for byte in text.encode():
                token = letters[bytes([byte])]
                if sampler.choose(_favour(vocabulary.size, token)) != token:
                    return False
                sampler.accept(token)
            return sampler.choose(_favour(vocabulary.size, end)) == end
        finally:
            sampler.close()

    return accepts


def _favour(size: int, token: int) -> Any:
    logits = np.zeros(size, np.float32)
    logits[token] = 10
    return logits


@settings(deadline=None, max_examples=150)
@given(low=numbers, high=numbers, value=st.integers(-3100, 3100))
def test_integer_range_is_exact(
    accepts: Callable[[str, str], bool], low: int, high: int, value: int
) -> None:
    low, high = min(low, high), max(low, high)
    assert accepts(f"root ::= {integers(low, high)}", str(value)) == (low <= value <= high)


@settings(deadline=None, max_examples=150)
@given(
    low=st.integers(-30, 30),
    size=st.integers(1, 50),
    opens=st.tuples(st.booleans(), st.booleans()),
    value=st.decimals(-90, 90, places=2) | st.integers(-90, 90),
)
def test_decimal_range_is_exact(
    accepts: Callable[[str, str], bool], low: int, size: int, opens: tuple[bool, bool], value: Any
) -> None:
    interval = Interval(low, low + size, *opens)
    above = value > low if opens[0] else value >= low
    below = value < low + size if opens[1] else value <= low + size
    text = str(value)
    if text in ("-0.00", "-0"):
        return
    assert accepts(f"root ::= {decimals(interval)}", text) == (above and below)


@pytest.mark.parametrize("name", EXPRESSIBLE)
def test_every_answer_is_valid_under_its_schema(
    engine: LlamaEngine, ask: Callable[..., Completion], name: str
) -> None:
    schema = EXPRESSIBLE[name]
    grammar = json_grammar(schema, SMALL)
    for seed in range(6):
        answer = ask(engine, temperature=2.0, seed=seed, grammar=grammar, max_tokens=650)
        assert answer.finish_reason == "stop"
        jsonschema.validate(json.loads(answer.text), schema)


@pytest.mark.parametrize("name", INEXPRESSIBLE)
def test_inexpressible_schema_is_refused_with_advice(name: str) -> None:
    schema, advice = INEXPRESSIBLE[name]
    with pytest.raises(SchemaError, match=advice):
        json_grammar(schema)


def test_python_json_dumps_of_a_valid_value_is_accepted(
    accepts: Callable[[str, str], bool],
) -> None:
    grammar = json_grammar(EXPRESSIBLE["object"])
    assert accepts(grammar, json.dumps({"a": 17, "b": "xy", "c": 0.25, "d": True}))
    assert accepts(grammar, json.dumps({"b": "é☃"}, ensure_ascii=False))
    for wrong in ({"a": 18, "b": "xy"}, {"a": 3}, {"b": "x"}, {"b": "xy", "c": 1.5}):
        assert not accepts(grammar, json.dumps(wrong))


@pytest.mark.parametrize("n", [12, 13])
def test_open_string_is_bounded(accepts: Callable[[str, str], bool], n: int) -> None:
    assert accepts(json_grammar({"type": "string"}, SMALL), json.dumps("x" * n)) == (n <= 12)
