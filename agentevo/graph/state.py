"""`EvolutionState`: where an evolution stands between two stages, plain values only."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypedDict

from agentevo.recall import Outcome, Turn
from agentevo.stages import Experience, Feedback, Solution
from agentevo_environments.task import Task

Plain = dict[str, Any]


class EvolutionState(TypedDict, total=False):
    """One evolution.

    Attributes:
        round: t; 0 before the first.
        ability: The leaf objective that this round works on.
        tasks: The tasks of this round.
        experiences: What was attempted in this round, with feedback.
        kept: What refinement kept of it.
        pending: Experiences of earlier rounds whose candidate showed too little to be served.
        candidate: What was changed, "memory" or "weights", and what the update did; or empty.
        history: Latest score of every task practised, by task id.
        measured: Score of every ability under the served memory.
        served_scores: Score of every gate task under the served memory, by task id.
        idle: Rounds in a row without an accepted candidate.
        rounds: One entry per round, for the report.
        due: Whether the rules are to be distilled next.
        obeyed: How many commands to distil were carried out.
        taught: Ids of the rules that the last distillation was offered.
        weights: One entry per distillation, for the report.
        agreement: Attempts on which the judge agreed with the environment, and that both judged.
        ended: Why the evolution has ended; "" while it goes on.
    """

    round: int
    ability: str
    tasks: list[Plain]
    experiences: list[Plain]
    kept: list[Plain]
    pending: list[Plain]
    candidate: Plain
    history: dict[str, float]
    measured: dict[str, float]
    served_scores: dict[str, float]
    idle: int
    rounds: list[Plain]
    due: bool
    obeyed: int
    taught: list[str]
    weights: list[Plain]
    agreement: list[int]
    ended: str


def initial_state() -> EvolutionState:
    """Return the state before the first round."""
    return EvolutionState(
        round=0,
        pending=[],
        history={},
        measured={},
        served_scores={},
        idle=0,
        rounds=[],
        due=False,
        obeyed=0,
        taught=[],
        weights=[],
        agreement=[0, 0],
        ended="",
    )


def pack_task(task: Task) -> Plain:
    """Return a task as plain values."""
    return {**asdict(task), "data": dict(task.data)}


def unpack_task(data: Mapping[str, Any]) -> Task:
    """Return the task that `pack_task` packed."""
    return Task(**data)


def pack_experience(entry: Experience) -> Plain:
    """Return an experience as plain values."""
    return {
        "solution": _pack_solution(entry.solution),
        "feedback": [asdict(feedback) for feedback in entry.feedback],
        "rejected": _pack_solution(entry.rejected) if entry.rejected else None,
    }


def unpack_experience(data: Mapping[str, Any]) -> Experience:
    """Return the experience that `pack_experience` packed."""
    return Experience(
        _unpack_solution(data["solution"]),
        tuple(Feedback(**feedback) for feedback in data["feedback"]),
        _unpack_solution(data["rejected"]) if data["rejected"] else None,
    )


def unpack_all(entries: Sequence[Mapping[str, Any]]) -> list[Experience]:
    """Return experiences that were packed one by one."""
    return [unpack_experience(entry) for entry in entries]


def _pack_solution(solution: Solution) -> Plain:
    outcome = solution.outcome
    packed = None
    if outcome is not None:
        turns = [asdict(turn) for turn in outcome.turns]
        packed = {**asdict(outcome), "turns": turns, "recalled": list(outcome.recalled)}
    return {
        "task": pack_task(solution.task),
        "text": solution.text,
        "outcome": packed,
        "polarity": solution.polarity,
        "strategy": solution.strategy,
        "revised_from": solution.revised_from,
    }


def _unpack_solution(data: Mapping[str, Any]) -> Solution:
    packed = data["outcome"]
    outcome = None
    if packed is not None:
        turns = tuple(Turn(**turn) for turn in packed["turns"])
        outcome = Outcome(**{**packed, "turns": turns, "recalled": tuple(packed["recalled"])})
    return Solution(**{**data, "task": unpack_task(data["task"]), "outcome": outcome})
