import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agentevo_memory import Draft, Provenance, VectorMemory
from agentevo_memory.embedding.hashing import HashingEmbedder


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


OpenMemory = Callable[..., VectorMemory]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_memory(tmp_path: Path) -> Iterator[OpenMemory]:
    opened: list[VectorMemory] = []

    def make(folder: str = "store", **options: object) -> VectorMemory:
        settings = {"embedder": HashingEmbedder(), "index": "exact", **options}
        opened.append(VectorMemory(tmp_path / folder, **settings))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for memory in opened:
        memory.close()


@pytest.fixture
def memory(open_memory: OpenMemory, clock: Clock) -> VectorMemory:
    return open_memory(clock=clock)


@pytest.fixture
def from_tool() -> Callable[..., Draft]:
    def draft(text: str, source: str = "browser", **fields: object) -> Draft:
        origin = Provenance(origin="tool", source=source)
        return Draft(text=text, provenance=origin, **fields)  # type: ignore[arg-type]

    return draft


@pytest.fixture
def damage() -> Callable[[random.Random, Path], None]:
    """Cut a file, flip a bit of it, delete it, or write more to it."""

    def damage(rng: random.Random, file: Path) -> None:
        content = bytearray(file.read_bytes())
        kind = rng.choice(("truncate", "flip", "delete", "append"))
        if kind == "truncate":
            file.write_bytes(content[: rng.randrange(len(content))])
        elif kind == "flip":
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
            file.write_bytes(content)
        elif kind == "delete":
            file.unlink()
        else:
            file.write_bytes(bytes(content) + b"x")

    return damage
