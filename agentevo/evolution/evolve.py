"""`evolve`: one call from settings to a report; what is missing decides the autonomy.

EvolL(M, E, f, ENV), EvolM(M, E, ENV) and EvolH(M, ENV) of the survey are the same call with less
given.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel

from agentevo.acquisition.run_agent import DrainedError, StopRequest
from agentevo.config import Settings
from agentevo.errors import ConfigError, RunError, RunInUseError
from agentevo.evaluation.comparison import Arm, compare
from agentevo.evaluation.splits import split_tasks
from agentevo.events import make_event
from agentevo.evolution.autonomy import (
    Ask,
    Proposed,
    autonomy_of,
    check_measurable,
    propose_objective,
    propose_recipe,
)
from agentevo.evolution.directory import EvolutionDirectory, create_evolution, open_evolution
from agentevo.evolution.exam import cost_of_learning, take_exam
from agentevo.evolution.parts import Parts, base_of, make_context, name_of, ports_of, try_recipe
from agentevo.evolution.report import EvolutionReport
from agentevo.graph import build_evolution_graph
from agentevo.graph.context import EvolutionContext
from agentevo.graph.state import EvolutionState, initial_state
from agentevo.models import AnyModel
from agentevo.objective import Objective
from agentevo.recipes import Recipe, check_ports, load_recipe
from agentevo.runs.checkpoints import Ledger, open_checkpoints
from agentevo.runs.drain import drain_on_signals
from agentevo.runs.event_log import EventLog
from agentevo.runs.lock import RunLock
from agentevo.runtime import model_of, tasks_of
from agentevo_environments.task import Task
from agentevo_memory.journal import Selection

SHIPPED = Parts()
"""Nothing in the place of what the settings name."""


def evolve(  # noqa: PLR0913 (each is an option that users set by name)
    settings: Settings,
    *,
    objective: Objective | None = None,
    recipe: Recipe | str | None = None,
    rounds: int | None = None,
    budget: int | None = None,
    parts: Parts = SHIPPED,
) -> EvolutionReport:
    """Let an agent improve itself, and compare the result with its controls.

    Args:
        settings: Environment, tasks, model, memory. `env.n` tasks are divided into practice, gate
            and exam.
        objective: What to get better at. Default: the model proposes one, or all of the
            environment.
        recipe: How, as a recipe, a name, or the path of a file. Default: the model proposes one,
            or `default`.
        rounds: Rounds at most. Default: the recipe's.
        budget: Episodes that learning may take; it limits the rounds. Default: no limit.
        parts: Parts in the place of those that the settings name.

    Raises:
        ConfigError: The recipe is wrong or needs a port that is not there, or tasks or budget are
            too few.
        ObjectiveError: No environment measures the objective.
        RunInUseError: Another evolution works in this home.
    """
    model = parts.model or model_of(settings)
    tasks = tasks_of(settings)
    ask = _asking(model)
    autonomy = autonomy_of(objective, recipe)
    scopes = list(dict.fromkeys(task.scope for task in tasks if task.scope))
    chosen = _choose_recipe(recipe, settings, model, tasks)
    check_ports(chosen.value, ports_of(model))
    if objective is None:
        aim = propose_objective(ask, name_of(settings), scopes)
    else:
        aim = Proposed(objective, "user")
    check_measurable(aim.value, [name_of(settings), *scopes])
    limit = _affordable(chosen.value, rounds, budget, tasks, settings)
    plan = {
        "autonomy": autonomy,
        "decisions": {"recipe": chosen.reason, "objective": aim.reason},
        "recipe": chosen.value.model_dump(mode="json"),
        "objective": asdict(aim.value),
        "rounds": limit,
        "base": base_of(model, settings),
        "started_at": time.time(),
    }
    with _only_one(settings.home):
        directory = create_evolution(settings)
        directory.write_plan(plan)
        return _carry_out(directory, settings, model, parts)


def resume_evolution(home: Path, name: str, *, parts: Parts = SHIPPED) -> EvolutionReport:
    """Continue an evolution that was stopped or killed; a finished one returns its report.

    Raises:
        RunError: There is no such evolution, or the base model is another one now.
        RunInUseError: Another evolution works in this home.
    """
    directory = open_evolution(home, name)
    report = directory.read_report()
    if report is not None and report.status == "finished":
        return report
    settings = directory.settings()
    model = parts.model or model_of(settings)
    base, was = base_of(model, settings), directory.plan()["base"]
    if base != was:
        raise RunError(
            f"the base model of {directory.id!r} was replaced (it was {was[:12]}, now it is "
            f"{base[:12]}): what was measured does not hold for the new one; give the old one, or "
            "start a new evolution"
        )
    with _only_one(home):
        return _carry_out(directory, settings, model, parts)


def _asking(model: AnyModel) -> Ask | None:
    """Return how to ask the model, or None if it only replays known actions."""
    if not isinstance(model, BaseChatModel):
        return None
    chat = model
    return lambda prompt: chat.invoke(prompt).text


def _choose_recipe(
    recipe: Recipe | str | None,
    settings: Settings,
    model: AnyModel,
    tasks: Sequence[Task],
) -> Proposed:
    if recipe is not None:
        given = load_recipe(recipe) if isinstance(recipe, str) else recipe
        return Proposed(given, "user")
    return propose_recipe(
        _asking(model),
        ports_of(model),
        lambda proposed: try_recipe(proposed, settings, model, tasks),
    )


def _affordable(
    recipe: Recipe,
    rounds: int | None,
    budget: int | None,
    tasks: Sequence[Task],
    settings: Settings,
) -> int:
    """Return how many rounds the budget pays for, at most those that are wanted."""
    stage = recipe.evaluation
    splits = split_tasks(
        tasks, gate_share=stage.gate_share, exam_share=stage.exam_share, seed=settings.env.seed
    )
    wanted = rounds or recipe.rounds
    if budget is None:
        return wanted
    attempts = sum(
        recipe.solutions.samples if name == "sample" else 1 for name in recipe.solutions.strategies
    )
    practice = min(recipe.tasks.n, len(splits.practice)) * attempts
    # each practised task may be done again to verify its rule, each gate task is done twice
    price = practice * (2 if recipe.in_context.verify else 1) + 2 * len(splits.gate)
    if budget < price:
        raise ConfigError(
            f"a budget of {budget} episodes is too small for one round, which may take {price} "
            f"({practice} attempts at {len(splits.practice)} tasks, {len(splits.gate)} gate tasks "
            "twice); raise it, or lower tasks.n of the recipe or env.n"
        )
    return min(wanted, budget // price)


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    home.mkdir(parents=True, exist_ok=True)
    lock = RunLock(home / "evolution.lock")
    try:
        lock.__enter__()
    except RunInUseError:
        raise RunInUseError(
            f"another evolution works in {str(home)!r}; wait for it, or choose another --home"
        ) from None
    try:
        yield
    finally:
        lock.__exit__()


def _carry_out(
    directory: EvolutionDirectory, settings: Settings, model: AnyModel, parts: Parts
) -> EvolutionReport:
    began, stop = time.monotonic(), parts.stop or StopRequest()
    with (
        open_checkpoints(directory.path / "checkpoints.sqlite") as saver,
        EventLog(directory.path / "events.jsonl", parts.on_event) as events,
        drain_on_signals(stop),
        make_context(directory, settings, model, parts, (stop, events)) as context,
    ):
        ledger = Ledger(saver)
        graph = build_evolution_graph().compile(checkpointer=saver, name="evolution")
        config: Any = {"configurable": {"thread_id": directory.id}, "recursion_limit": 10_000}
        start = None if saver.get_tuple(config) else initial_state()
        if start is not None:
            ledger.remember("before", _serve_present(context))
        arms: tuple[Arm, ...] = ()
        try:
            graph.invoke(start, config, context=context, durability="sync")
            arms = take_exam(context)
        except DrainedError:
            context.tell("evolution_stopped", 0)
        state: Any = graph.get_state(config).values or initial_state()
        ledger.remember("seconds", ledger.fact("seconds", 0.0) + time.monotonic() - began)
        report = _report(directory, context, state, arms, ledger)
        directory.write_report(report)
        events.append(make_event(f"evolution_{report.status}_report", directory.id, {}))
    if report.status == "finished":
        shutil.rmtree(directory.path / "branches" / "dry", ignore_errors=True)
    return report


def _serve_present(context: EvolutionContext) -> str:
    """Make sure that what is served now is a generation of the log; return its id."""
    present = context.generation(context.line.position())
    log = context.log
    if log.served_id != present.id:
        log.create(present, parent=log.served_id, evidence={"start_of": context.id})
        log.serve(present.id, reason=f"start of {context.id}")
    return present.id


def _report(
    directory: EvolutionDirectory,
    context: EvolutionContext,
    state: EvolutionState,
    arms: tuple[Arm, ...],
    ledger: Ledger,
) -> EvolutionReport:
    plan = directory.plan()
    memory = next((arm for arm in arms if arm.name == "memory"), None)
    comparisons = [
        compare(memory, arm, seed=context.seed).to_json()
        for arm in arms
        if memory is not None and arm is not memory
    ]
    with context.line.open() as served:
        chosen = Selection(namespace=context.line.namespace, kinds=("rule",), statuses=("active",))
        rules = tuple(r.text for r in served.store.records(chosen) if r.may_instruct)
    splits = context.splits
    return EvolutionReport(
        id=directory.id,
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
        ended=state["ended"],
        generations={"before": ledger.fact("before"), "served": context.log.served_id},
        rules=rules,
        arms=arms,
        comparisons=tuple(comparisons),
        cost=cost_of_learning(context),
        notes=context.stages.notes(),
        started_at=plan["started_at"],
        seconds=ledger.fact("seconds", 0.0),
    )
