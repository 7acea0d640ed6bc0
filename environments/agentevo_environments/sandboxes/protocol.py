"""Frames: how a sandbox's two sides exchange one JSON header and raw bytes over a byte stream.

A frame is a prefix (magic, version, size of the header, size of the rest), a JSON object, and any
number of byte strings (files, standard input, output), whose sizes the JSON names. Bytes never
pass through JSON. Every size is checked before anything of that size is read or stored, so that
the side that is not trusted cannot make the other allocate more than the limit.

Only the standard library is used: this file also runs inside the sandboxes.
"""

import json
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from agentevo_environments.errors import ProtocolError

MAGIC = b"AEV"
VERSION = 1
PREFIX = struct.Struct("!3sBIQ")
HEADER_LIMIT_BYTES = 8 << 20
FRAME_LIMIT_BYTES = 512 << 20


class Frame(NamedTuple):
    """One message.

    Attributes:
        header: JSON object.
        blobs: Byte strings that belong to it, in an order that the header explains.
    """

    header: Mapping[str, Any]
    blobs: tuple[bytes, ...] = ()


def encode(header: Mapping[str, Any], blobs: Iterable[bytes] = ()) -> bytes:
    """Return the bytes of a frame.

    Raises:
        ProtocolError: The header or the whole frame is larger than any reader accepts.
    """
    parts = tuple(blobs)
    return b"".join((encode_head(header, [len(part) for part in parts]), *parts))


def encode_head(header: Mapping[str, Any], sizes: Sequence[int]) -> bytes:
    """Return the part of a frame before its byte strings, for a sender that streams those.

    Raises:
        ProtocolError: As in `encode`.
    """
    document = json.dumps({"header": header, "sizes": list(sizes)}).encode()
    _check_sizes(len(document), sum(sizes), FRAME_LIMIT_BYTES)
    return PREFIX.pack(MAGIC, VERSION, len(document), sum(sizes)) + document


def read_frame(
    read: Callable[[int], bytes], *, limit_bytes: int = FRAME_LIMIT_BYTES
) -> Frame | None:
    """Read one frame from a blocking stream.

    Args:
        read: Returns between 1 and the asked number of bytes, and none at the end of the stream;
            `socket.recv` or `functools.partial(os.read, fd)`.
        limit_bytes: Largest frame accepted.

    Returns:
        The frame, or None when the stream ended before its first byte.

    Raises:
        ProtocolError: The stream is not made of frames of this version, the frame is larger than
            the limit, or the stream ended inside it.
    """
    prefix = _read_exactly(read, PREFIX.size, optional=True)
    if not prefix:
        return None
    header_size, size = parse_prefix(prefix, limit_bytes=limit_bytes)
    body = _read_exactly(read, header_size + size)
    return _parse(body, header_size)


def read_head(
    read: Callable[[int], bytes], *, limit_bytes: int = FRAME_LIMIT_BYTES
) -> tuple[Mapping[str, Any], list[int]] | None:
    """Read a frame up to its byte strings, which the caller reads itself, in order.

    Returns:
        The header and the sizes of the byte strings, or None at the end of the stream.

    Raises:
        ProtocolError: As in `read_frame`.
    """
    prefix = _read_exactly(read, PREFIX.size, optional=True)
    if not prefix:
        return None
    header_size, size = parse_prefix(prefix, limit_bytes=limit_bytes)
    header, sizes = _parse_document(_read_exactly(read, header_size))
    if sum(sizes) != size:
        raise ProtocolError(f"a frame names {sum(sizes)} bytes and carries {size}")
    return header, sizes


class FrameBuffer:
    """Collects bytes as they arrive and gives back the frames that are complete.

    Args:
        limit_bytes: Largest frame accepted; the buffer never holds more than that and one read.
    """

    def __init__(self, *, limit_bytes: int = FRAME_LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._data = bytearray()

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and is not complete; at the end of a stream: it was cut."""
        return bool(self._data)

    def feed(self, data: bytes) -> list[Frame]:
        """Take in what was read and return the frames that it completes.

        Raises:
            ProtocolError: As in `read_frame`.
        """
        self._data += data
        frames = []
        while len(self._data) >= PREFIX.size:
            prefix = bytes(self._data[: PREFIX.size])
            header_size, size = parse_prefix(prefix, limit_bytes=self._limit_bytes)
            end = PREFIX.size + header_size + size
            if len(self._data) < end:
                break
            frames.append(_parse(bytes(self._data[PREFIX.size : end]), header_size))
            del self._data[:end]
        return frames


def parse_prefix(prefix: bytes, *, limit_bytes: int = FRAME_LIMIT_BYTES) -> tuple[int, int]:
    """Return the sizes of the JSON and of the byte strings that follow a prefix.

    Raises:
        ProtocolError: Not a prefix, another version, or sizes above the limit.
    """
    magic, version, header_size, size = PREFIX.unpack(prefix)
    if magic != MAGIC:
        raise ProtocolError(
            f"a frame begins with {MAGIC!r}, not {magic!r}: the other side does not speak this protocol"
        )
    if version != VERSION:
        raise ProtocolError(
            f"the other side speaks version {version} of the sandbox protocol, this side version"
            f" {VERSION}: start both from the same installation (rebuild the image)"
        )
    _check_sizes(header_size, size, limit_bytes)
    return header_size, size


def _check_sizes(header_size: int, size: int, limit_bytes: int) -> None:
    if header_size > HEADER_LIMIT_BYTES:
        raise ProtocolError(
            f"a frame's header has {header_size} bytes, more than {HEADER_LIMIT_BYTES}"
        )
    if header_size + size > limit_bytes:
        raise ProtocolError(f"a frame has {header_size + size} bytes, more than {limit_bytes}")


def _read_exactly(read: Callable[[int], bytes], size: int, *, optional: bool = False) -> bytes:
    data, filled = bytearray(size), 0  # at once: growing would allocate more than the limit
    while filled < size:
        part = read(min(size - filled, 1 << 20))
        if not part:
            if optional and not filled:
                return b""
            raise ProtocolError(f"the stream ended inside a frame, after {filled} of {size} bytes")
        data[filled : filled + len(part)] = part
        filled += len(part)
    return bytes(data)


def _parse(body: bytes, header_size: int) -> Frame:
    header, sizes = _parse_document(body[:header_size])
    if sum(sizes) != len(body) - header_size:
        raise ProtocolError(
            f"a frame names {sum(sizes)} bytes and carries {len(body) - header_size}"
        )
    blobs, start = [], header_size
    for size in sizes:
        blobs.append(body[start : start + size])
        start += size
    return Frame(header, tuple(blobs))


def _parse_document(data: bytes) -> tuple[dict[str, Any], list[int]]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a frame's header is not JSON: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("header"), dict):
        raise ProtocolError("a frame's header is not a JSON object with the key 'header'")
    sizes = document.get("sizes")
    if not isinstance(sizes, list) or not all(type(size) is int and size >= 0 for size in sizes):
        raise ProtocolError(f"a frame's sizes are not a list of counts: {sizes!r:.80}")
    return document["header"], sizes
