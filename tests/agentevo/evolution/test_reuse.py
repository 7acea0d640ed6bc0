"""Runs of an evolution share sandboxes and vectors, and nothing that a program left."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from threading import Thread
from typing import Any

import pytest

from agentevo.evolution.reuse import KnownTexts, SandboxPool
from agentevo_environments.errors import SandboxError
from agentevo_environments.sandboxes.base import Program, Sandbox
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox
from agentevo_memory.embedding.base import init_embedder


class Counted(EmbeddedSandbox):
    """Counts its starts; dies when it is told to."""

    starts = 0
    dead = False

    def start(self) -> None:
        type(self).starts += 1
        super().start()

    def exec(self, program: Program, **options: Any) -> Any:
        if self.dead:
            raise SandboxError("it died")
        return super().exec(program, **options)


@pytest.fixture
def pool() -> Iterator[SandboxPool]:
    Counted.starts = 0
    with closing(SandboxPool(Counted)) as pool:
        yield pool


def use(sandbox: Sandbox) -> str:
    """Start a sandbox in a thread that ends, as a worker does, and run a program in it."""
    said: list[str] = []

    def work() -> None:
        sandbox.start()
        sandbox.put("left.txt", b"something")
        said.append(sandbox.exec(Program(code="print('ran')"), execution_id="1").stdout)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    return said[0]


@pytest.mark.slow
def test_a_sandbox_is_started_once_and_lent_empty(pool: SandboxPool) -> None:
    for _ in range(3):
        sandbox = pool.lend()
        assert use(sandbox) == "ran\n"
        sandbox.close()
        sandbox.close()
    again = pool.lend()
    again.start()
    assert not again.workspace()
    assert not again.exec(Program(code="print('other')"), execution_id="1").replayed
    again.close()
    assert Counted.starts == 1


@pytest.mark.slow
def test_sandboxes_in_use_at_the_same_time_are_different(pool: SandboxPool) -> None:
    one, other = pool.lend(), pool.lend()
    assert use(one) == use(other) == "ran\n"
    assert Counted.starts == 2
    one.close()
    other.close()


@pytest.mark.slow
def test_a_sandbox_that_died_is_not_lent_again_nor_those_that_waited_with_it(
    pool: SandboxPool,
) -> None:
    waiting, broken = pool.lend(), pool.lend()
    use(waiting)
    use(broken)
    waiting.close()
    broken._inner.dead = True  # type: ignore[attr-defined]
    with pytest.raises(SandboxError):
        broken.exec(Program(code="print()"))
    broken.close()
    fresh = pool.lend()
    assert use(fresh) == "ran\n"
    fresh.close()
    assert Counted.starts == 3


def test_a_text_is_embedded_once() -> None:
    asked: list[Sequence[str]] = []
    inner = init_embedder("hashing")

    class Asked:
        model_id, dimension, languages = inner.model_id, inner.dimension, inner.languages

        def embed(self, texts: Sequence[str]) -> Any:
            asked.append(texts)
            return inner.embed(texts)

    known = KnownTexts(Asked())
    first, second = known.embed(["In Kife: lift"]), known.embed(["In Kife: lift"])
    assert (first == second).all()
    assert (first == inner.embed(["In Kife: lift"])).all()
    assert len(asked) == 1
    first[:] = 0
    assert known.embed(["In Kife: lift"]).any()
    assert known.embed(["a", "b"]).shape == (2, inner.dimension)
