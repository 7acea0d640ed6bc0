"""Questions about a JSON Schema that its grammar depends on: references, types, merging."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from agentevo.models.llama.errors import SchemaError

_REFUSED: Final = {
    "not": "list what is allowed instead",
    "if": "use anyOf",
    "patternProperties": "name the properties",
    "propertyNames": "name the properties",
    "dependentRequired": "use anyOf",
    "dependentSchemas": "use anyOf",
    "uniqueItems": "use an array and remove duplicates afterwards",
    "contains": "use items",
    "multipleOf": "use an enum or check the value afterwards",
    "unevaluatedProperties": "use additionalProperties",
}
_COMBINERS: Final = ("$ref", "anyOf", "oneOf", "enum", "const")
_ASSERTIONS: Final = frozenset(
    {"properties", "required", "items", "prefixItems", "pattern", "minLength", "maxLength",
     "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
     "anyOf", "oneOf", "allOf", "$ref", "enum", "const"}
)  # fmt: skip
_MERGED: Final = ("properties", "required", "type", "additionalProperties")


def check_known(schema: Mapping[str, Any]) -> None:
    """Refuse keywords that a grammar cannot express.

    Raises:
        SchemaError: One is there; the message says what to write instead.
    """
    for word, advice in _REFUSED.items():
        if schema.get(word):
            raise SchemaError(f"{word!r} cannot be a grammar; {advice}")
    for word in _COMBINERS:
        beside = _ASSERTIONS & set(schema) - {word}
        if word in schema and beside and not {word, *beside} <= {"enum", "const"}:
            raise SchemaError(
                f"{word!r} beside {sorted(beside)[0]!r} cannot be a grammar; nest them"
            )


def types_of(schema: Mapping[str, Any]) -> list[str]:
    """Return the types a schema allows, guessed from its keywords where it names none."""
    named = schema.get("type")
    if named is not None:
        return [named] if isinstance(named, str) else list(named)
    if {"properties", "required", "additionalProperties"} & set(schema):
        return ["object"]
    if {"items", "prefixItems", "minItems", "maxItems"} & set(schema):
        return ["array"]
    if {"pattern", "minLength", "maxLength"} & set(schema):
        return ["string"]
    if {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} & set(schema):
        return ["number"]
    return []


def resolve(pointer: str, root: Mapping[str, Any]) -> Any:
    """Return what a `$ref` within the schema points to.

    Raises:
        SchemaError: It points outside or to nothing.
    """
    if not pointer.startswith("#"):
        raise SchemaError(f"$ref {pointer!r} points outside the schema; allowed: '#/$defs/NAME'")
    found: Any = root
    for part in pointer.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            raise SchemaError(f"$ref {pointer!r} points to nothing; define it under $defs")
        found = found[name]
    return found


def merge(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return one schema for an `allOf`, which may combine objects or wrap a single schema.

    Raises:
        SchemaError: The parts cannot be merged.
    """
    parts = [_deref(part, root) for part in schema["allOf"]]
    rest = {name: value for name, value in schema.items() if name in _ASSERTIONS | {"type"}}
    del rest["allOf"]
    if len(parts) == 1 and not rest:
        return parts[0]
    merged: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
    for part in [*parts, rest]:
        _merge_object(merged, part)
    return merged


def require_disjoint(options: Sequence[Any], root: Mapping[str, Any]) -> None:
    """Check that no value fits two alternatives of a `oneOf`, by their types or a constant.

    Raises:
        SchemaError: It cannot be shown.
    """
    plain = [_deref(option, root) for option in options]
    for i, one in enumerate(plain):
        for other in plain[i + 1 :]:
            if not (_types_differ(one, other) or _constants_differ(one, other)):
                raise SchemaError(
                    "oneOf with overlapping alternatives cannot be a grammar; use anyOf"
                )


def constants(schema: Mapping[str, Any]) -> list[Any]:
    """Return the values of `const` or `enum` that have the schema's type.

    Raises:
        SchemaError: There is none.
    """
    kinds = types_of(schema)
    values = [schema["const"]] if "const" in schema else list(schema["enum"])
    fitting = [v for v in values if not kinds or any(_is(v, kind) for kind in kinds)]
    if not fitting:
        raise SchemaError(f"none of the values {values!r} has the type {kinds}; correct the schema")
    return fitting


def _is(value: Any, kind: str) -> bool:
    if kind in ("integer", "number") and isinstance(value, bool):
        return False
    types: dict[str, Any] = {
        "string": str, "boolean": bool, "null": type(None), "array": list, "object": dict,
        "integer": int, "number": (int, float),
    }  # fmt: skip
    return isinstance(value, types.get(kind, ()))


def bound(
    schema: Mapping[str, Any], word: str, exclusive: str, tighter: Callable[..., int]
) -> tuple[int | None, bool]:
    """Return the tighter of two bounds and whether it is itself excluded; None without one.

    Raises:
        SchemaError: A bound is no whole number.
    """
    given: list[tuple[int, bool]] = []
    for name, is_open in ((word, False), (exclusive, True)):
        if name in schema:
            value = schema[name]
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or value != int(value)
            ):
                raise SchemaError(f"{name} {value!r} cannot be a grammar; allowed: whole numbers")
            given.append((int(value), is_open))
    if not given:
        return None, False
    edge = tighter(value for value, _ in given)
    return edge, any(is_open for value, is_open in given if value == edge)


def _deref(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(16):
        if not isinstance(schema, Mapping):
            break
        if "$ref" not in schema:
            return schema
        schema = resolve(schema["$ref"], root)
    raise SchemaError("a part of allOf or oneOf is no schema object, or refers to itself")


def _merge_object(merged: dict[str, Any], part: Mapping[str, Any]) -> None:
    check_known(part)
    odd = (set(part) & _ASSERTIONS) - set(_MERGED)
    if odd or types_of(part) not in ([], ["object"]):
        raise SchemaError(f"allOf can merge objects only, not {sorted(odd) or types_of(part)}")
    for name, value in part.get("properties", {}).items():
        if merged["properties"].setdefault(name, value) != value:
            raise SchemaError(f"allOf defines the property {name!r} twice; define it once")
    merged["required"] += [n for n in part.get("required", []) if n not in merged["required"]]


def _types_differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    a, b = set(_widened(one)), set(_widened(other))
    return bool(a and b) and not a & b


def _widened(schema: Mapping[str, Any]) -> list[str]:
    return ["number" if kind == "integer" else kind for kind in types_of(schema)]


def _constants_differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    shared = set(one.get("required", [])) & set(other.get("required", []))
    return any(
        (a := _constant(one, name)) and (b := _constant(other, name)) and not set(a) & set(b)
        for name in shared
    ) or bool((a := _values(one)) and (b := _values(other)) and not set(a) & set(b))


def _constant(schema: Mapping[str, Any], name: str) -> list[str]:
    value = schema.get("properties", {}).get(name)
    return _values(value) if isinstance(value, Mapping) else []


def _values(schema: Mapping[str, Any]) -> list[str]:
    if "const" in schema:
        return [repr(schema["const"])]
    return [repr(value) for value in schema.get("enum", [])]
