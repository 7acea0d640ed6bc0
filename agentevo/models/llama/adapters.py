"""LoRA adapters of one loaded model: validated, identified by content, mixed, unloaded.

An adapter's id is the SHA-256 of its file, so the same name can never stand for other weights.
"""

import hashlib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from agentevo.errors import AdapterError
from agentevo.models.llama.bindings import is_null, last_complaint, library
from agentevo.models.llama.gate import Gate
from agentevo.models.llama.gguf_file import GgufError, GgufFile, read_gguf

BASE_SHA_KEY: Final = "agentevo.base_sha256"
_TENSOR = re.compile(r"(?P<base>.+)\.lora_(?P<part>[ab])")
_LORA_TYPES: Final = frozenset({"F32", "F16", "BF16", "Q8_0"})
_SHORTEST_ID: Final = 6


@dataclass(frozen=True, slots=True)
class AdapterSet:
    """The adapters a request runs with: (id, scale) pairs, sorted; empty means the base model.

    Attributes:
        parts: Full adapter ids with their scales; no scale is zero.
    """

    parts: tuple[tuple[str, float], ...] = ()

    @classmethod
    def of(cls, scales: Mapping[str, float]) -> "AdapterSet":
        """Return the set of these adapters; those with scale 0 are left out."""
        return cls(tuple(sorted((name, float(s)) for name, s in scales.items() if s != 0)))

    @property
    def key(self) -> bytes:
        """What distinguishes this set from every other one: content hashes and exact scales."""
        text = ";".join(f"{name}@{scale.hex()}" for name, scale in self.parts)
        return hashlib.sha256(text.encode()).digest()

    def __str__(self) -> str:
        """Return a short name such as "3f2a91c0@1+77aa01bc@0.5", or "base"."""
        return "+".join(f"{name[:8]}@{scale:g}" for name, scale in self.parts) or "base"


BASE: Final = AdapterSet()


@dataclass(frozen=True, slots=True)
class Adapter:
    """One loaded LoRA adapter.

    Attributes:
        id: SHA-256 of the file, hex.
        path: Where it was loaded from.
        name: `general.name` of the file, or its stem.
        rank: Largest rank of its matrices.
        tensors: Number of adapted weights.
    """

    id: str
    path: Path
    name: str
    rank: int
    tensors: int
    pointer: Any = field(repr=False, compare=False)


class AdapterShelf:
    """The adapters loaded into one model. Safe to use from several threads."""

    def __init__(self, base: GgufFile, pointer: Any, gate: Gate) -> None:
        self._base = base
        self._model = pointer
        self._gate = gate
        self._lock = threading.RLock()
        self._loaded: dict[str, Adapter] = {}
        self._uses: dict[str, int] = {}

    def load(self, path: str | Path) -> Adapter:
        """Load an adapter file, or return it when its content is loaded already.

        Raises:
            AdapterError: The file is missing, damaged, or made for another base model.
        """
        file = check_adapter(path, self._base)
        with self._lock:
            if file.sha256 not in self._loaded:
                self._loaded[file.sha256] = self._open(file)
            return self._loaded[file.sha256]

    def loaded(self) -> tuple[Adapter, ...]:
        """Return the loaded adapters, oldest first."""
        with self._lock:
            return tuple(self._loaded.values())

    def find(self, name: str) -> Adapter:
        """Return a loaded adapter by its id, a unique prefix of the id, or its unique name.

        Raises:
            AdapterError: There is none, or more than one.
        """
        with self._lock:
            loaded = tuple(self._loaded.values())
        short = len(name) >= _SHORTEST_ID
        found = [a for a in loaded if a.name == name or (short and a.id.startswith(name))]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{a.id[:8]} ({a.name})" for a in loaded) or "none"
        problem = "several loaded adapters match" if found else "no loaded adapter is called"
        raise AdapterError(f"{problem} {name!r}; loaded: {known}. Load its file first.")

    def hold(self, chosen: AdapterSet) -> None:
        """Count a use of the set's adapters, so that they stay loaded.

        Raises:
            AdapterError: One of them is not loaded.
        """
        with self._lock:
            for name, _scale in chosen.parts:
                if name not in self._loaded:
                    raise AdapterError(f"adapter {name[:8]!r} is not loaded; load its file first")
            for name, _scale in chosen.parts:
                self._uses[name] = self._uses.get(name, 0) + 1

    def release(self, chosen: AdapterSet) -> None:
        """Undo one `hold`."""
        with self._lock:
            for name, _scale in chosen.parts:
                self._uses[name] -= 1

    def unload(self, name: str) -> None:
        """Free an adapter's memory.

        Raises:
            AdapterError: It is not loaded, or a request or an engine still uses it.
        """
        with self._lock:
            adapter = self.find(name)
            if self._uses.get(adapter.id, 0):
                raise AdapterError(
                    f"adapter {adapter.id[:8]!r} is in use; swap to another one and wait first"
                )
            with self._gate.exclusive():
                library().llama_adapter_lora_free(adapter.pointer)
            del self._loaded[adapter.id]

    def pointers(self, chosen: AdapterSet) -> tuple[list[Any], list[float]]:
        """Return the C pointers and scales of a held set."""
        with self._lock:
            pairs = [(self._loaded[name].pointer, scale) for name, scale in chosen.parts]
        return [pointer for pointer, _ in pairs], [scale for _, scale in pairs]

    def _open(self, file: GgufFile) -> Adapter:
        with self._gate.exclusive():
            pointer = library().llama_adapter_lora_init(self._model, str(file.path).encode())
        if is_null(pointer):
            raise AdapterError(f"llama.cpp refuses adapter {str(file.path)!r}: {last_complaint()}")
        pairs = _pairs(file)
        return Adapter(
            id=file.sha256,
            path=file.path,
            name=str(file.metadata.get("general.name", file.path.stem)),
            rank=max(shapes["a"][0] for shapes in pairs.values()),
            tensors=len(pairs),
            pointer=pointer,
        )


