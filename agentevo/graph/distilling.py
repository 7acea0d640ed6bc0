"""f_U in weight of one round: the live rules become an adapter, which is a candidate and not served.

What is learnt from are the practice tasks, done once more by the bare base with every live rule
told: episodes of earlier rounds may have been told rules that hold no more. Always one adapter for
all live rules, from the bare base, so that a rule that was forgotten is not in the next one.
"""

import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentevo.acquisition.run_agent import DrainedError, RecallOnly
from agentevo.errors import AdapterError
from agentevo.graph.context import EvolutionContext
from agentevo.graph.state import EvolutionState
from agentevo.runs.directory import create_run
from agentevo.updating.distiller import Distilled, Distiller, Lesson
from agentevo.updating.in_context import InContextMemory
from agentevo.updating.in_weight import hold_rules
from agentevo_environments.task import Task

Update = dict[str, Any]
TOLD_EVERY = 10


def taught_branch(number: int) -> str:
    """Return the name of the branch of a round on which every live rule is told."""
    return f"{number:04}-taught"


def weights_branch(number: int) -> str:
    """Return the name of the branch of a round on which rules are held by the weights."""
    return f"{number:04}-weights"


def is_due(state: EvolutionState, context: EvolutionContext, *, last: bool = False) -> bool:
    """Return whether the rules are to be distilled after this round.

    Args:
        state: Where the evolution stands.
        context: Its live parts.
        last: Whether no round follows, so that what is left untaught is due.
    """
    stage = context.recipe.in_weight
    if context.distiller is None or stage.when == "never":
        return False
    rules, taught = set(context.line.rules()), set(state["taught"])
    if not rules:
        return False
    if context.commands() > state["obeyed"]:
        return True
    if stage.when == "rules":
        return len(rules - taught) >= stage.every
    return (
        stage.when == "rounds" and rules != taught and (last or state["round"] % stage.every == 0)
    )


def distil_round(state: EvolutionState, context: EvolutionContext) -> Update:
    """Return the update of `update_in_weight`."""
    distiller, number = context.distiller, state["round"]
    assert distiller is not None, "is_due comes first"
    given, rules = context.commands(), context.line.rules()
    context.tell("distillation_started", number, rules=len(rules))
    context.line.fork(taught_branch(number))
    with context.line.open(taught_branch(number)) as memory:
        hold_rules(memory.store, (), reason="taught to an adapter")
        practice = _practise(context, distiller, memory, number)
        made, note = _distil(context, distiller, memory, number, practice)
    candidate: Update = {
        "kind": "weights",
        "incumbent": context.served_adapter,
        "adapter": None,
        "note": note,
    }
    if made is not None:
        context.line.fork(weights_branch(number))
        with context.line.open(weights_branch(number)) as memory:
            shift = hold_rules(memory.store, made.rule_ids, reason=f"held by {made.adapter_id}")
        candidate |= {
            "adapter": made.adapter_id,
            "counts": {"distilled": len(made.rule_ids), "told": len(rules) - len(made.rule_ids)},
            "rule_tokens_saved": shift.tokens_saved,
            "figures": dict(made.figures),
        }
    told = {name: candidate.get(name) for name in ("adapter", "counts", "note")}
    context.tell("distillation_finished", number, **told)
    return {"candidate": candidate, "taught": sorted(rules), "obeyed": given, "due": False}


def _practise(
    context: EvolutionContext, distiller: Distiller, memory: InContextMemory, number: int
) -> Path:
    """Do practice tasks with every rule told, and return the checkpoints of these episodes."""
    source = random.Random(f"{context.seed}:{number}:teach")
    pool = context.splits.practice
    tasks = source.sample(pool, min(len(pool), context.recipe.in_weight.tasks))
    agent = context.agent.with_model(distiller.model(None))
    label = f"{number}-teach"
    report = agent.carry_out(tasks, label=label, memory=RecallOnly(memory))
    context.tell("taught", number, attempts=len(report.episodes), solved=report.solved)
    return create_run(agent.settings, label).checkpoints


def _distil(
    context: EvolutionContext,
    distiller: Distiller,
    memory: InContextMemory,
    number: int,
    practice: Path,
) -> tuple[Distilled | None, str]:
    """Return the adapter, or None and why there is none."""

    def on_step(progress: Mapping[str, Any]) -> None:
        if context.agent.stop.requested:
            raise DrainedError(f"the distillation stopped at step {progress['step']}")
        if progress["step"] % TOLD_EVERY == 0:
            context.tell("distilling", number, **progress)

    held_out: list[Task] = [*context.splits.gate, *context.splits.exam]
    lesson = Lesson(
        label=f"{context.id}-{number:04}",
        memory=memory,
        practice=[practice],
        held_out=[task.prompt for task in held_out],
        on_step=on_step,
    )
    with _meanwhile(context):
        try:
            return distiller.distil(lesson), ""
        except AdapterError as error:
            return None, str(error)


@contextmanager
def _meanwhile(context: EvolutionContext) -> Iterator[None]:
    """Do beside the block what the context has to do meanwhile, and wait for its end."""
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(context.meanwhile, context)
        yield
        beside.result()
