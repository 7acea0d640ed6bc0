"""f_E of an adapter: held-out tasks without the rules in the prompt, and what must not have changed.

The candidate acts with the adapter and is told only the rules that it does not hold. It must be
better than the bare base, not worse than the incumbent with its rules by more than the margin, read
fewer tokens, and pass the distiller's probes.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from agentevo.acquisition.run_agent import RunAgent
from agentevo.gate import Criterion, Gate, Verdict
from agentevo.gate.criteria import Pair
from agentevo.graph.context import EvolutionContext
from agentevo.graph.distilling import taught_branch, weights_branch
from agentevo.graph.held_out import HeldOut
from agentevo.graph.judgement import clean_tasks
from agentevo.graph.lines import SERVED
from agentevo.graph.serving import settle
from agentevo.graph.state import EvolutionState
from agentevo.runs.directory import create_run
from agentevo.runs.report import EpisodeResult, RunReport
from agentevo.stages import Evaluation
from agentevo.updating.distiller import Probed
from agentevo_environments.task import Task

Update = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plays:
    """The held-out tasks done by everybody whom the gate compares.

    Attributes:
        candidate: With the adapter; rules that it holds are not told.
        seen: What the candidate's tasks say.
        incumbent: What is served.
        base: The bare base, told nothing.
        told: Checkpoints of the bare base, told every rule.
    """

    candidate: RunReport
    seen: Evaluation
    incumbent: RunReport
    base: RunReport
    told: Path


def weigh_adapter(state: EvolutionState, context: EvolutionContext) -> Update:
    """Return the update of `evaluate` for a candidate of `update_in_weight`."""
    candidate, number, distiller = state["candidate"], state["round"], context.distiller
    assert distiller is not None, "an adapter was made"
    if candidate["adapter"] in (None, candidate["incumbent"]):
        return _close(state, context, "unchanged", Verdict("refused"), None)
    tasks, leaks = clean_tasks(weights_branch(number), context)
    plays = _play(tasks, state, context)
    with context.line.open(taught_branch(number)) as memory:
        probed = distiller.probes(candidate["adapter"], memory, [plays.told])
        verdict = _verdict(plays, probed, context, number)
    made = context.generation(weights_branch(number), candidate["adapter"])
    evidence = {
        "round": number,
        "counts": candidate["counts"],
        "figures": candidate["figures"],
        "leaks": {task: list(ids) for task, ids in leaks.items()},
    }
    decision = settle(made, weights_branch(number), verdict, context, evidence)
    return _close(state, context, decision, verdict, plays)


def _play(tasks: Sequence[Task], state: EvolutionState, context: EvolutionContext) -> Plays:
    """Let candidate, incumbent and base do the tasks; episodes that were done are not repeated."""
    distiller, line, number = context.distiller, context.line, state["round"]
    assert distiller is not None, "an adapter was made"
    before, made = state["candidate"]["incumbent"], state["candidate"]["adapter"]
    bare = context.bare_agent
    incumbent = context.agent.with_model(distiller.model(before))
    candidate = context.agent.with_model(distiller.model(made))

    def play(agent: RunAgent, name: str, branch: str | None) -> RunReport:
        label = f"{number}-weights-{name}"
        if branch is None:
            return agent.carry_out(tasks, label=label, memory=None)
        with line.open(branch) as memory:
            return agent.carry_out(tasks, label=label, memory=memory)

    served = play(incumbent, "incumbent", SERVED)
    told = served.id
    if before is not None:
        told = play(bare, "told", taught_branch(number)).id
    done = play(candidate, "candidate", weights_branch(number))
    return Plays(
        candidate=done,
        seen=HeldOut(candidate, None, done.id).of(tasks, done),
        incumbent=served,
        base=play(bare, "base", None),
        told=create_run(context.agent.settings, told).checkpoints,
    )


def _verdict(plays: Plays, probed: Probed, context: EvolutionContext, number: int) -> Verdict:
    stage, weights = context.recipe.evaluation, context.recipe.in_weight
    alpha, pairs = stage.alpha, stage.gate_pairs
    own = [
        Criterion("gain", alpha=alpha, budget=pairs),
        Criterion("success", weights.margin, alpha, pairs),
        Criterion("tokens", alpha=alpha, budget=pairs),
    ]
    compare = {
        "gain": partial(_solved, plays.candidate, plays.base),
        "success": partial(_solved, plays.candidate, plays.incumbent),
        "tokens": partial(_saved, plays.candidate, plays.incumbent, weights.least_saving),
    }
    ids = [episode.task_id for episode in plays.candidate.episodes]
    ordered = random.Random(f"{context.seed}:{number}:weights").sample(ids, len(ids))

    def score(criterion: str, item: str) -> Pair:
        if criterion in compare:
            return compare[criterion](item)
        return probed.score(criterion, item)

    tasks = {**probed.tasks, **dict.fromkeys(compare, ordered)}
    return Gate([*own, *probed.criteria]).judge(tasks, score)


def _solved(one: RunReport, other: RunReport, task: str) -> Pair:
    return float(_episode(one, task).solved), float(_episode(other, task).solved)


def _saved(one: RunReport, other: RunReport, least: float, task: str) -> Pair:
    """Return (1, 0) for a task that read fewer tokens by the least share, (0, 1) for any other."""
    saved = _episode(one, task).input_tokens <= (1 - least) * _episode(other, task).input_tokens
    return float(saved), float(not saved)


def _episode(report: RunReport, task: str) -> EpisodeResult:
    return next(episode for episode in report.episodes if episode.task_id == task)


def _close(
    state: EvolutionState,
    context: EvolutionContext,
    decision: str,
    verdict: Verdict,
    plays: Plays | None,
) -> Update:
    number, candidate = state["round"], state["candidate"]
    entry = {
        "round": number,
        "decision": decision,
        "adapter": candidate["adapter"],
        "note": candidate["note"],
        "counts": candidate.get("counts", {}),
        "criteria": {
            seen.criterion.name: {
                "shown": seen.shown,
                "pairs": seen.pairs,
                "mean_difference": seen.mean_difference,
                "p_value": seen.p_value,
                "margin": seen.criterion.margin,
                "reason": seen.reason,
            }
            for seen in verdict.evidence
        },
        "worse": list(verdict.harmed),
        **(_figures(plays) if plays is not None else {}),
    }
    context.tell("weights_judged", number, **entry)
    update: Update = {"weights": [*state["weights"], entry], "candidate": {}, "due": False}
    if decision == "accepted" and plays is not None:
        seen = plays.seen
        update |= {"served_scores": dict(seen.scores), "measured": dict(seen.abilities)}
    return update


def _figures(plays: Plays) -> Mapping[str, Any]:
    reports = {
        "candidate": plays.candidate,
        "incumbent": plays.incumbent,
        "base": plays.base,
    }
    return {
        "abilities": dict(plays.seen.abilities),
        "failures": list(plays.seen.notes),
        "rates": {name: report.rate for name, report in reports.items()},
        "prompt_tokens": {
            name: report.input_tokens / max(1, len(report.episodes))
            for name, report in reports.items()
        },
    }
