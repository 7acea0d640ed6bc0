"""Columns: arrays of equal length that grow at their end together, and how they are kept in a file.

The file is a cache: what it holds is used only if it is byte for byte what was written.
"""

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from agentevo_memory.errors import IndexDamagedError

Arrays = Mapping[str, NDArray[Any]]
_DIGEST_BYTES = 32
_ALIGNMENT = 64
_FIRST_ROOM = 16


class Columns:
    """Named arrays that share their length; new rows are zero.

    Args:
        dtypes: Name and type of each column; a type may have a shape, such as `("f4", (384,))`.
    """

    def __init__(self, dtypes: Mapping[str, DTypeLike]) -> None:
        self._length = 0
        self._room = {name: np.zeros(_FIRST_ROOM, np.dtype(dtypes[name])) for name in dtypes}

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._length

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return a column; writing into it changes what is held."""
        return self._room[name][: self._length]

    def resize(self, rows: int) -> None:
        """Have exactly `rows` rows from now on; rows beyond that are dropped."""
        for name, room in self._room.items():
            if rows > len(room):
                grown = np.zeros((max(rows, len(room) * 3 // 2), *room.shape[1:]), room.dtype)
                grown[: self._length] = room[: self._length]
                self._room[name] = grown
            elif rows < self._length:
                room[rows : self._length] = 0
        self._length = rows

    def copy_rows(self, source: NDArray[np.intp], target: NDArray[np.intp]) -> None:
        """Make some rows equal to others."""
        for room in self._room.values():
            room[target] = room[source]

    def keep(self, rows: NDArray[np.bool_]) -> None:
        """Keep only the rows where `rows` is true, in order."""
        self._room = {name: self[name][rows] for name in self._room}
        self._length = int(np.count_nonzero(rows))

    def arrays(self, prefix: str) -> dict[str, NDArray[Any]]:
        """Return all columns under their names behind a prefix."""
        return {f"{prefix}{name}": self[name] for name in self._room}

    def adopt(self, arrays: Arrays, prefix: str) -> None:
        """Take over what `arrays` gave."""
        self._room = {name: arrays[f"{prefix}{name}"] for name in self._room}
        self._length = len(next(iter(self._room.values())))


def save(path: Path, header: Mapping[str, object], arrays: Arrays) -> None:
    """Write a header of JSON values and arrays to a file, which is replaced as a whole."""
    kept = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    shapes = [[name, array.dtype.str, array.shape] for name, array in kept.items()]
    head = json.dumps({**header, "arrays": shapes}).encode()
    digest = hashlib.sha256()
    draft = path.with_name(f"{path.name}-{secrets.token_hex(4)}.new")
    try:
        with draft.open("xb") as file:
            file.write(bytes(_DIGEST_BYTES))
            for piece in _pieces(head, kept):
                digest.update(piece)
                file.write(piece)
            file.seek(0)
            file.write(digest.digest())
        draft.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise


def load(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return header and arrays of a file.

    Raises:
        IndexDamagedError: If there is no such file, or a byte of it differs from what was written.
    """
    try:
        with path.open("rb") as file:
            content = np.empty(os.fstat(file.fileno()).st_size, np.uint8)
            got = file.readinto(content.data)
    except OSError as error:
        raise IndexDamagedError(f"the snapshot cannot be read: {error}") from error
    body = content[_DIGEST_BYTES:]
    digest = hashlib.sha256(body.data).digest()
    if got != len(content) or digest != content[:_DIGEST_BYTES].tobytes():
        raise IndexDamagedError("the snapshot is not what was written")
    end = 8 + int.from_bytes(body[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(body[8:end].tobytes())
    arrays = {}
    for name, dtype, shape in header.pop("arrays"):
        start = end + -end % _ALIGNMENT
        end = start + np.dtype(dtype).itemsize * int(np.prod(shape))
        arrays[name] = body[start:end].view(dtype).reshape(shape)
    return header, arrays


def _pieces(head: bytes, arrays: Arrays) -> "list[bytes | memoryview]":
    pieces: list[bytes | memoryview] = [len(head).to_bytes(8, "little"), head]
    end = 8 + len(head)
    for array in arrays.values():
        pieces += [bytes(-end % _ALIGNMENT), array.reshape(-1).view(np.uint8).data]
        end += -end % _ALIGNMENT + array.nbytes
    return pieces
