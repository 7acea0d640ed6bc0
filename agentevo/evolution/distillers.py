"""Which models can be distilled into, and the distiller of such a model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from agentevo.config import Settings
from agentevo.models import AnyModel
from agentevo.recipes import Recipe
from agentevo.runtime import environment_of
from agentevo.updating.distiller import Distiller, LocalDistiller
from agentevo_environments.errors import UnknownNameError
from agentevo_environments.task import Task

if TYPE_CHECKING:
    from agentevo.distillation.settings import TrainSettings

_FRESH_TASKS = 400


def can_distil(model: AnyModel) -> bool:
    """Whether a model is a GGUF file of ours to which no adapter was given by hand."""
    from agentevo.models.llama.chat import ChatLlamaEngine

    return isinstance(model, ChatLlamaEngine) and model.adapters is None


def distiller_of(
    model: AnyModel, settings: Settings, recipe: Recipe | None = None, tasks: Sequence[Task] = ()
) -> Distiller | None:
    """Return the distiller of a local model; None for any other.

    Args:
        model: Who acts.
        settings: Home and environment.
        recipe: How adapters are trained; None for one that only serves them.
        tasks: Every task of the evolution.
    """
    from agentevo.models.llama.chat import ChatLlamaEngine

    if not isinstance(model, ChatLlamaEngine) or not can_distil(model):
        return None
    chosen = recipe or Recipe(name="none")
    return LocalDistiller(
        home=settings.home,
        chat=model,
        make_environment=lambda: environment_of(settings),
        fresh_scopes=_fresh_scopes(settings, tasks) if chosen.in_weight.when != "never" else (),
        train=_training(chosen, settings.env.seed),
        margin=chosen.in_weight.probe_margin,
    )


def _fresh_scopes(settings: Settings, tasks: Sequence[Task]) -> list[str]:
    """Return scopes of the environment's training tasks that no task of the evolution has."""
    environment = environment_of(settings)
    try:
        others = environment.tasks("train", _FRESH_TASKS, settings.env.seed + 1)
    except UnknownNameError:
        return []
    finally:
        environment.close()
    return sorted({task.scope for task in others if task.scope} - {task.scope for task in tasks})


def _training(recipe: Recipe, seed: int) -> "TrainSettings":
    from agentevo.distillation.settings import TrainSettings

    stage = recipe.in_weight
    given: dict[str, Any] = {"steps": stage.steps, "rank": stage.rank}
    if stage.rank is not None:
        given["alpha"] = 2 * stage.rank
    chosen = {name: value for name, value in given.items() if value is not None}
    return TrainSettings(method=stage.method, seed=seed, **chosen)
