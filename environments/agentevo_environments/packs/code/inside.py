"""What runs inside the sandbox when a solution is graded; standard library only, run as `__main__`.

Two roles that never share an execution. `answer` loads the solution and applies it to given
arguments; the tests are not there. `examine` runs the tests with a stand-in for the solution that
gives back the recorded answers; the solution is not there. What crosses between them is plain
data in the encoding below, so an answer has no `__eq__`, no code and no identity of its own.
"""

import ast
import builtins
import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from types import ModuleType
from typing import Any

Json = Any
"""A JSON value; what it holds is checked where it is decoded."""

_TEXTUAL: Mapping[str, tuple[type, Callable[[Any], str], Callable[[str], object]]] = {
    "bytes": (bytes, bytes.hex, bytes.fromhex),
    "bytearray": (bytearray, bytearray.hex, bytearray.fromhex),
    "complex": (complex, str, complex),
    "Decimal": (Decimal, str, Decimal),
    "Fraction": (Fraction, str, Fraction),
    "range": (
        range,
        lambda r: f"{r.start} {r.stop} {r.step}",
        lambda t: range(*map(int, t.split())),
    ),
}
_CONTAINERS: Mapping[str, type[Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
# Raised inside `map` or `all` by a stand-in, these would end the loop of a test instead of failing it.
_LOOP_CONTROL = (StopIteration, StopAsyncIteration)


def encode(value: object) -> Json:
    """Return the JSON form of a value; subclasses are reduced to the plain type they extend.

    Raises:
        TypeError: The value has no encoding: functions, modules, cyclic structures and the like.
    """
    try:
        return _encode(value)
    except RecursionError:
        raise TypeError("the value is nested too deeply or cyclic") from None


def _encode(value: object) -> Json:
    if value is None or isinstance(value, bool):
        return value
    for scalar in (int, float, str):
        if isinstance(value, scalar):
            return scalar(value)
    for tag, (kind, to_text, _) in _TEXTUAL.items():
        if isinstance(value, kind):
            return [tag, to_text(value)]
    for tag, container in _CONTAINERS.items():
        if isinstance(value, container):
            items = [_encode(item) for item in container.__iter__(value)]
            return [tag, sorted(items, key=json.dumps) if tag.endswith("set") else items]
    return _encode_other(value)


def _encode_other(value: object) -> Json:
    if isinstance(value, Mapping):
        return ["dict", [[_encode(key), _encode(value[key])] for key in value]]
    if isinstance(value, Iterator):
        return ["iterator", [_encode(item) for item in value]]
    if callable(value) or not hasattr(value, "__dict__"):
        raise TypeError(f"a {type(value).__name__} cannot be compared outside its process")
    return ["object", type(value).__name__, _encode(vars(value))]


def decode(data: Json, classes: Mapping[str, object]) -> Any:
    """Return the value of a JSON form; `classes` names the classes that objects are rebuilt from.

    Raises:
        TypeError: The form is not one that `encode` makes, or its class is unknown.
    """
    if not isinstance(data, list):
        return data
    match data:
        case [str(tag), str(text)] if tag in _TEXTUAL:
            return _TEXTUAL[tag][2](text)
        case [str(tag), list(items)] if tag in _CONTAINERS:
            return _CONTAINERS[tag](decode(item, classes) for item in items)
        case ["dict", list(pairs)]:
            return {decode(key, classes): decode(item, classes) for key, item in pairs}
        case ["iterator", list(items)]:
            return iter([decode(item, classes) for item in items])
        case ["object", str(name), state]:
            instance: object = object.__new__(_own_class(name, classes))
            vars(instance).update(decode(state, classes))
            return instance
    raise TypeError("the value is of a kind that the other side does not know")


def _own_class(name: str, classes: Mapping[str, object]) -> type:
    kind = classes.get(name)
    if isinstance(kind, type) and kind.__module__ == classes["__name__"]:
        return kind
    raise TypeError(f"the other side has no class {name!r}")


def load(source: str, name: str) -> dict[str, Any]:
    """Run a source text as the module `name` and return its namespace."""
    module = ModuleType(name)
    sys.modules[name] = module
    exec(compile(source, f"{name}.py", "exec"), vars(module))
    return vars(module)


def answer(job: Mapping[str, Json], send: Callable[[Json], None]) -> None:
    """Apply the solution to each call of the job, in order, and send one reply per call.

    A reply holds the returned `value` and, where the call changed them, the `args`; or the name
    of the exception that it `raises`. A solution that does not load sends `load` once.
    """
    try:
        namespace = load(job["solution"], "solution")
        function = namespace[job["entry_point"]]
    except BaseException as error:  # noqa: BLE001 (whatever a solution raises is its answer)
        send({"load": type(error).__name__})
        return
    for call in job["calls"]:
        try:
            args, kwargs = decode(call, namespace)
            reply = {"value": encode(function(*args, **kwargs))}
            after = encode((args, kwargs))
            if not _is_same(after, call):
                reply["args"] = after
        except BaseException as error:  # noqa: BLE001 (whatever a solution raises is its answer)
            reply = {"raises": type(error).__name__}
        send(reply)


class StandIn:
    """Takes the solution's place in the tests: gives its recorded replies to the recorded calls.

    From the first call that was not recorded on, the reference solution answers (None where there
    is none), so that one run learns all calls that the tests will probably make.

    Attributes:
        calls: The calls made so far, encoded.
        strayed: Whether a call was made that was not recorded; the verdict then counts nothing.
    """

    def __init__(self, job: Mapping[str, Json], reference: Mapping[str, Any]) -> None:
        self.calls: list[Json] = []
        self.strayed = False
        self._job = job
        self._reference = reference

    def __call__(self, *args: object, **kwargs: object) -> object:
        """Answer as the solution answered this call, or as the reference once strayed."""
        call = encode((args, kwargs))
        position = len(self.calls)
        self.calls.append(call)
        recorded = self._job["calls"]
        self.strayed |= position >= len(recorded) or not _is_same(recorded[position], call)
        if self.strayed:
            function = self._reference.get(self._job["entry_point"])
            return function(*args, **kwargs) if function else None
        return self._replay(self._job["replies"][position], args)

    def _replay(self, reply: Mapping[str, Json], args: tuple[object, ...]) -> object:
        if "value" not in reply:
            kind = getattr(builtins, str(reply.get("raises")), RuntimeError)
            is_error = isinstance(kind, type) and issubclass(kind, Exception)
            raise RuntimeError if not is_error or issubclass(kind, _LOOP_CONTROL) else kind
        if "args" in reply:
            changed, _ = decode(reply["args"], self._reference)
            for mine, theirs in zip(args, changed, strict=True):
                _overwrite(mine, theirs)
        return decode(reply["value"], self._reference)


def _is_same(one: Json, other: Json) -> bool:
    return json.dumps(one) == json.dumps(other)


def _overwrite(mine: object, theirs: Any) -> None:
    if isinstance(mine, list | bytearray):
        mine[:] = theirs
    elif isinstance(mine, dict | set):
        mine.clear()
        mine.update(theirs)


class _CountAsserts(ast.NodeTransformer):
    """Turns each `assert` into one that is counted and does not stop the test."""

    # The method's name is given by ast.
    def visit_Assert(self, node: ast.Assert) -> ast.AST | None:
        if isinstance(node.test, ast.Constant) and node.test.value:
            return ast.Pass()
        counted = ast.parse(
            "try:\n    pass\nexcept Exception:\n    __count__(False)\nelse:\n    __count__(True)"
        ).body[0]
        assert isinstance(counted, ast.Try)
        # A message may call the solution once more, which would stray from the recorded calls.
        counted.body = [ast.Assert(test=node.test)]
        return counted


def examine(job: Mapping[str, Json], send: Callable[[Json], None]) -> None:
    """Run the tests on recorded replies and send how many assertions held, or the calls to record."""
    random.seed(0)
    reference = load(job["reference"], "reference") if job["reference"] else {}
    stand_in = StandIn(job, reference)
    counts: list[bool] = []
    namespace = dict(reference)
    namespace.update({"__count__": counts.append, job["entry_point"]: stand_in})
    try:
        tests = _CountAsserts().visit(ast.parse(job["tests"]))
        exec(compile(ast.fix_missing_locations(tests), "tests.py", "exec"), namespace)
        if job["check"]:
            namespace["check"](stand_in)
    except Exception:  # noqa: BLE001 (a test that breaks on an answer is a test that fails)
        counts.append(False)
    if stand_in.strayed:
        send({"calls": stand_in.calls})
    else:
        send({"passed": sum(counts) if counts else 1, "failed": counts.count(False)})


def main() -> None:
    """Do the job on standard input; replies are JSON lines on a copy of standard output."""
    job = json.load(sys.stdin)
    sys.set_int_max_str_digits(0)
    replies = os.fdopen(os.dup(1), "w", encoding="ascii")
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 (pathlib is not loaded in here)
        os.dup2(nowhere.fileno(), 1)

    def send(reply: Json) -> None:
        replies.write(json.dumps(reply) + "\n")
        replies.flush()

    {"answer": answer, "examine": examine}[job["role"]](job, send)
    os._exit(0)


if __name__ == "__main__":
    main()
