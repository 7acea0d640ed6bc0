"""f_E of one round: leak check, the gate, and a generation that is served or refused.

Done again after a kill it finds its episodes done, comes to the same verdict, and writes nothing
twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from agentevo.evaluation.guards import leaked
from agentevo.evaluation.verdict import GateSettings, judge
from agentevo.gate import Verdict
from agentevo.generations import Generation
from agentevo.graph.context import EvolutionContext
from agentevo.graph.state import EvolutionState
from agentevo_environments.task import Task
from agentevo_memory.branch import BranchError

Update = dict[str, Any]


def judge_round(state: EvolutionState, context: EvolutionContext) -> Update:
    """Return the update of `evaluate`."""
    number = state["round"]
    if not state["candidate"]["changed"]:
        return _close(state, context, "unchanged", Verdict("refused"), {})
    tasks, leaks = _clean_tasks(number, context)
    with context.line.open(number) as memory:
        report = context.agent.carry_out(tasks, label=f"{number}-gate-candidate", memory=memory)
    scores = {episode.task_id: float(episode.solved) for episode in report.episodes}
    verdict = _verdict(state, context, scores)
    candidate = context.generation(context.line.position(number))
    parent = context.log.served_id
    evidence = {
        "evolution": context.id,
        "round": number,
        "counts": state["candidate"]["counts"],
        "leaks": {task: list(ids) for task, ids in leaks.items()},
        "verdict": verdict.to_json(),
    }
    if candidate.id != parent:
        context.log.create(candidate, parent=parent, evidence=evidence)
    conflict = _serve(candidate, verdict, context, number) if verdict.accepted else ""
    if not verdict.accepted or conflict:
        _refuse(candidate, {**verdict.to_json(), "conflict": conflict}, context)
        return _close(state, context, "refused", verdict, scores)
    return _close(state, context, "accepted", verdict, scores)


def abilities(scores: Mapping[str, float], context: EvolutionContext) -> dict[str, float]:
    """Return the mean score of the environment and of every scope, by ability."""
    groups: dict[str, list[float]] = {}
    for task in context.splits.gate:
        if task.id in scores:
            for ability in filter(None, (context.agent.environment, task.scope)):
                groups.setdefault(ability, []).append(scores[task.id])
    return {ability: sum(found) / len(found) for ability, found in groups.items()}


def _clean_tasks(
    number: int, context: EvolutionContext
) -> tuple[Sequence[Task], Mapping[str, tuple[str, ...]]]:
    """Return the gate tasks of which the candidate memory does not hold the text, and the leaks."""
    practised = {" ".join(task.prompt.split()) for task in context.splits.practice}
    gate = context.splits.gate
    leaks = leaked(gate, context.line.texts(number))
    # a prompt that is also practised is equal by chance, not by a leak
    leaks = {
        task.id: leaks[task.id]
        for task in gate
        if task.id in leaks and " ".join(task.prompt.split()) not in practised
    }
    clean = [task for task in gate if task.id not in leaks]
    return clean or list(gate), leaks


def _verdict(
    state: EvolutionState, context: EvolutionContext, scores: Mapping[str, float]
) -> Verdict:
    number, stage = state["round"], context.recipe.evaluation
    by_id = {task.id: task for task in context.splits.gate}

    def incumbent(tasks: Sequence[str], block: int) -> Mapping[str, float]:
        label = f"{number}-gate-incumbent{block}"
        chosen = [task for name, task in by_id.items() if name in tasks]
        with context.line.open() as memory:
            report = context.agent.carry_out(chosen, label=label, memory=memory)
        return {episode.task_id: float(episode.solved) for episode in report.episodes}

    protected = [task for task, score in state["served_scores"].items() if score >= 1.0]
    return judge(
        list(scores),
        scores,
        incumbent,
        protected=protected,
        settings=GateSettings(
            stage.alpha, stage.gate_pairs, stage.retention_margin, context.seed * 100_003 + number
        ),
    )


def _serve(candidate: Generation, verdict: Verdict, context: EvolutionContext, number: int) -> str:
    """Serve an accepted candidate; returns why not if somebody changed the memory meanwhile."""
    try:
        context.line.adopt(number)
    except BranchError as error:
        return str(error)
    if context.log.served_id != candidate.id:
        reason = f"accepted in round {number} of {context.id}"
        context.log.serve(candidate.id, reason=reason, verdict=verdict.to_json())
    return ""


def _refuse(candidate: Generation, verdict: Mapping[str, Any], context: EvolutionContext) -> None:
    refused = {entry.generation_id for entry in context.log.entries("refused")}
    if candidate.id not in refused and candidate.id != context.log.served_id:
        context.log.refuse(candidate.id, verdict)


def _close(
    state: EvolutionState,
    context: EvolutionContext,
    decision: str,
    verdict: Verdict,
    scores: Mapping[str, float],
) -> Update:
    number, accepted = state["round"], decision == "accepted"
    gain = verdict.evidence[0] if verdict.evidence else None
    harmful = gain is not None and gain.mean_difference < 0
    entry = {
        "round": number,
        "ability": state["ability"],
        "decision": decision,
        "rate": sum(scores.values()) / len(scores) if scores else None,
        "pairs": gain.pairs if gain else 0,
        "mean_difference": gain.mean_difference if gain else 0.0,
        "p_value": gain.p_value if gain else 1.0,
        "worse": list(verdict.harmed),
        **state["candidate"]["counts"],
    }
    context.tell("round_finished", number, **entry)
    update: Update = {
        "rounds": [*state["rounds"], entry],
        "idle": 0 if accepted else state["idle"] + 1,
        "pending": [] if accepted or harmful else [*state["pending"], *state["kept"]],
        "tasks": [],
        "experiences": [],
        "kept": [],
        "candidate": {},
    }
    if accepted:
        update |= {"served_scores": dict(scores), "measured": abilities(scores, context)}
    return update
