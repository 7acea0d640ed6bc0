"""`run_demo`: the main job on what ships, offline: one call of `evolve`, then back and forward again.

The seed model meets services whose documentation is wrong, with one attempt per task. It holds no
mechanism of its own: the recipe `demo` and `evolve` do everything, `restore_generation` the rest.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage

from agentevo.config import Settings, load_settings
from agentevo.episode.context import Budgets, EpisodeContext
from agentevo.events import Event
from agentevo.evolution import EvolutionReport, evolve, open_evolution
from agentevo.evolution.curve import draw_curve
from agentevo.evolution.directory import write_whole
from agentevo.evolution.page import render_page
from agentevo.evolution.parts import Parts
from agentevo.evolution.restoring import restore_generation
from agentevo.objective import Objective
from agentevo.prompts import render_system
from agentevo.recipes import Recipe
from agentevo.runtime import environment_of, model_of, tasks_of
from agentevo.updating.in_context import InContextMemory
from agentevo.updating.serving import served_model
from agentevo_environments.task import Task
from agentevo_memory import VectorMemory

RECIPE = "demo"
WORLDS = 3
TASKS_PER_WORLD = 140
QUIRKS_PER_WORLD = 8
LOOKED_AT = 6
_TOP = 100
_DAY_S = 86_400.0
_LONGEST_ANSWER = 128
_AT_ONCE = 8
"""Episodes at once: the engine computes their answers together, while two cores do the rest."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a home serves, as far as a few tasks show it.

    Attributes:
        retrieved: By task, the texts that the memory offers, with their scores.
        logprobs: By task, the model's 100 likeliest tokens at every step of its first answer,
            with their log-probabilities.
    """

    retrieved: Mapping[str, Any]
    logprobs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Restoring:
    """Whether going back and forward again came to the same, bit by bit.

    Attributes:
        generations: The one before learning, and the one after.
        back: Whether, rolled back, the home served what it had served before learning.
        forward: Whether, rolled forward, it served what it had served after learning.
        changed: Whether the two differ at all; a test of the comparison itself.
    """

    generations: tuple[str, str]
    back: bool
    forward: bool
    changed: bool

    @property
    def exact(self) -> bool:
        """Whether both ways were exact."""
        return self.back and self.forward and self.changed


@dataclass(frozen=True, slots=True)
class Demo:
    """What a demo showed.

    Attributes:
        report: The evolution.
        restoring: Rollback and roll-forward; None if nothing was learnt.
        folder: The directory of the evolution.
        picture: The curve, as a PNG file in it.
        page: The report, as an HTML file in it.
        seconds: Wall-clock seconds.
    """

    report: EvolutionReport
    restoring: Restoring | None
    folder: Path
    picture: Path
    page: Path
    seconds: float

    @property
    def home(self) -> Path:
        """The data folder that the demo filled."""
        return self.folder.parent.parent


def new_home(home: Path) -> Path:
    """Return a data folder of its own for a demo, below `home`: it starts knowing nothing."""
    return home / "demos" / time.strftime("%Y%m%d-%H%M%S", time.gmtime())


def demo_settings(
    home: Path, *, seed: int = 0, worlds: int = WORLDS, tasks_per_world: int = TASKS_PER_WORLD
) -> Settings:
    """Return the settings of a demo in worlds that no training has seen.

    Args:
        home: The data folder.
        seed: Which worlds; another seed gives others.
        worlds: How many.
        tasks_per_world: Tasks in each: to practise, for the gate, and for the exam.
    """
    options = {
        "attempts": 1,
        "quirks_per_world": QUIRKS_PER_WORLD,
        "tasks_per_world": tasks_per_world,
        "step_limit": 4,
    }
    return load_settings(
        {
            "home": home,
            "env": {
                "name": "quirks",
                "split": "demo",
                "n": worlds * tasks_per_world,
                "seed": seed,
                "options": options,
            },
            "model": {"spec": "seed", "max_tokens": _LONGEST_ANSWER},
            "memory": {"k": QUIRKS_PER_WORLD, "notes": 0},
            "run": {"concurrency": _AT_ONCE, "durability": "exit", "synchronous": "NORMAL"},
        }
    )


def run_demo(
    settings: Settings,
    *,
    recipe: Recipe | str = RECIPE,
    on_event: Callable[[Event], None] | None = None,
) -> Demo:
    """Evolve, draw the curve, roll back and forward, and return what was seen.

    Args:
        settings: As `demo_settings` gives them.
        recipe: What `evolve` follows.
        on_event: Called with every event.

    Raises:
        ConfigError: The tasks are too few for the recipe.
        RunInUseError: An evolution works in this home.
    """
    began = time.monotonic()
    tasks, moment = _looked_at(settings), time.time() + _DAY_S
    before = look(settings, tasks, moment=moment)
    aim = Objective(settings.env.name)
    report = evolve(settings, objective=aim, recipe=recipe, parts=Parts(on_event=on_event))
    folder = open_evolution(settings.home, report.id).path
    picture, page = folder / "curve.png", folder / "report.html"
    if report.status == "finished":
        draw_curve(report, picture)
        write_whole(page, render_page(report))
    restoring = None
    if report.status == "finished":
        seen = partial(look, settings, tasks, moment=moment)
        restoring = _restore(settings, report.generations, before, seen)
    return Demo(report, restoring, folder, picture, page, time.monotonic() - began)


def look(settings: Settings, tasks: Sequence[Task], *, moment: float) -> Served:
    """Return what a home serves for some tasks.

    Args:
        settings: The home, its model and its memory.
        tasks: What to look at.
        moment: The time at which the memory is asked, in seconds since the epoch: what it knows
            fades with time, so two looks compare at the same moment only.
    """
    model = served_model(model_of(settings), settings.home, told=True)
    assert isinstance(model, BaseChatModel)
    watched = model.model_copy(update={"logprobs": True, "top_logprobs": _TOP})
    chosen, environment = settings.memory, environment_of(settings)
    store = VectorMemory(chosen.path or settings.home / "memory", clock=lambda: moment)
    memory = InContextMemory(store, (chosen.namespace,), k=chosen.k, notes=chosen.notes)
    budgets = Budgets(memory_tokens=chosen.budget_tokens)
    retrieved: dict[str, Any] = {}
    logprobs: dict[str, Any] = {}
    with closing(environment), closing(memory):
        context = EpisodeContext(environment, watched, memory=memory, budgets=budgets)
        for task in tasks:
            records = context.recall(task)
            system = SystemMessage(render_system(environment.instructions, records))
            answer = context.bound_model().invoke([system, HumanMessage(task.prompt)])
            retrieved[task.id] = [(entry.text, entry.score) for entry in records]
            logprobs[task.id] = answer.response_metadata["logprobs"]
    return Served(retrieved, logprobs)


def _looked_at(settings: Settings) -> Sequence[Task]:
    tasks = tasks_of(settings)
    return tasks[:: max(1, len(tasks) // LOOKED_AT)][:LOOKED_AT]


def _restore(
    settings: Settings,
    generations: Mapping[str, str | None],
    before: Served,
    seen: Callable[[], Served],
) -> Restoring | None:
    first, last = generations.get("before"), generations.get("served")
    if first is None or last is None or first == last:
        return None
    after = seen()
    restore_generation(settings, first)
    back = seen()
    restore_generation(settings, last)
    return Restoring((first, last), back == before, seen() == after, before != after)
