"""`evolve`: one call from settings to a report; what is missing decides the autonomy.

EvolL(M, E, f, ENV), EvolM(M, E, ENV) and EvolH(M, ENV) of the survey are the same call with less
given.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel

from agentevo.acquisition.run_agent import DrainedError, StopRequest
from agentevo.config import Settings
from agentevo.errors import RunError
from agentevo.evaluation.comparison import Arm
from agentevo.events import make_event
from agentevo.evolution.autonomy import (
    Ask,
    Proposed,
    autonomy_of,
    check_measurable,
    propose_objective,
    propose_recipe,
)
from agentevo.evolution.budget import affordable_rounds
from agentevo.evolution.directory import EvolutionDirectory, create_evolution, open_evolution
from agentevo.evolution.elsewhere import ask_elsewhere
from agentevo.evolution.exam import take_exam
from agentevo.evolution.findings import summarise
from agentevo.evolution.locking import only_one
from agentevo.evolution.parts import (
    SHIPPED,
    Parts,
    base_of,
    make_context,
    name_of,
    ports_of,
    try_recipe,
)
from agentevo.evolution.report import EvolutionReport
from agentevo.graph import build_evolution_graph
from agentevo.graph.context import EvolutionContext
from agentevo.graph.state import initial_state
from agentevo.models import AnyModel
from agentevo.objective import Objective
from agentevo.recipes import Recipe, check_ports, load_recipe
from agentevo.runs.checkpoints import Ledger, open_checkpoints
from agentevo.runs.drain import drain_on_signals
from agentevo.runs.event_log import EventLog
from agentevo.runtime import model_of, tasks_of
from agentevo_environments.task import Task


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
    chosen = _choose_recipe(recipe, settings, model, tasks, parts)
    check_ports(chosen.value, ports_of(model, parts))
    if objective is None:
        aim = propose_objective(ask, name_of(settings), scopes)
    else:
        aim = Proposed(objective, "user")
    check_measurable(aim.value, [name_of(settings), *scopes])
    limit = affordable_rounds(chosen.value, tasks, settings.env.seed, rounds=rounds, budget=budget)
    plan = {
        "autonomy": autonomy,
        "decisions": {"recipe": chosen.reason, "objective": aim.reason},
        "recipe": chosen.value.model_dump(mode="json"),
        "objective": asdict(aim.value),
        "rounds": limit,
        "base": base_of(model, settings),
        "started_at": time.time(),
    }
    with only_one(settings.home):
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
    with only_one(home):
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
    parts: Parts,
) -> Proposed:
    if recipe is not None:
        given = load_recipe(recipe) if isinstance(recipe, str) else recipe
        return Proposed(given, "user")
    return propose_recipe(
        _asking(model),
        ports_of(model, parts),
        lambda proposed: try_recipe(proposed, settings, model, tasks),
    )


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
        context.take_up()
        exam: tuple[tuple[Arm, ...], Mapping[str, Any]] = ((), {})
        try:
            graph.invoke(start, config, context=context, durability="sync")
            exam = (take_exam(context), ask_elsewhere(context))
        except DrainedError:
            context.tell("evolution_stopped", 0)
        state: Any = graph.get_state(config).values or initial_state()
        ledger.remember("seconds", ledger.fact("seconds", 0.0) + time.monotonic() - began)
        report = summarise(directory.plan(), context, state, exam, ledger)
        directory.write_report(report)
        events.append(make_event(f"evolution_{report.status}_report", directory.id, {}))
    if report.status == "finished":
        shutil.rmtree(directory.path / "branches" / "dry", ignore_errors=True)
    return report


def _serve_present(context: EvolutionContext) -> str:
    """Make sure that what is served now is a generation of the log; return its id."""
    present, log = context.present(), context.log
    if log.served_id != present.id:
        evidence = {"start_of": context.id, "model": context.agent.settings.model.spec}
        log.create(present, parent=log.served_id, evidence=evidence)
        log.serve(present.id, reason=f"start of {context.id}")
    return present.id
