"""The conformance checks accept a right environment and find what is wrong with broken ones."""

import importlib.util
from pathlib import Path
from typing import Any, ClassVar

import pytest

from agentevo_environments import Action, Environment, Grade, Observation, Task, ToolSpec
from agentevo_environments.conformance import (
    ENVIRONMENT_CHECKS,
    ConformanceError,
    check_environment,
    validate,
)
from agentevo_environments.task import JSONValue

_spec = importlib.util.spec_from_file_location(
    "arithmetic_environment", Path(__file__).parent / "arithmetic_environment.py"
)
assert _spec is not None
assert _spec.loader is not None
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
Arithmetic: type[Environment] = _module.ArithmeticEnvironment


class Example(Arithmetic):  # type: ignore[misc, valid-type]
    """The example of the README, to be broken in one way by each class below."""

    given: Any
    expected: Any


class Repeats(Example):
    def tasks(self, split: str = "test", n: int | None = None, seed: int = 0) -> Any:
        return [super().tasks(split, 1, seed)[0]] * 3


class Drifts(Example):
    draws = 0

    def tasks(self, split: str = "test", n: int | None = None, seed: int = 0) -> Any:
        Drifts.draws += 1
        return super().tasks(split, n, seed + Drifts.draws)


class AcceptsAnySplit(Example):
    def tasks(self, split: str = "test", n: int | None = None, seed: int = 0) -> Any:
        return super().tasks("test", n, seed)


class NeedsUnknownArguments(Example):
    def tools(self) -> list[ToolSpec]:
        return [ToolSpec("answer", "Give it.", {"type": "object", "required": ["number"]})]


class Raises(Example):
    def step(self, action: Action) -> Any:
        return super().step(Action(action.tool, {"number": int(str(action.arguments["number"]))}))


class NeverSolved(Example):
    def grade(self) -> Any:
        return Grade(0.5, False)


class AlwaysSolved(Example):
    def grade(self) -> Any:
        return Grade(1.0, True)


class GradesOnce(Example):
    def grade(self) -> Any:
        grade, self.given = super().grade(), None
        return grade


class Counts(Example):
    steps = 0

    def step(self, action: Action) -> Any:
        self.steps += 1
        return Observation(f"step {self.steps}", done=super().step(action).done)


class Remembers(Example):
    def reset(self, task: Task) -> Any:
        before = getattr(self, "given", None)
        seen = super().reset(task)
        self.given = before
        return seen


class Shares(Example):
    board: ClassVar[dict[str, object]] = {}

    def reset(self, task: Task) -> Any:
        self.board.clear()
        return super().reset(task)

    def step(self, action: Action) -> Any:
        seen = super().step(action)
        self.board["given"] = self.given
        return seen

    def grade(self) -> Any:
        solved = self.board.get("given") == self.expected
        return Grade(float(solved), solved)


class Tells(Example):
    def tasks(self, split: str = "test", n: int | None = None, seed: int = 0) -> Any:
        tasks = super().tasks(split, n, seed)
        for task in tasks:
            task.data["words"] = f"the sum is {task.data['sum']}"
        return tasks

    def reset(self, task: Task) -> Any:
        super().reset(task)
        return Observation(f"Hint: {task.data['words']}.")


class LosesTheState(Example):
    def snapshot(self) -> JSONValue:
        return {}

    def restore(self, task: Task, snapshot: JSONValue) -> None:
        self.reset(task)


class ClosesOnce(Example):
    is_open = True

    def close(self) -> None:
        if not self.is_open:
            raise ConformanceError("closed twice")
        self.is_open = False


BROKEN: dict[str, type[Environment]] = {
    "tasks_repeat": Drifts,
    "tasks_are_plain_and_unique": Repeats,
    "unknown_split_is_refused": AcceptsAnySplit,
    "it_describes_itself": NeedsUnknownArguments,
    "bad_actions_are_observations": Raises,
    "oracles_score_one": NeverSolved,
    "failures_score_below_one": AlwaysSolved,
    "grades_repeat": GradesOnce,
    "an_action_id_is_done_once": Counts,
    "snapshots_continue": LosesTheState,
    "reset_forgets": Remembers,
    "episodes_are_separate": Shares,
    "hidden_data_stays_hidden": Tells,
    "closing_twice_is_harmless": ClosesOnce,
}


def test_the_example_environment_conforms() -> None:
    check_environment(Arithmetic)


@pytest.mark.parametrize("name", ENVIRONMENT_CHECKS)
def test_each_check_finds_an_environment_that_breaks_it(name: str) -> None:
    with pytest.raises(ConformanceError):
        ENVIRONMENT_CHECKS[name](BROKEN[name])


def test_checking_all_names_every_broken_part() -> None:
    with pytest.raises(ConformanceError) as caught:
        check_environment(AlwaysSolved)
    names = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert names == ["failures_score_below_one", "reset_forgets", "episodes_are_separate"]


def test_validation_counts_oracles_and_tolerates_missing_decoys() -> None:
    found = validate(Arithmetic(), 5)
    assert found.ok
    assert (found.tasks, found.oracles, found.oracles_solved, found.decoys) == (5, 5, 5, 0)


def test_validation_names_the_tasks_that_are_wrong() -> None:
    found = validate(NeverSolved(), 2)
    assert not found.ok
    assert [problem.split(": ")[1] for problem in found.problems] == [
        "the oracle does not solve it ()"
    ] * 2


def test_validation_of_no_tasks_is_not_ok() -> None:
    assert not validate(Arithmetic(), 0).ok


def test_an_environment_is_abstract_without_its_parts() -> None:
    assert Environment.__abstractmethods__ == {"tasks", "reset", "step", "grade", "tools"}
