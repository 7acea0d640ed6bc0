"""f_E of a changed memory: leak check, the gate, and a generation that is served or refused.

Done again after a kill it finds its episodes done, comes to the same verdict, and writes nothing
twice.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from agentevo.evaluation.guards import leaked
from agentevo.evaluation.verdict import GateSettings, judge
from agentevo.gate import Verdict
from agentevo.graph.context import EvolutionContext
from agentevo.graph.distilling import is_due
from agentevo.graph.held_out import HeldOut
from agentevo.graph.serving import settle
from agentevo.graph.state import EvolutionState
from agentevo.stages import Evaluation
from agentevo_environments.task import Task

Update = dict[str, Any]


def memory_branch(number: int) -> str:
    """Return the name of the branch that `update_in_context` changes in a round."""
    return f"{number:04}"


def judge_round(state: EvolutionState, context: EvolutionContext) -> Update:
    """Return the update of `evaluate` for a candidate of `update_in_context`."""
    number = state["round"]
    if not state["candidate"]["changed"]:
        return _close(state, context, "unchanged", Verdict("refused"), None)
    branch = memory_branch(number)
    tasks, leaks = clean_tasks(branch, context)
    with context.line.open(branch) as memory:
        held_out = HeldOut(context.agent, memory, f"{number}-gate-candidate")
        seen = held_out.evaluate(tasks, context.now(number, state["ability"], {}))
    verdict = _verdict(state, context, seen.scores)
    candidate = context.generation(branch, context.served_adapter)
    evidence = {
        "round": number,
        "counts": state["candidate"]["counts"],
        "leaks": {task: list(ids) for task, ids in leaks.items()},
    }
    decision = settle(candidate, branch, verdict, context, evidence)
    return _close(state, context, decision, verdict, seen)


def clean_tasks(
    branch: str, context: EvolutionContext
) -> tuple[Sequence[Task], Mapping[str, tuple[str, ...]]]:
    """Return the gate tasks of which a branch does not hold the text, and the leaks."""
    practised = {" ".join(task.prompt.split()) for task in context.splits.practice}
    gate = context.splits.gate
    leaks = leaked(gate, context.line.texts(branch))
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


def _close(
    state: EvolutionState,
    context: EvolutionContext,
    decision: str,
    verdict: Verdict,
    seen: Evaluation | None,
) -> Update:
    number, accepted = state["round"], decision == "accepted"
    gain = verdict.evidence[0] if verdict.evidence else None
    harmful = gain is not None and gain.mean_difference < 0
    entry = {
        "round": number,
        "ability": state["ability"],
        "decision": decision,
        "rate": seen.abilities[context.agent.environment] if seen else None,
        "pairs": gain.pairs if gain else 0,
        "mean_difference": gain.mean_difference if gain else 0.0,
        "p_value": gain.p_value if gain else 1.0,
        "worse": list(verdict.harmed),
        "abilities": dict(seen.abilities) if seen else {},
        "failures": list(seen.notes) if seen else [],
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
    if accepted and seen is not None:
        update |= {"served_scores": dict(seen.scores), "measured": dict(seen.abilities)}
    return update | {"due": is_due(state, context)}
