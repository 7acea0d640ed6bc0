"""What a GGUF file says about itself, checked in Python before llama.cpp sees the file.

llama.cpp may crash the process on a damaged file or return null pointers that crash later, so
nothing is handed to it that was not read here completely.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentevo.errors import ModelError

_HASH_CHUNK_BYTES = 1 << 20
_SKIPPED = ("tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.scores")


class GgufError(ModelError, ValueError):
    """A file that is not a complete GGUF file."""


@dataclass(frozen=True, slots=True)
class GgufFile:
    """The header of one GGUF file.

    Attributes:
        path: The file.
        sha256: Hash of the whole content, in hex.
        architecture: `general.architecture`, such as "llama" or "qwen3".
        metadata: Every other key with a scalar or short array value.
        shapes: Tensor name to shape in row-major order (rows, columns).
        types: Tensor name to ggml type name, such as "Q8_0".
    """

    path: Path
    sha256: str
    architecture: str
    metadata: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, str]

    def count(self, name: str, default: int = 0) -> int:
        """Return the integer `<architecture>.<name>`, such as "block_count"."""
        value = self.metadata.get(f"{self.architecture}.{name}", default)
        return int(max(value)) if isinstance(value, list) else int(value)


def read_gguf(path: str | Path) -> GgufFile:
    """Read and check the header of a GGUF file.

    Raises:
        GgufError: The file is missing, no GGUF file, truncated, or inconsistent.
    """
    found = Path(path).expanduser()
    try:
        stamp = found.stat()
    except OSError as error:
        raise GgufError(
            f"no model file at {str(path)!r} ({error.strerror}); give a path"
        ) from error
    if not found.is_file():
        raise GgufError(f"{str(path)!r} is not a file; give the path of a .gguf file")
    return _read(found.resolve(), stamp.st_size, stamp.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _read(path: Path, size: int, _mtime_ns: int) -> GgufFile:
    try:
        return _parse(path, size)
    except GgufError:
        raise
    except (ValueError, IndexError, KeyError, OverflowError, TypeError, MemoryError) as error:
        raise GgufError(
            f"{str(path)!r} is no complete GGUF file ({error}); download or export it again"
        ) from error


def _parse(path: Path, size: int) -> GgufFile:
    from gguf import GGUFReader

    reader = GGUFReader(path)
    metadata = {
        name: field.contents()
        for name, field in reader.fields.items()
        if name not in _SKIPPED and not name.startswith("GGUF.")
    }
    for tensor in reader.tensors:
        if int(tensor.data_offset) + int(tensor.n_bytes) > size:
            raise GgufError(
                f"{str(path)!r} is cut off inside tensor {tensor.name!r}; download or export it again"
            )
    return GgufFile(
        path=path,
        sha256=_sha256(path),
        architecture=str(metadata.get("general.architecture", "")),
        metadata=metadata,
        shapes={t.name: tuple(int(n) for n in reversed(t.shape.tolist())) for t in reader.tensors},
        types={t.name: t.tensor_type.name for t in reader.tensors},
    )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
