import io
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo_environments.errors import ProtocolError
from agentevo_environments.sandboxes.protocol import (
    HEADER_LIMIT_BYTES,
    PREFIX,
    VERSION,
    Frame,
    FrameBuffer,
    encode,
    read_frame,
)

headers = st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text(), max_size=4)
Sent = tuple[dict[str, Any], list[bytes]]
frames = st.tuples(headers, st.lists(st.binary(max_size=64), max_size=4))


def frame_bytes(document: bytes, *, version: int = VERSION, size: int = 0) -> bytes:
    return PREFIX.pack(b"AEV", version, len(document), size) + document


@given(st.lists(frames, max_size=3))
def test_frames_come_back_as_they_were_sent(sent: list[Sent]) -> None:
    stream = io.BytesIO(b"".join(encode(header, blobs) for header, blobs in sent))
    received = [read_frame(stream.read) for _ in sent]
    assert received == [Frame(header, tuple(blobs)) for header, blobs in sent]
    assert read_frame(stream.read) is None


@given(st.lists(frames, min_size=1, max_size=3), st.lists(st.integers(0, 400), max_size=8))
def test_frames_come_back_however_the_stream_is_cut(sent: list[Sent], cuts: list[int]) -> None:
    data = b"".join(encode(header, blobs) for header, blobs in sent)
    buffer = FrameBuffer()
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    received = [frame for a, b in pairwise(edges) for frame in buffer.feed(data[a:b])]
    assert received == [Frame(header, tuple(blobs)) for header, blobs in sent]
    assert not buffer.partial


@given(frames, st.data())
def test_a_stream_cut_inside_a_frame_is_an_error(frame: Sent, data: st.DataObject) -> None:
    whole = encode(*frame)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(ProtocolError, match="ended inside"):
        read_frame(io.BytesIO(whole[:cut]).read)
    buffer = FrameBuffer()
    assert buffer.feed(whole[:cut]) == []
    assert buffer.partial


@given(st.binary(min_size=PREFIX.size, max_size=200))
def test_noise_is_refused_or_incomplete_and_never_anything_else(noise: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_frame(io.BytesIO(noise).read)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"header": 1, "sizes": []}',
        b'{"header": {}}',
        b'{"header": {}, "sizes": [-1, 1]}',
        b'{"header": {}, "sizes": [true]}',
        b'{"header": {}, "sizes": [5]}',
        b"[" * 100_000,
    ],
)
def test_a_malformed_header_is_refused(document: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_frame(io.BytesIO(frame_bytes(document)).read)
    with pytest.raises(ProtocolError):
        FrameBuffer().feed(frame_bytes(document))


def test_another_version_is_refused_and_named() -> None:
    document = json.dumps({"header": {}, "sizes": []}).encode()
    with pytest.raises(ProtocolError, match=f"version {VERSION + 1}"):
        read_frame(io.BytesIO(frame_bytes(document, version=VERSION + 1)).read)


def test_an_oversized_frame_is_refused_before_its_body_is_read() -> None:
    stream = io.BytesIO(PREFIX.pack(b"AEV", VERSION, 10, 1 << 62))
    with pytest.raises(ProtocolError, match="more than"):
        read_frame(stream.read, limit_bytes=1 << 20)
    assert stream.tell() == PREFIX.size
    with pytest.raises(ProtocolError, match="header has"):
        FrameBuffer().feed(PREFIX.pack(b"AEV", VERSION, HEADER_LIMIT_BYTES + 1, 0))