def check_adapter(path: str | Path, base: GgufFile) -> GgufFile:
    """Return the header of an adapter file that fits `base`.

    Raises:
        AdapterError: The file is missing, damaged, no adapter, or of another base model.
    """
    try:
        file = read_gguf(path)
    except GgufError as error:
        raise AdapterError(f"adapter: {error}") from error
    if (
        file.metadata.get("general.type") != "adapter"
        or file.metadata.get("adapter.type") != "lora"
    ):
        raise AdapterError(f"{str(path)!r} is no LoRA adapter; it is a model or another GGUF file")
    if file.architecture != base.architecture:
        raise AdapterError(
            f"adapter {str(path)!r} is for architecture {file.architecture!r}, the model is "
            f"{base.architecture!r}; use the model it was trained on"
        )
    wanted = file.metadata.get(BASE_SHA_KEY, base.sha256)
    if wanted != base.sha256:
        raise AdapterError(
            f"adapter {str(path)!r} was made for the model with hash {str(wanted)[:12]!r}, this one "
            f"is {base.sha256[:12]!r}; distil it again for this model"
        )
    _check_shapes(file, base)
    return file


def _pairs(file: GgufFile) -> dict[str, dict[str, tuple[int, ...]]]:
    pairs: dict[str, dict[str, tuple[int, ...]]] = {}
    for name, shape in file.shapes.items():
        if match := _TENSOR.fullmatch(name):
            pairs.setdefault(match["base"], {})[match["part"]] = shape
    return pairs


def _check_shapes(file: GgufFile, base: GgufFile) -> None:
    pairs = _pairs(file)
    if not pairs or 2 * len(pairs) != len(file.shapes):
        raise AdapterError(
            f"adapter {str(file.path)!r} has no complete lora_a/lora_b pairs; export it again"
        )
    if other := set(file.types.values()) - _LORA_TYPES:
        raise AdapterError(
            f"adapter {str(file.path)!r} holds {sorted(other)[0]} tensors; "
            f"allowed: {', '.join(sorted(_LORA_TYPES))}"
        )
    for name, parts in pairs.items():
        if problem := _shape_problem(parts, base.shapes.get(name)):
            raise AdapterError(f"adapter {str(file.path)!r} does not fit: {name}: {problem}")


def _shape_problem(
    parts: Mapping[str, tuple[int, ...]], weight: tuple[int, ...] | None
) -> str | None:
    if weight is None:
        return "the model has no such weight"
    a, b = parts.get("a", ()), parts.get("b", ())
    if b[1:] != a[:1] or (len(a), len(b)) != (len(weight), len(weight)):
        return f"lora_a {a} and lora_b {b} are no pair"
    if (b[0], *a[1:]) != weight:
        return f"it adapts a {b[0]}x{a[-1]} weight, the model's is {'x'.join(map(str, weight))}"
    return None
