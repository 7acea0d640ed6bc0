"""JSON Schema to GBNF: a grammar whose every text is valid under the schema, and finite.

Strings, arrays, numbers and nesting get upper bounds where the schema gives none, because a model
bound to an unlimited rule may never close it. The text is written like Python's `json.dumps`. What
a grammar cannot say exactly is refused with `SchemaError`, never approximated upwards.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from agentevo.models.llama.errors import SchemaError
from agentevo.models.llama.gbnf import either, joined, literal, repeat
from agentevo.models.llama.number_grammar import Interval, decimals, integers
from agentevo.models.llama.pattern_grammar import PatternGrammar
from agentevo.models.llama.schema_shape import (
    bound,
    check_known,
    constants,
    merge,
    require_disjoint,
    resolve,
    types_of,
)

_MOST_REPEATS: Final = 2000
_CHAR: Final = r'char ::= [^"\\\x00-\x1F\x7F] | "\\" ["\\bfnrt]'
_DAYS: Final = '("0" [1-9] | [12] [0-9]'
_DATE: Final = (
    '[12] [0-9]{3} "-" ('
    f'("0" [13578] | "10" | "12") "-" {_DAYS} | "3" [01]) | '
    f'("0" [469] | "11") "-" {_DAYS} | "30") | '
    '"02" "-" ("0" [1-9] | "1" [0-9] | "2" [0-8]))'
)
_TIME: Final = '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] "Z"'
_FORMATS: Final = {
    "date": _DATE,
    "time": _TIME,
    "date-time": f'{_DATE} "T" {_TIME}',
    "uuid": '[0-9a-f]{8} ("-" [0-9a-f]{4}){3} "-" [0-9a-f]{12}',
}


@dataclass(frozen=True, slots=True)
class Bounds:
    """Upper limits where the schema has none.

    Attributes:
        string: Characters of a string.
        items: Elements of an array or keys of a free object.
        digits: Digits of a number before the point.
        depth: Nesting of recursive schemas and of free values.
    """

    string: int = 256
    items: int = 16
    digits: int = 15
    depth: int = 3


class _ImpossibleError(SchemaError):
    """The schema allows no value within the depth limit."""


class GrammarBuilder:
    """Collects the rules of one grammar."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._rules: dict[str, str] = {}
        self._root: Mapping[str, Any] = {}
        self._open: list[str] = []

    def add(self, schema: Mapping[str, Any]) -> str:
        """Add the rules for a schema and return the expression of its values.

        Raises:
            SchemaError: The schema cannot be expressed.
        """
        self._root, self._open = schema, []
        return self._value(schema, 0)

    def text(self, root: str) -> str:
        """Return the grammar whose texts are those of the expression `root`."""
        rules = [f"{name} ::= {body}" for name, body in self._rules.items()]
        return "\n".join([f"root ::= {root}", *rules, _CHAR]) + "\n"

    def _value(self, schema: Any, depth: int) -> str:
        if schema is True or schema == {}:
            return self._any(depth)
        if not isinstance(schema, Mapping):
            raise SchemaError(f"{schema!r} is no schema that allows a value; give an object")
        check_known(schema)
        if "$ref" in schema:
            return self._reference(schema["$ref"], depth)
        if "allOf" in schema:
            return self._value(merge(schema, self._root), depth)
        if "const" in schema or "enum" in schema:
            return either([literal(json.dumps(v, ensure_ascii=False)) for v in constants(schema)])
        options = self._alternatives(schema, depth)
        return self._first_possible(options) if options else self._any(depth)

    def _alternatives(self, schema: Mapping[str, Any], depth: int) -> list[Callable[[], str]]:
        if "oneOf" in schema:
            require_disjoint(schema["oneOf"], self._root)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return [partial(self._value, option, depth) for option in schema[word]]
        return [partial(self._typed, kind, schema, depth) for kind in types_of(schema)]

    def _typed(self, kind: str, schema: Mapping[str, Any], depth: int) -> str:
        makers: dict[str, Callable[[], str]] = {
            "string": lambda: self._string(schema),
            "integer": lambda: integers(*self._integer_bounds(schema)),
            "number": lambda: decimals(self._interval(schema)),
            "boolean": lambda: '("true" | "false")',
            "null": lambda: '"null"',
            "array": lambda: self._array(schema, depth),
            "object": lambda: self._object(schema, depth),
        }
        if kind not in makers:
            raise SchemaError(f"unknown type {kind!r}; allowed: {', '.join(sorted(makers))}")
        return makers[kind]()

    def _reference(self, pointer: str, depth: int) -> str:
        if self._open.count(pointer) > self._bounds.depth:
            raise _ImpossibleError(f"{pointer!r} refers to itself without an end")
        self._open.append(pointer)
        try:
            return self._value(resolve(pointer, self._root), depth)
        finally:
            self._open.pop()

    def _first_possible(self, makers: Sequence[Callable[[], str]]) -> str:
        options = []
        failure = _ImpossibleError("the schema has no alternative")
        for make in makers:
            try:
                options.append(make())
            except _ImpossibleError as error:
                failure = error
        if not options:
            raise failure
        return either(options)

    def _string(self, schema: Mapping[str, Any]) -> str:
        if "pattern" in schema:
            if "minLength" in schema or "maxLength" in schema:
                raise SchemaError(
                    "pattern and length together cannot be a grammar; use one of them"
                )
            return (
                f'"\\"" {PatternGrammar(schema["pattern"], self._bounds.string).expression()} "\\""'
            )
        if schema.get("format") in _FORMATS:
            return f'"\\"" {_FORMATS[schema["format"]]} "\\""'
        least = int(schema.get("minLength", 0))
        most = self._most(schema, "maxLength", least, self._bounds.string)
        return f'"\\"" char{{{least},{most}}} "\\""'

    def _most(self, schema: Mapping[str, Any], word: str, least: int, usual: int) -> int:
        most = min(int(schema.get(word, max(usual, least))), max(usual, least))
        if least > most or least > _MOST_REPEATS:
            raise SchemaError(
                f"{word} {schema.get(word)!r} with at least {least} cannot be a grammar; "
                f"allowed: 0 to {_MOST_REPEATS}, not below the minimum"
            )
        return min(most, _MOST_REPEATS)

    def _integer_bounds(self, schema: Mapping[str, Any]) -> tuple[int, int]:
        interval = self._interval(schema)
        return interval.low + interval.low_open, interval.high - interval.high_open

    def _interval(self, schema: Mapping[str, Any]) -> Interval:
        limit = 10**self._bounds.digits - 1
        low, low_open = bound(schema, "minimum", "exclusiveMinimum", max)
        high, high_open = bound(schema, "maximum", "exclusiveMaximum", min)
        if low is None:
            low = min(-limit, -limit if high is None else high - limit)
        if high is None:
            high = max(limit, low + limit)
        return Interval(low, high, low_open, high_open)

    def _array(self, schema: Mapping[str, Any], depth: int) -> str:
        fixed = schema.get("prefixItems", [])
        least = max(int(schema.get("minItems", 0)), len(fixed))
        most = self._most(schema, "maxItems", least, max(self._bounds.items, len(fixed)))
        parts = [self._value(item, depth + 1) for item in fixed]
        rest = schema.get("items", True)
        if rest is False or most == len(parts):
            if least > len(parts):
                raise SchemaError("minItems asks for more items than the schema allows")
            return " ".join(['"["', *joined(parts), '"]"'])
        try:
            item = self._rule(self._value(rest, depth + 1))
        except _ImpossibleError:
            if least > len(parts):
                raise
            return " ".join(['"["', *joined(parts), '"]"'])
        return f'"[" {repeat(item, parts, least, most)} "]"'

    def _object(self, schema: Mapping[str, Any], depth: int) -> str:
        properties = schema.get("properties", {})
        required = list(schema.get("required", []))
        more = schema.get("additionalProperties", True)
        named = {**properties, **{name: more for name in required if name not in properties}}
        if not named:
            return self._free_object(schema, more, depth)
        if "minProperties" in schema or "maxProperties" in schema:
            raise SchemaError("minProperties and maxProperties need an object without properties")
        rest_first, rest_next = '""', '""'
        for name, value in reversed(named.items()):
            must = name in required
            try:
                pair = f"{literal(json.dumps(name, ensure_ascii=False) + ': ')} {self._value(value, depth + 1)}"
            except _ImpossibleError:
                if must:
                    raise
                continue
            one = self._rule(pair)
            rest_first = f"{one} {rest_next}" if must else f"({one} {rest_next} | {rest_first})"
            rest_first = self._rule(rest_first)
            rest_next = f'", " {one} {rest_next}' if must else f'(", " {one})? {rest_next}'
            rest_next = self._rule(rest_next)
        return f'"{{" {rest_first} "}}"'

    def _free_object(self, schema: Mapping[str, Any], more: Any, depth: int) -> str:
        least = int(schema.get("minProperties", 0))
        most = self._most(schema, "maxProperties", least, self._bounds.items)
        if more is False or most == 0 or (depth >= self._bounds.depth and not least):
            if least:
                raise SchemaError("minProperties asks for keys that the schema forbids")
            return '"{}"'
        if least > 1:
            raise SchemaError(
                "minProperties above 1 cannot be a grammar: keys must differ; name them"
            )
        pair = self._rule(f'"\\"" char{{1,32}} "\\": " {self._value(more, depth + 1)}')
        return f'"{{" {repeat(pair, [], least, most)} "}}"'

    def _any(self, depth: int) -> str:
        kinds = ["string", "number", "boolean", "null"]
        if depth < self._bounds.depth:
            kinds += ["array", "object"]
        return self._rule(either([self._typed(kind, {}, depth + 1) for kind in kinds]))

    def _rule(self, body: str) -> str:
        """Give an expression a name; equal expressions share one."""
        for name, known in self._rules.items():
            if known == body:
                return name
        name = f"r{len(self._rules)}"
        self._rules[name] = body
        return name


def json_grammar(schema: Mapping[str, Any], bounds: Bounds | None = None) -> str:
    """Return the grammar of the JSON values that are valid under `schema`.

    Raises:
        SchemaError: The schema cannot be expressed; the message says what to change.
    """
    builder = GrammarBuilder(bounds)
    return builder.text(builder.add(schema))
