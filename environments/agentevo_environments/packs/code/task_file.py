"""Reading task files in the HumanEval and MBPP formats (`.jsonl`, `.jsonl.gz`), one task per line.

HumanEval: task_id, prompt, entry_point, test (defines `check(candidate)`), and, where known,
canonical_solution. MBPP: task_id, text (or prompt), test_list, and, where present, code,
test_setup_code, test_imports, challenge_test_list. Either may hold `split`, "test" by default.
"""

import ast
import builtins
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import IO

from agentevo_environments.errors import TaskFileError
from agentevo_environments.packs.code.grading import HiddenTests
from agentevo_environments.task import JSONValue, Task, TaskId

Record = Mapping[str, JSONValue]


def read_tasks(source: Path | Traversable) -> tuple[Task, ...]:
    """Return the tasks of a file in its order.

    Raises:
        TaskFileError: The file cannot be read, holds no task, or has a line that is not a task;
            the message names the line.
    """
    tasks: dict[TaskId, Task] = {}
    for number, line in _lines(source):
        where = f"{source}, line {number}"
        task = _parse_line(line, where)
        if task.id in tasks:
            raise TaskFileError(f"{where}: the task id {task.id!r} was used before; ids are unique")
        tasks[task.id] = task
    if not tasks:
        raise TaskFileError(f"{source} holds no task; each line is one JSON object")
    return tuple(tasks.values())


def _lines(source: Path | Traversable) -> Iterator[tuple[int, str]]:
    if not source.name.endswith((".jsonl", ".jsonl.gz")):
        raise TaskFileError(
            f"{source} is not a .jsonl or .jsonl.gz file, the two kinds that are read"
        )
    try:
        with source.open("rb") as raw, _unpacked(source.name, raw) as data:
            for number, line in enumerate(data, start=1):
                if line.strip():
                    yield number, line.decode("utf-8")
    except FileNotFoundError:
        raise TaskFileError(f"there is no file {source}; check the path") from None
    except (OSError, EOFError, zlib.error) as error:
        raise TaskFileError(f"{source} cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise TaskFileError(f"{source}, line {number}: not UTF-8 text ({error})") from error


def _unpacked(name: str, raw: IO[bytes]) -> IO[bytes] | gzip.GzipFile:
    return gzip.open(raw) if name.endswith(".gz") else raw


def _parse_line(line: str, where: str) -> Task:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TaskFileError(f"{where}: not JSON: {error}") from error
    if not isinstance(record, dict):
        raise TaskFileError(f"{where}: a task is a JSON object, not {line.strip()[:40]!r}")
    for mark, parse in _FORMATS.items():
        if mark in record:
            return parse(record, where)
    raise TaskFileError(
        f"{where}: neither HumanEval (with 'test') nor MBPP (with 'test_list'); "
        f"it has the fields {', '.join(sorted(record)) or 'none'}"
    )


def _parse_humaneval(record: Record, where: str) -> Task:
    prompt = _text(record, "prompt", where)
    entry_point = _text(record, "entry_point", where)
    tests = _text(record, "test", where)
    solution = _text(record, "canonical_solution", where, default="")
    parsed = _parse_python(tests, "test", where)
    if not any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in parsed.body):
        raise TaskFileError(f"{where}: the field 'test' must define check(candidate)")
    _require_tests(parsed, where)
    reference = f"{prompt}{solution}" if solution else ""
    _require_function(reference, entry_point, where)
    hidden = HiddenTests(
        entry_point=entry_point,
        tests=tests,
        has_check=True,
        reference=reference,
        preamble=_preamble(prompt, entry_point),
    )
    return _task(record, str(_id(record, where)), prompt, hidden)


def _parse_mbpp(record: Record, where: str) -> Task:
    text = _text(record, "text" if "text" in record else "prompt", where)
    code = _text(record, "code", where, default="")
    asserts = [
        *_texts(record, "test_list", where),
        *_texts(record, "challenge_test_list", where),
    ]
    parsed = _parse_python("\n".join(asserts), "test_list", where)
    _require_tests(parsed, where)
    setup = [
        *_texts(record, "test_imports", where),
        _text(record, "test_setup_code", where, default=""),
    ]
    tests = "\n".join([*setup, *asserts])
    _parse_python(tests, "test_setup_code", where)
    entry_point = _tested_name(parsed, where)
    _require_function(code, entry_point, where)
    hidden = HiddenTests(entry_point=entry_point, tests=tests, has_check=False, reference=code)
    prompt = f"{text.strip()}\n\nDefine the function `{_signature(code, entry_point)}`."
    return _task(record, f"MBPP/{_id(record, where)}", prompt, hidden)


_FORMATS: Mapping[str, Callable[[Record, str], Task]] = {
    "test": _parse_humaneval,
    "test_list": _parse_mbpp,
}


def _task(record: Record, task_id: str, prompt: str, hidden: HiddenTests) -> Task:
    split = str(record.get("split", "test"))
    return Task(id=TaskId(task_id), prompt=prompt, split=split, data=asdict(hidden))


def _id(record: Record, where: str) -> str | int:
    task_id = record.get("task_id")
    if not isinstance(task_id, str | int) or task_id == "":
        raise TaskFileError(
            f"{where}: the field 'task_id' must be a text or a number, not {task_id!r}"
        )
    return task_id


def _text(record: Record, field: str, where: str, *, default: str | None = None) -> str:
    value = record.get(field, default)
    if not isinstance(value, str) or (default is None and not value.strip()):
        given = f"not {value!r}" if field in record else "and is missing"
        raise TaskFileError(f"{where}: the field {field!r} must be a non-empty text, {given}")
    return value


def _texts(record: Record, field: str, where: str) -> list[str]:
    value = record.get(field) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise TaskFileError(f"{where}: the field {field!r} must be a list of texts, not {value!r}")
    return [str(item) for item in value]


def _parse_python(source: str, field: str, where: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise TaskFileError(f"{where}: the field {field!r} is not Python: {error}") from error


def _require_tests(parsed: ast.Module, where: str) -> None:
    for node in ast.walk(parsed):
        if isinstance(node, ast.Raise):
            return
        if isinstance(node, ast.Assert) and not isinstance(node.test, ast.Constant):
            return
    raise TaskFileError(f"{where}: the task has no tests; they are `assert` statements")


def _require_function(reference: str, name: str, where: str) -> None:
    if not reference:
        return
    parsed = _parse_python(reference, "canonical_solution or code", where)
    if not any(isinstance(node, ast.FunctionDef) and node.name == name for node in parsed.body):
        raise TaskFileError(f"{where}: the known solution does not define the function {name!r}")


def _tested_name(parsed: ast.Module, where: str) -> str:
    for node in ast.walk(parsed):
        name = (
            node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
        )
        if name and not hasattr(builtins, name):
            return name
    raise TaskFileError(f"{where}: no assertion of 'test_list' calls a function of the solution")


def _signature(code: str, name: str) -> str:
    for node in ast.parse(code).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return f"{name}({ast.unparse(node.args)})"
    return f"{name}(...)"


def _preamble(prompt: str, entry_point: str) -> str:
    try:
        body = ast.parse(prompt).body
    except SyntaxError:
        return ""
    names = [getattr(node, "name", "") for node in body]
    if entry_point not in names:
        return ""
    return "\n".join(ast.unparse(node) for node in body[: names.index(entry_point)])
