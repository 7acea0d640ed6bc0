"""The Chroma index at a real server: its contract, the server's death, and its loss of data."""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from agentevo_memory import Draft, Query, VectorMemory
from agentevo_memory.conformance import check_index
from agentevo_memory.embedding.hashing import HashingEmbedder
from agentevo_memory.errors import IndexUnavailableError
from agentevo_memory.indexes.chroma import ChromaIndex

pytestmark = pytest.mark.slow
TEXTS = [f"note {number} about matter {number * 7}" for number in range(60)]


class Server:
    """A `chroma run` on a free port, to start, kill and start again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        program = str(Path(sys.executable).with_name("chroma"))
        place = ["--path", str(self.folder), "--host", "127.0.0.1", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [program, "run", *place], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        end = time.monotonic() + 60
        while not self.answers():
            assert self._process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(tmp_path / "server")
    yield running
    running.kill()


def filled(folder: Path, server: Server) -> VectorMemory:
    memory = VectorMemory(folder, embedder=HashingEmbedder(64), index=f"chroma:{server.url}")
    memory.insert_many([Draft(text=text, kind="experience") for text in TEXTS])
    memory.reindex()
    return memory


def assert_all_found(memory: VectorMemory) -> None:
    for text in TEXTS:
        assert memory.search(Query(text=text, k=1)).hits[0].record.text == text


def scores(memory: VectorMemory) -> list[float]:
    return [hit.score for text in TEXTS[:10] for hit in memory.search(text).hits]


def collections_at(server: Server) -> set[str]:
    place = f"{server.url}/api/v2/tenants/default_tenant/databases/default_database/collections"
    return {each["name"] for each in httpx.get(place).json()}


def test_the_index_at_a_server_keeps_the_contract(tmp_path: Path, server: Server) -> None:
    check_index(lambda: ChromaIndex(tmp_path / "index", "model", url=server.url))


def test_a_store_finds_the_same_at_a_server_and_exactly(tmp_path: Path, server: Server) -> None:
    with filled(tmp_path / "store", server) as memory:
        assert memory.follower.index.name == "chroma"
        assert_all_found(memory)
        found = scores(memory)
    with VectorMemory(tmp_path / "store", embedder=HashingEmbedder(64), index="exact") as memory:
        assert scores(memory) == pytest.approx(found, abs=1e-3)
    with VectorMemory(
        tmp_path / "store", embedder=HashingEmbedder(64), index=f"chroma:{server.url}"
    ) as memory:
        assert_all_found(memory)
        assert memory.follower.rebuilt == ""


def test_a_dead_server_is_a_typed_error_and_costs_no_record(tmp_path: Path, server: Server) -> None:
    memory = filled(tmp_path / "store", server)
    server.kill()
    with pytest.raises(IndexUnavailableError, match="start it with `chroma run`"):
        memory.search(TEXTS[0])
    late = memory.insert(Draft(text="written while the server was down", kind="experience")).id
    with pytest.raises(IndexUnavailableError, match="or open the store with the index 'exact'"):
        memory.search("written")
    server.start()
    assert late in memory.search("written while the server was down").ids
    assert_all_found(memory)
    server.kill()
    memory.close()
    with VectorMemory(tmp_path / "store", embedder=HashingEmbedder(64), index="exact") as reader:
        assert late in reader.search("written while the server was down").ids
    with (
        VectorMemory(
            tmp_path / "store", embedder=HashingEmbedder(64), index=f"chroma:{server.url}"
        ) as closed,
        pytest.raises(IndexUnavailableError),
    ):
        closed.search("written")


def test_a_server_that_lost_its_data_is_filled_again(tmp_path: Path, server: Server) -> None:
    with filled(tmp_path / "store", server) as memory:
        server.kill()
        shutil.rmtree(server.folder)
        server.start()
        assert_all_found(memory)


def test_an_erasure_leaves_no_old_collection_at_the_server(tmp_path: Path, server: Server) -> None:
    with filled(tmp_path / "store", server) as memory:
        before = collections_at(server)
        memory.erase([memory.search(TEXTS[0]).ids[0]])
        assert TEXTS[0] not in [hit.record.text for hit in memory.search(TEXTS[0]).hits]
        memory.reindex()
        after = collections_at(server)
        assert before
        assert after
        assert not before & after
