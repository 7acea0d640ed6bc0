"""From the state of an evolution to its report."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from agentevo.evaluation.comparison import Arm, compare
from agentevo.evaluation.guards import Agreement
from agentevo.evolution.exam import LEARNING_ARMS, cost_of_learning
from agentevo.evolution.report import EvolutionReport
from agentevo.graph.context import EvolutionContext
from agentevo.runs.checkpoints import Ledger


def summarise(
    plan: Mapping[str, Any],
    context: EvolutionContext,
    state: Mapping[str, Any],
    exam: tuple[Sequence[Arm], Mapping[str, Any]],
    ledger: Ledger,
) -> EvolutionReport:
    """Return the report of an evolution as far as it has come.

    Args:
        plan: What was decided before the first round.
        context: Its live parts.
        state: Where it stands.
        exam: Its arms, and what `ask_elsewhere` says; both empty before it was taken.
        ledger: Facts that outlive a process.
    """
    splits, (arms, elsewhere) = context.splits, exam
    return EvolutionReport(
        id=context.id,
        status="finished" if arms else "stopped",
        autonomy=plan["autonomy"],
        decisions=plan["decisions"],
        environment=context.agent.environment,
        model=context.agent.settings.model.spec,
        seed=context.seed,
        recipe=plan["recipe"],
        objective=plan["objective"],
        tasks={
            "practice": len(splits.practice),
            "gate": len(splits.gate),
            "exam": len(splits.exam),
        },
        rounds=tuple(state["rounds"]),
        weights=tuple(state["weights"]),
        ended=state["ended"],
        generations={"before": ledger.fact("before"), "served": context.log.served_id},
        adapter=context.served_adapter,
        rules=tuple(context.line.rules().values()),
        arms=tuple(arms),
        comparisons=tuple(comparisons(arms, seed=context.seed)),
        cost=cost_of_learning(context),
        retention=retention_matrix(state["rounds"], state["weights"]),
        elsewhere=elsewhere,
        notes=(*context.stages.notes(), *_judge_note(context, state)),
        started_at=plan["started_at"],
        seconds=ledger.fact("seconds", 0.0),
    )


def comparisons(arms: Sequence[Arm], *, seed: int) -> list[dict[str, Any]]:
    """Return every arm that learnt against every arm before it, on the same tasks."""
    return [
        compare(arm, control, seed=seed).to_json()
        for control, arm in combinations(arms, 2)
        if arm.name in LEARNING_ARMS
    ]


def retention_matrix(
    rounds: Sequence[Mapping[str, Any]], weights: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the held-out success of every scope under every generation that was served.

    Returns:
        `abilities`: the columns; `rows`: one per served generation with `round`, `kind` ("memory"
        or "weights") and `rates`, where None is an ability that was not measured.
    """
    kinds = [("memory", entry) for entry in rounds] + [("weights", entry) for entry in weights]
    served = [(kind, entry) for kind, entry in kinds if entry["decision"] == "accepted"]
    served.sort(key=lambda pair: pair[1]["round"])
    columns = list(dict.fromkeys(name for _, entry in served for name in entry["abilities"]))
    rows = [
        {
            "round": entry["round"],
            "kind": kind,
            "rates": [entry["abilities"].get(name) for name in columns],
        }
        for kind, entry in served
    ]
    return {"abilities": columns, "rows": rows}


def _judge_note(context: EvolutionContext, state: Mapping[str, Any]) -> Iterator[str]:
    agreement = Agreement(*state["agreement"])
    if agreement.too_low(context.recipe.feedback.judge_floor):
        yield (
            f"the judge was switched off: it agreed with the environment on {agreement.agreed} of "
            f"{agreement.judged} attempts"
        )
