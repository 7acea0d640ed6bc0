"""Grading a solution by hidden tests that it never shares an execution with.

    examine (tests, no answers yet)   -> the calls that the tests make
    answer  (the solution, the calls) -> its replies, as plain data
    examine (tests, calls, replies)   -> how many assertions held

Each line is a fresh execution in the sandbox, after everything the agent ran is dead. When a call
depends on an earlier reply, the tests stray from the recorded calls and the last two repeat.

Excluded: reading, editing, patching or stopping the tests, forging a verdict or an equality,
leaving files or processes for the tests to meet. Not excluded: a solution can look at the
arguments of all calls before it answers the first, and it can know the answers by heart.
"""

import builtins
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from typing import Self

from agentevo_environments.sandboxes.base import ExecResult, Limits, Program, Sandbox
from agentevo_environments.task import Grade, JSONValue, Task

ROUNDS = 8
"""How often the tests may stray from the recorded calls before the solution counts as failed."""

OUTPUT_BYTES = 4 << 20
"""Room for the replies of one execution."""


_REPLY_KEYS = ("value", "args", "raises")


@dataclass(frozen=True, slots=True)
class HiddenTests:
    """What grading needs to know of a task.

    Attributes:
        entry_point: Name of the function under test.
        tests: Source of the tests; `check` in it is called with the function if `has_check`.
        has_check: Whether the tests define `check(candidate)` (HumanEval) or are plain
            assertions that call the function by name (MBPP).
        reference: Source of a correct solution, "" when none is known. It predicts the calls and
            gives the tests the classes and helpers they mention.
        preamble: Source that runs before the solution (imports and helpers of the prompt).
    """

    entry_point: str
    tests: str
    has_check: bool
    reference: str = ""
    preamble: str = ""

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the hidden tests in a task's data, where `task_file` puts them."""
        return cls(
            entry_point=str(task.data["entry_point"]),
            tests=str(task.data["tests"]),
            has_check=bool(task.data["has_check"]),
            reference=str(task.data["reference"]),
            preamble=str(task.data["preamble"]),
        )


class Grader:
    """Grades solutions of one task.

    Args:
        sandbox: A started sandbox; nothing else may be running in it.
        hidden: The tests.
        limits: What each execution may use.
    """

    def __init__(self, sandbox: Sandbox, hidden: HiddenTests, limits: Limits) -> None:
        self._sandbox = sandbox
        self._hidden = hidden
        self._limits = replace(limits, output_bytes=OUTPUT_BYTES)
        self._program = files(__package__).joinpath("inside.py").read_text(encoding="utf-8")

    def grade(self, solution: str) -> Grade:
        """Return the share of assertions that hold; all of them is solved."""
        calls: Sequence[JSONValue] = []
        replies: Sequence[JSONValue] = []
        for _ in range(ROUNDS):
            verdict = self._examine(calls, replies)
            match verdict:
                case {"passed": int(passed), "failed": int(failed)}:
                    return _grade(passed, failed, replies)
                case {"calls": list(calls)}:
                    replies = self._answer(solution, calls)
                case _:
                    return Grade(0.0, False, "the hidden tests did not finish on these answers")
        return Grade(0.0, False, "the solution does not answer the same calls in the same way")

    def _examine(self, calls: Sequence[JSONValue], replies: Sequence[JSONValue]) -> JSONValue:
        hidden = self._hidden
        lines, _ = self._run(
            {
                "role": "examine",
                "tests": hidden.tests,
                "check": hidden.has_check,
                "reference": hidden.reference,
                "calls": list(calls),
                "replies": list(replies),
            }
        )
        return lines[-1] if lines else None

    def _answer(self, solution: str, calls: Sequence[JSONValue]) -> Sequence[JSONValue]:
        job: dict[str, JSONValue] = {
            "role": "answer",
            "solution": f"{self._hidden.preamble}\n{solution}",
            "calls": list(calls),
        }
        lines, result = self._run(job)
        objects = [line for line in lines if isinstance(line, dict)][: len(calls)]
        if objects and "load" in objects[0]:
            objects, reason = [], f"does not load ({_known(objects[0]['load'])})"
        else:
            reason = _why_missing(result)
        # What the solution says stays data: only the keys of a reply pass, `missing` is ours.
        replies = [{key: line[key] for key in _REPLY_KEYS if key in line} for line in objects]
        missing: dict[str, JSONValue] = {"missing": reason}
        return [*replies, *[missing] * (len(calls) - len(replies))]

    def _run(self, job: Mapping[str, JSONValue]) -> tuple[list[JSONValue], ExecResult]:
        stdin = json.dumps({"entry_point": self._hidden.entry_point, **job}).encode()
        program = Program(code=self._program, stdin=stdin)
        result = self._sandbox.exec(program, limits=self._limits)
        return [_parsed(line) for line in result.stdout.splitlines()], result


def _parsed(line: str) -> JSONValue:
    try:
        value: JSONValue = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value


def _grade(passed: int, failed: int, replies: Sequence[JSONValue]) -> Grade:
    detail = f"{passed} of {passed + failed} hidden assertions hold"
    trouble = next((text for text in map(_trouble, replies) if text), "")
    if failed and trouble:
        detail = f"{detail}; the solution {trouble}"
    return Grade(passed / (passed + failed), failed == 0, detail)


def _trouble(reply: JSONValue) -> str:
    match reply:
        case {"missing": str(reason)}:
            return reason
        case {"raises": name}:
            return f"raises {_known(name)}"
    return ""


def _known(name: JSONValue) -> str:
    # Only names of Python's own exceptions: a class of the solution could be named after an input.
    kind = getattr(builtins, name, None) if isinstance(name, str) else None
    is_error = isinstance(kind, type) and issubclass(kind, BaseException)
    return str(name) if is_error else "an exception of its own"


def _why_missing(result: ExecResult) -> str:
    reasons = {
        "timeout": "does not answer in time",
        "memory_limit": "needs more memory than allowed",
        "output_limit": "answers more than fits",
    }
    return reasons.get(result.ending, "ends its process")
