"""Following a training elsewhere: TensorBoard or trackio, if the package is there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from agentevo.distillation.trainer import Progress
from agentevo.errors import ConfigError

Tracker = Literal["tensorboard", "trackio"]


@contextmanager
def track(name: str, folder: Path, run: str) -> Iterator[Callable[[Progress], None]]:
    """Give a function that takes every step of a training and shows it in a tracker.

    Args:
        name: One of `Tracker`.
        folder: Where TensorBoard's files go; trackio has its own place.
        run: What the training is called there.

    Raises:
        ConfigError: There is no such tracker, or its package is missing.
    """
    if name not in get_args(Tracker):
        raise ConfigError(f"unknown tracker {name!r}; trackers: {', '.join(get_args(Tracker))}")
    try:
        library: Any = import_module({"tensorboard": "torch.utils.tensorboard"}.get(name, name))
    except ImportError as error:
        raise ConfigError(f"the tracker {name!r} needs its package: pip install {name}") from error
    if name == "trackio":
        library.init(project="agentevo", name=run)
        yield lambda step: library.log(_figures(step), step=step.step)
        library.finish()
        return
    with library.SummaryWriter(str(folder / run)) as writer:

        def write(step: Progress) -> None:
            for figure, value in _figures(step).items():
                writer.add_scalar(figure, value, step.step)

        yield write


def _figures(step: Progress) -> dict[str, float]:
    return {f"loss/{kind}": loss for kind, loss in step.losses.items()} | {"seconds": step.seconds}
