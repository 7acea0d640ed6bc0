"""`Context`: one llama.cpp context with numbered sequences; owned by exactly one thread.

With room for `n_ctx` tokens per sequence each has its own stream, which is fastest; otherwise
all share one pool of cells and a decode may find no space.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from agentevo.errors import ModelError
from agentevo.models.llama.adapters import AdapterSet
from agentevo.models.llama.bindings import (
    float_array,
    is_null,
    last_complaint,
    library,
    pointer_array,
)
from agentevo.models.llama.model import LlamaModel

_SET_DONE: Final = 0
_NO_SPACE: Final = 1
_CELL_BLOCK: Final = 256


class NoSpaceError(ModelError):
    """The shared pool of cells has no room for the batch; nothing was decoded."""


class Piece(NamedTuple):
    """Consecutive tokens of one sequence in a batch.

    Attributes:
        sequence: Number of the sequence.
        start: Position of the first token.
        tokens: The tokens.
        wants_logits: Whether the logits after the last token are needed.
    """

    sequence: int
    start: int
    tokens: Sequence[int]
    wants_logits: bool


@dataclass(frozen=True, slots=True)
class ContextShape:
    """Sizes of a context.

    Attributes:
        n_ctx: Longest sequence in tokens.
        sequences: Number of sequences.
        cells: Tokens of all sequences together.
        n_batch: Most tokens of one decode.
        n_threads: Threads that compute.
        flash_attention: Whether to use the kernels that are faster with many sequences.
    """

    n_ctx: int
    sequences: int
    cells: int
    n_batch: int
    n_threads: int
    flash_attention: bool = True

    @property
    def unified(self) -> bool:
        """Whether the sequences share one pool of cells."""
        return self.cells < self.n_ctx * self.sequences


class Context:
    """A llama.cpp context. Every method must be called from one thread at a time.

    Attributes:
        n_batch: Most tokens of one decode, perhaps less than was asked for.
    """

    def __init__(self, model: LlamaModel, shape: ContextShape) -> None:
        """Create the context.

        Raises:
            ModelError: There is not enough memory, or llama.cpp refuses the model.
        """
        lib = library()
        params = lib.llama_context_default_params()
        params.n_ctx = shape.cells if shape.unified else _round_up(shape.n_ctx) * shape.sequences
        params.n_batch = params.n_ubatch = shape.n_batch
        params.n_seq_max = shape.sequences
        params.n_threads = params.n_threads_batch = shape.n_threads
        params.kv_unified = shape.unified
        if not shape.flash_attention:
            params.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.no_perf = True
        self._model = model
        self._applied: AdapterSet | None = None
        self._pointer: Any = lib.llama_init_from_model(model.pointer, params)
        if is_null(self._pointer):
            raise ModelError(f"no context of {params.n_ctx} tokens: {last_complaint()}")
        self._memory = lib.llama_get_memory(self._pointer)
        if is_null(self._memory):
            lib.llama_free(self._pointer)
            raise ModelError(f"the model {model.name!r} cannot generate text; it has no memory")
        self.n_batch = int(lib.llama_n_batch(self._pointer))
        self._arrays = _BatchArrays(self.n_batch)

    @property
    def pointer(self) -> Any:
        """The C context, for samplers."""
        return self._pointer

    def apply(self, adapters: AdapterSet) -> None:
        """Compute what follows with exactly these adapters.

        Raises:
            ModelError: llama.cpp refuses them.
        """
        if adapters == self._applied:
            return
        pointers, scales = self._model.adapters.pointers(adapters)
        lib = library()
        code = lib.llama_set_adapters_lora(
            self._pointer,
            pointer_array(pointers) if pointers else None,
            len(pointers),
            float_array(scales) if scales else None,
        )
        if code != _SET_DONE:
            self._applied = None
            raise ModelError(f"adapters {adapters} cannot be applied: {last_complaint()}")
        self._applied = adapters

    def decode(self, pieces: Sequence[Piece]) -> NDArray[np.float32]:
        """Decode the pieces together.

        Returns:
            One row of logits per piece that wants them, valid until the next decode.

        Raises:
            NoSpaceError: The cells do not suffice; nothing was decoded.
            ModelError: llama.cpp failed; the sequences in `pieces` are lost.
        """
        if sum(len(piece.tokens) for piece in pieces) > self.n_batch:
            raise ModelError(f"a batch may have {self.n_batch} tokens; split it")
        rows = self._arrays.fill(pieces)
        with self._model.gate.shared():
            code = library().llama_decode(self._pointer, self._arrays.batch)
            if code == 0:
                library().llama_synchronize(self._pointer)
        if code == _NO_SPACE:
            raise NoSpaceError("the key-value cache is full; use a larger one or fewer sequences")
        if code != 0:
            raise ModelError(f"llama.cpp cannot decode (code {code}): {last_complaint()}")
        vocabulary = self._model.vocabulary.size
        if not rows:
            return np.empty((0, vocabulary), np.float32)
        logits = library().llama_get_logits(self._pointer)
        return np.ctypeslib.as_array(logits, shape=(rows, vocabulary))

    def forget(self, sequence: int, start: int = 0) -> None:
        """Drop the tokens of a sequence from position `start` on."""
        library().llama_memory_seq_rm(self._memory, sequence, start if start else -1, -1)

    def save(self, sequence: int) -> NDArray[np.uint8]:
        """Return a copy of what the cache holds for a sequence."""
        lib = library()
        size = int(lib.llama_state_seq_get_size(self._pointer, sequence))
        blob = np.empty(size, np.uint8)
        lib.llama_state_seq_get_data(self._pointer, _pointer(blob, ctypes.c_uint8), size, sequence)
        return blob

    def restore(self, sequence: int, blob: NDArray[np.uint8]) -> bool:
        """Fill an empty sequence with what `save` returned; says whether there was room."""
        lib = library()
        return bool(
            lib.llama_state_seq_set_data(
                self._pointer, _pointer(blob, ctypes.c_uint8), blob.size, sequence
            )
        )

    def close(self) -> None:
        """Free the context; a second call does nothing."""
        if self._pointer is not None:
            library().llama_free(self._pointer)
            self._pointer = None


class _BatchArrays:
    """A C batch over NumPy memory, so that filling it costs no call per token."""

    def __init__(self, size: int) -> None:
        lib = library()
        self._token = np.zeros(size, np.int32)
        self._pos = np.zeros(size, np.int32)
        self._logits = np.zeros(size, np.int8)
        self._count = np.ones(size, np.int32)
        self._sequence = np.zeros(size, np.int32)
        step = self._sequence.itemsize
        at = self._sequence.ctypes.data
        self._pointers = (ctypes.POINTER(ctypes.c_int32) * size)(
            *(ctypes.cast(at + i * step, ctypes.POINTER(ctypes.c_int32)) for i in range(size))
        )
        self.batch = lib.llama_batch()
        self.batch.token = _pointer(self._token, ctypes.c_int32)
        self.batch.pos = _pointer(self._pos, ctypes.c_int32)
        self.batch.n_seq_id = _pointer(self._count, ctypes.c_int32)
        self.batch.seq_id = self._pointers
        self.batch.logits = _pointer(self._logits, ctypes.c_int8)

    def fill(self, pieces: Sequence[Piece]) -> int:
        """Write the pieces; returns the number of rows of logits asked for."""
        at = rows = 0
        for piece in pieces:
            end = at + len(piece.tokens)
            self._token[at:end] = piece.tokens
            self._pos[at:end] = range(piece.start, piece.start + len(piece.tokens))
            self._sequence[at:end] = piece.sequence
            self._logits[at:end] = 0
            if piece.wants_logits:
                self._logits[end - 1] = 1
                rows += 1
            at = end
        self.batch.n_tokens = at
        return rows


def _pointer(array: NDArray[Any], kind: Any) -> Any:
    return array.ctypes.data_as(ctypes.POINTER(kind))


def _round_up(tokens: int) -> int:
    return -(-tokens // _CELL_BLOCK) * _CELL_BLOCK
