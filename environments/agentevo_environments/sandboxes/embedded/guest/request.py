"""Request: what the client asks of a slot, in the interpreter's own format.

Both sides are the same interpreter and the client is trusted, so the format that touches the least
memory in the slot will do.
"""

import marshal
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from agentevo_environments.errors import ProtocolError
from agentevo_environments.sandboxes.protocol import FRAME_LIMIT_BYTES

FIRST_READ_BYTES = 1 << 12
READ_BYTES = 1 << 20
SIZE_BYTES = 8


class Request(NamedTuple):
    """A program, with all that it needs.

    Attributes:
        argv: Program and arguments, or None to run `code`.
        code: Python source in UTF-8.
        stdin: Standard input.
        limits: What it may use.
        names: Names of its files.
        contents: Their contents.
        keeps_files: Whether the files that it leaves are wanted.
    """

    argv: Sequence[str] | None
    code: bytes
    stdin: bytes
    limits: Mapping[str, Any]
    names: Sequence[str]
    contents: Sequence[bytes]
    keeps_files: bool = False


def pack(request: Request) -> bytes:
    """Return a request as bytes.

    Raises:
        ProtocolError: It is larger than any slot accepts.
    """
    fields: Any = tuple(request)
    body = marshal.dumps(fields)
    if len(body) > FRAME_LIMIT_BYTES:
        raise ProtocolError(f"a request has {len(body)} bytes, more than {FRAME_LIMIT_BYTES}")
    return len(body).to_bytes(SIZE_BYTES, "big") + body


def unpack(data: bytes) -> Request:
    """Return the request that `pack` made bytes of."""
    return Request(*marshal.loads(memoryview(data)[SIZE_BYTES:]))


def read(descriptor: int) -> Request | None:
    """Read a request from a descriptor that blocks; None when the client is gone."""
    data = os.read(descriptor, FIRST_READ_BYTES)
    size = int.from_bytes(data[:SIZE_BYTES], "big") + SIZE_BYTES
    if len(data) < size:
        data = _read_rest(descriptor, data, size)
    return unpack(data) if len(data) >= SIZE_BYTES and len(data) == size else None


def _read_rest(descriptor: int, data: bytes, size: int) -> bytes:
    """Read on until there are `size` bytes, or no more."""
    parts, missing = [data], size - len(data)
    while missing > 0 and (part := os.read(descriptor, min(missing, READ_BYTES))):
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
