"""How large an engine is: its settings, the context that follows, and whether that fits."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agentevo.errors import ModelError, ModelOptionError
from agentevo.models.llama.context import ContextShape
from agentevo.models.llama.model import LlamaModel

_LOG = logging.getLogger(__name__)
_DEFAULT_CTX: Final = 4096
_SMALL_MODEL_BYTES: Final = 64 << 20
_MOST_SEQUENCES: Final = 256
_MOST_CONTEXTS: Final = 4


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Sizes and limits of an engine.

    Attributes:
        n_ctx: Longest prompt plus answer in tokens; None is what the model was trained on, at most
            4096. More than that is cut to it.
        max_sequences: Requests computed together; the others wait.
        contexts: Contexts over the one copy of the weights, at most one per sequence. Each computes
            its share of the requests in a thread of its own: for a small model the better use of
            several processors than more threads for each step. None is as many as there are
            processors for, at most 4: more of them would wait for each other in the interpreter.
        n_batch: Most tokens of one step.
        n_threads: Threads that compute; None is 1 for small models, else the processor count.
        kv_bytes: Memory for the context of all sequences together.
        cache_bytes: Memory for saved prompt states; 0 switches their reuse off.
        max_waiting: Requests that may wait before further ones are refused.
        turn_s: Seconds that one adapter set may take while another one waits.
        flash_attention: Whether to use the kernels that are faster with many requests. They round
            differently for prompts computed in parts of different sizes; without them, what is
            cached or computed beside an answer changes it less, on some processors by no bit.
    """

    n_ctx: int | None = None
    max_sequences: int = 16
    contexts: int | None = None
    n_batch: int = 512
    n_threads: int | None = None
    kv_bytes: int = 1 << 30
    cache_bytes: int = 256 << 20
    max_waiting: int = 1024
    turn_s: float = 0.025
    flash_attention: bool = True

    def __post_init__(self) -> None:
        """Refuse sizes out of range.

        Raises:
            ModelOptionError: The message names the setting and its range.
        """
        lowest = {"n_ctx": 16, "max_sequences": 1, "n_batch": 32, "n_threads": 1, "contexts": 1}
        lowest |= {"kv_bytes": 1, "cache_bytes": 0, "max_waiting": 1, "turn_s": 0}
        for name, least in lowest.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ModelOptionError(f"{name} is {value!r}; allowed: {least} or more")
        if self.max_sequences > _MOST_SEQUENCES:
            raise ModelOptionError(f"max_sequences is {self.max_sequences!r}; allowed: 1 to 256")


def shape_of(model: LlamaModel, settings: EngineSettings) -> ContextShape:
    """Return the sizes of each context that the settings mean for a model."""
    wanted = settings.n_ctx or min(_DEFAULT_CTX, model.trained_ctx)
    n_ctx = min(wanted, model.trained_ctx)
    if n_ctx < wanted:
        _LOG.warning("n_ctx %d is cut to %d, what %r was trained on", wanted, n_ctx, model.name)
    contexts = contexts_of(model, settings)
    sequences = -(-settings.max_sequences // contexts)
    affordable = settings.kv_bytes // contexts // max(model.kv_bytes_per_token, 1)
    return ContextShape(
        n_ctx=n_ctx,
        sequences=sequences,
        cells=max(n_ctx, min(n_ctx * sequences, affordable)),
        n_batch=max(settings.n_batch, sequences),
        n_threads=_threads_of(model, settings),
        flash_attention=settings.flash_attention,
    )


def contexts_of(model: LlamaModel, settings: EngineSettings) -> int:
    """Return the number of contexts that the settings mean for a model."""
    fitting = max(1, (os.cpu_count() or 1) // _threads_of(model, settings))
    return min(settings.contexts or min(fitting, _MOST_CONTEXTS), settings.max_sequences)


def _threads_of(model: LlamaModel, settings: EngineSettings) -> int:
    small = model.file.path.stat().st_size < _SMALL_MODEL_BYTES
    return settings.n_threads or (1 if small else os.cpu_count() or 1)


def check_memory(model: LlamaModel, shape: ContextShape, settings: EngineSettings) -> None:
    """Refuse what cannot fit: the kernel would end the process instead of failing the request.

    Raises:
        ModelError: More memory is needed than programs can still get.
    """
    cells = shape.cells * contexts_of(model, settings)
    needed = cells * model.kv_bytes_per_token + settings.cache_bytes
    free = _free_bytes()
    if free is not None and needed > free:
        raise ModelError(
            f"a context of {cells} tokens and the cache need {needed >> 20} MiB, "
            f"{free >> 20} MiB are free; use a smaller n_ctx, kv_bytes or cache_bytes"
        )


def _free_bytes() -> int | None:
    """Return the memory that programs can still get, None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    kibibytes = next(found, None)
    return None if kibibytes is None else int(kibibytes) << 10
