"""From settings, model and recipe to the live parts of one evolution."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from langchain_core.language_models import BaseChatModel

from agentevo.acquisition.run_agent import RunAgent, StopRequest
from agentevo.config import Settings
from agentevo.evaluation.splits import split_tasks
from agentevo.events import Event
from agentevo.evolution.directory import EvolutionDirectory
from agentevo.evolution.distillers import can_distil, distiller_of
from agentevo.evolution.exam import take_controls
from agentevo.evolution.reuse import KnownTexts, SandboxPool
from agentevo.generations import GenerationLog
from agentevo.graph.assembly import MakeUpdater, assemble
from agentevo.graph.context import EvolutionContext
from agentevo.graph.lines import MemoryLine
from agentevo.graph.ports import Ports
from agentevo.models import AnyModel
from agentevo.objective import Objective
from agentevo.recipes import Port, Recipe, needs_of, parse_recipe
from agentevo.runs.event_log import EventLog
from agentevo.runs.worker import World
from agentevo.runtime import environment_of, sandbox_of, tasks_of
from agentevo.stages import Experience, Round
from agentevo.updating.distiller import Distiller
from agentevo_environments.registry import environment_class
from agentevo_environments.sandboxes.base import Sandbox
from agentevo_environments.task import Task
from agentevo_memory.embedding.base import DEFAULT_EMBEDDER, Embedder, init_embedder

DRY_RUN_TASKS = 3


@dataclass(frozen=True, slots=True)
class Parts:
    """Parts of an evolution in the place of those that the settings name.

    Attributes:
        model: Who acts, or None for the settings' model.
        embedder: Embeds the texts of the memory: an embedder or the name of a built-in one.
        distiller: Makes and serves adapters, or None for the one of a local model.
        updaters: Further updates in context, by name: called with the memory of a round and its
            number, they run after the recipe's.
        on_event: Called with every event of the evolution and of its episodes.
        stop: Lets other threads ask the evolution to stop.
    """

    model: AnyModel | None = None
    embedder: Embedder | str = DEFAULT_EMBEDDER
    distiller: Distiller | None = None
    updaters: Mapping[str, MakeUpdater] = field(default_factory=dict)
    on_event: Callable[[Event], None] | None = None
    stop: StopRequest | None = None


SHIPPED = Parts()
"""Nothing in the place of what the settings name."""


def ports_of(model: AnyModel, parts: Parts) -> set[Port]:
    """Return the ports that are there."""
    given: set[Port] = {"sandbox"}
    if isinstance(model, BaseChatModel):
        given.add("chat")
    if parts.distiller is not None or can_distil(model):
        given.add("distiller")
    return given


def base_of(model: AnyModel, settings: Settings) -> str:
    """Return the identity of a model: the hash of its weights if known, else of what describes it."""
    known: dict[str, Any] = {}
    if isinstance(model, BaseChatModel):
        known = dict(model._identifying_params)
        if sha256 := known.get("model_sha256"):
            return str(sha256)
    described = json.dumps([settings.model.spec, known], sort_keys=True, default=str)
    return hashlib.sha256(described.encode()).hexdigest()


@contextmanager
def make_context(
    directory: EvolutionDirectory,
    settings: Settings,
    model: AnyModel,
    parts: Parts,
    live: tuple[StopRequest, EventLog],
) -> Iterator[EvolutionContext]:
    """Give the live parts of an evolution; what they hold is released at the end."""
    plan, (stop, events) = directory.plan(), live
    recipe = parse_recipe(plan["recipe"], origin=directory.id)
    tasks, stage = tasks_of(settings), recipe.evaluation
    seed = settings.env.seed
    own = settings.model_copy(update={"home": directory.path})
    sandboxes = SandboxPool(lambda: sandbox_of(settings))
    agent = RunAgent(
        own,
        model,
        lambda: world_of(settings, sandboxes.lend),
        pool=frozenset(task.id for task in tasks),
        stop=stop,
        on_event=parts.on_event,
        environment=name_of(settings),
    )
    embedder = _embedder(parts)
    with closing(sandboxes), _sandbox(recipe, settings) as sandbox:
        yield EvolutionContext(
            id=directory.id,
            recipe=recipe,
            rounds=plan["rounds"],
            objective=objective_from(plan["objective"]),
            seed=seed,
            splits=split_tasks(
                tasks, gate_share=stage.gate_share, exam_share=stage.exam_share, seed=seed
            ),
            stages=assemble(Ports(recipe, agent, embedder, sandbox), parts.updaters),
            agent=agent,
            line=_line(settings, directory.path / "branches", embedder),
            log=GenerationLog(settings.home / "generations.sqlite"),
            base=plan["base"],
            distiller=parts.distiller or distiller_of(model, settings, recipe, tasks),
            commands=directory.commands,
            on_event=events.append,
            meanwhile=take_controls,
        )


def try_recipe(recipe: Recipe, settings: Settings, model: AnyModel, tasks: Sequence[Task]) -> None:
    """Do one round of a recipe on three tasks without a gate; nothing of it is kept.

    Raises:
        AgentevoError: A stage does not work.
    """
    scratch = Path(mkdtemp(prefix="agentevo-dry-"))
    try:
        some = list(tasks[:DRY_RUN_TASKS])
        own = settings.model_copy(update={"home": scratch})
        pool = frozenset(task.id for task in some)
        agent = RunAgent(own, model, lambda: world_of(settings), pool=pool)
        embedder = init_embedder("hashing")
        line = MemoryLine(scratch / "memory", scratch / "branches", ("dry",), 8, 8, embedder)
        now = Round(1, Objective(name_of(settings)), settings.env.seed)
        with _sandbox(recipe, settings) as sandbox:
            stages = assemble(Ports(recipe, agent, embedder, sandbox))
            chosen = stages.tasks.evolve(some, DRY_RUN_TASKS, now)
            solutions = [s for strategy in stages.solutions for s in strategy.solve(chosen, now)]
            judged = [
                Experience(s, tuple(giver.assess(s) for giver in stages.feedback))
                for s in solutions
            ]
            kept = stages.refiner.refine(judged, now).kept
            with line.open() as memory:
                for _, updater in stages.updaters(memory, 1):
                    updater.update(kept, now)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def objective_from(values: Mapping[str, Any]) -> Objective:
    """Return the objective that `dataclasses.asdict` described."""
    children = tuple(objective_from(child) for child in values.get("children", ()))
    return Objective(**{**values, "children": children})


def name_of(settings: Settings) -> str:
    """Return the name that the environment gives itself; what is measured bears it."""
    return environment_class(settings.env.name).name


def world_of(settings: Settings, sandbox: Callable[[], Sandbox] | None = None) -> World:
    """Return an environment of its own for one worker, in a sandbox of its own or in one given."""
    return World(environment_of(settings, sandbox_factory=sandbox))


def _line(settings: Settings, branches: Path, embedder: Embedder) -> MemoryLine:
    chosen = settings.memory
    folder = chosen.path or settings.home / "memory"
    namespace = (chosen.namespace,)
    return MemoryLine(folder, branches, namespace, chosen.k, chosen.notes, embedder)


def _embedder(parts: Parts) -> Embedder:
    given = parts.embedder
    return KnownTexts(init_embedder(given) if isinstance(given, str) else given)


@contextmanager
def _sandbox(recipe: Recipe, settings: Settings) -> Iterator[Sandbox | None]:
    """Give a started sandbox if a strategy of the recipe runs programs of its own."""
    if "sandbox" not in needs_of(recipe):
        yield None
        return
    with ExitStack() as stack:
        sandbox = sandbox_of(settings)
        stack.callback(sandbox.close)
        sandbox.start()
        yield sandbox
