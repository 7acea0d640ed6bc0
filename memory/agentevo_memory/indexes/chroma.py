"""Chroma as the dense index: one collection per partition and slot, one owning process.

Chroma holds row numbers and vectors only, never text. What is not in it yet is searched exactly, so its
slow writes delay nobody. Two writing processes would lose vectors without an error, therefore a file
lock decides who owns it; all others search exactly. Files that are not byte for byte what the last
owner left, or that Chroma answers wrongly from, are thrown away and filled again from the journal.
"""

import contextlib
import os
import secrets
import shutil
import zlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.columns import Arrays
from agentevo_memory.errors import IndexDamagedError, IndexUnavailableError
from agentevo_memory.indexes.base import Nearest
from agentevo_memory.indexes.chroma_client import ChromaClient
from agentevo_memory.indexes.chroma_files import (
    LOCK,
    SERVER_NOTE,
    digests,
    lock,
    read_manifest,
    write_manifest,
)
from agentevo_memory.indexes.exact import ExactIndex
from agentevo_memory.indexes.selection import best_of

FLUSH = 2_000
BATCH = 1_000
SHARE = 50
"""Vectors that one write moves from the tail at least: few, because Chroma takes a millisecond each."""
SAMPLES = 8
FEW = 2_000
_SPARE = 4

Vectors = NDArray[np.float32]


class ChromaIndex:
    """A dense index in Chroma, with the part that is not yet flushed in memory.

    Args:
        folder: Where index files lie; the lock and the manifest are there too.
        model_id: The embedder; vectors of another one are thrown away.
        url: `http://HOST:PORT` of a Chroma server, or "" for files in `folder`.

    Raises:
        IndexOwnedError: If another process owns it.
        IndexUnavailableError: Here and in every other method, if the server does not answer.
    """

    name = "chroma"

    def __init__(self, folder: Path, model_id: str, *, url: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._manifest = folder / "chroma.json"
        self._model_id = model_id
        self._url = url
        self._lock = lock(folder / LOCK)
        self._tail = ExactIndex()
        self._held: dict[str, dict[int, int]] = {}
        self._client: Any = None
        self._name = ""
        self.rebuilt = ""
        self._unconfirmed: defaultdict[str, set[int]] | None = defaultdict(set)
        try:
            self._open_or_start_anew()
        except BaseException:
            os.close(self._lock)
            raise

    def put(self, partition: str, slot: int, rids: Sequence[int], vectors: Vectors) -> None:
        """Add vectors, replacing those of the same row number and slot."""
        held = self._held.get(_key(partition, slot), {})
        if self._unconfirmed is not None:
            self._unconfirmed[_key(partition, slot)].difference_update(rids)
        new = [i for i, rid in enumerate(rids) if held.get(rid) != zlib.crc32(vectors[i].tobytes())]
        if not new:
            return
        fresh = [rids[i] for i in new]
        self._delete(_key(partition, slot), [rid for rid in fresh if rid in held])
        self._tail.put(partition, slot, fresh, vectors[new])
        if len(self._tail) >= FLUSH:
            self.flush(max(SHARE, len(new)))

    def remove(self, rids: Sequence[int]) -> None:
        """Drop all vectors of these records; unknown ones are ignored."""
        self._tail.remove(rids)
        for key, held in self._held.items():
            self._delete(key, [rid for rid in rids if rid in held])

    def nearest(
        self,
        partitions: Sequence[str],
        vector: Vectors,
        limit: int,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Nearest:
        """Return the nearest records, each once, by its best slot."""
        found = [self._tail.nearest(partitions, vector, limit, allowed)]
        for key in self._keys(partitions):
            found.append(self._nearest(key, vector, limit, allowed))
        return best_of(found, limit)

    def scores(self, partitions: Sequence[str], vector: Vectors, rids: Sequence[int]) -> Vectors:
        """Return the best cosine of each record; NaN where there is no vector of it."""
        best = self._tail.scores(partitions, vector, rids)
        for key in self._keys(partitions):
            held = self._held[key]
            wanted = [rid for rid in rids if rid in held]
            if wanted:
                known = dict(zip(*self._get(key, wanted), strict=True))
                values = [known[rid] @ vector if rid in known else np.nan for rid in rids]
                best = np.fmax(best, np.array(values, dtype=np.float32))
        return best

    def settle(self) -> None:
        """Drop what was held from before and has not been put again: it is out of date."""
        stale = dict(self._unconfirmed or {})
        self._unconfirmed = None
        for key, rids in stale.items():
            self._delete(key, [rid for rid in rids if rid in self._held.get(key, {})])

    def arrays(self) -> Arrays:
        """Return nothing: it has files of its own."""
        return {}

    def adopt(self, arrays: Arrays) -> bool:
        """Ask for every vector again: they are compared with the files."""
        return False

    def flush(self, limit: int | None = None) -> None:
        """Move vectors from memory into Chroma: all, or at most `limit`."""
        left = len(self._tail) if limit is None else limit
        for partition, slot in self._tail.slots():
            rids, vectors = self._tail.vectors_of(partition, slot)
            for start in range(0, min(len(rids), left), BATCH):
                stop = min(start + BATCH, left, len(rids))
                self._upsert(_key(partition, slot), rids[start:stop], vectors[start:stop])
            self._tail.remove_from(slot, rids[:left])
            left -= min(len(rids), left)

    def __len__(self) -> int:
        """Return the number of vectors held."""
        return len(self._tail) + sum(len(held) for held in self._held.values())

    def close(self) -> None:
        """Flush some of the tail, note what the files hold, and let go of the lock."""
        if self._client is None:
            return
        client, files = self._client, not self._url
        try:
            self.flush(FLUSH)
            if files:
                client.close()
            self._write_manifest()
        except (IndexUnavailableError, IndexDamagedError, OSError):
            pass  # without a manifest the next owner starts anew
        finally:
            if not files:
                client.close()
            self._client = None
            os.close(self._lock)

    def _open_or_start_anew(self) -> None:
        try:
            self._open()
        except IndexDamagedError as error:
            self.rebuilt = str(error)
            self._start_anew()

    def _open(self) -> None:
        state = self._read_manifest()
        self._name = state["name"]
        self._manifest.unlink()
        if not self._url and digests(self._folder / self._name) != state["files"]:
            raise IndexDamagedError("the files of the Chroma index are not what was written")
        self._client = ChromaClient(self._folder / self._name, self._url)
        self._held = {
            key: {int(rid): crc for rid, crc in held.items()} for key, held in state["held"].items()
        }
        for key, held in self._held.items():
            self._check(key)
            self._unconfirmed = self._unconfirmed or defaultdict(set)
            self._unconfirmed[key] = set(held)

    def _check(self, key: str) -> None:
        """Compare a collection with what it should hold: the number, and sampled self-queries."""
        held = self._held[key]
        sample = list(held)[:: max(1, len(held) // SAMPLES)][:SAMPLES]
        try:
            right, missed = self._client.ask(key, "count") == len(held), 0
            for rid, vector in zip(*self._get(key, sample), strict=True):
                missed += rid not in self._nearest(key, vector, SAMPLES, None).rids
            right &= missed <= len(sample) // 4
        except IndexUnavailableError:
            raise
        except Exception as error:
            raise IndexDamagedError(f"Chroma cannot read its files: {error}") from error
        if not right:
            raise IndexDamagedError("the Chroma index does not hold what was written")

    def _start_anew(self) -> None:
        if self._client is not None:
            with contextlib.suppress(Exception):
                self._client.close()
        for old in self._folder.glob("chroma-*"):
            shutil.rmtree(old, ignore_errors=True)
        self._held = {}
        self._name = f"chroma-{secrets.token_hex(6)}"
        self._client = ChromaClient(self._folder / self._name, self._url)
        if self._url:
            self._client.replace_noted(self._folder / SERVER_NOTE)

    def _read_manifest(self) -> dict[str, Any]:
        state = read_manifest(self._manifest)
        if (state["model"], state["url"]) != (self._model_id, self._url):
            raise IndexDamagedError("the Chroma index belongs to another embedder or server")
        return state

    def _write_manifest(self) -> None:
        state = {
            "name": self._name,
            "model": self._model_id,
            "url": self._url,
            "held": self._held,
            "files": {} if self._url else digests(self._folder / self._name),
        }
        write_manifest(self._manifest, state)

    def _upsert(self, key: str, rids: list[int], vectors: Vectors) -> None:
        if rids:
            self._client.ask(key, "upsert", ids=[str(rid) for rid in rids], embeddings=vectors)
            crcs = (zlib.crc32(vector.tobytes()) for vector in vectors)
            self._held.setdefault(key, {}).update(zip(rids, crcs, strict=True))

    def _delete(self, key: str, rids: Sequence[int]) -> None:
        if rids:
            self._client.ask(key, "delete", ids=[str(rid) for rid in rids])
            for rid in rids:
                del self._held[key][rid]

    def _nearest(
        self, key: str, vector: Vectors, limit: int, allowed: NDArray[np.bool_] | None
    ) -> Nearest:
        held = self._held[key]
        wanted = min(len(held), limit)
        if allowed is not None:
            matching = [rid for rid in held if allowed[rid]]
            if len(matching) <= FEW:
                return self._exactly(key, vector, matching, limit)
            wanted = min(len(held), _SPARE * limit * len(held) // len(matching))
        answer = self._client.ask(
            key,
            "query",
            query_embeddings=vector[None, :],
            n_results=max(1, wanted),
            include=["distances"],
        )
        rids = np.array([int(rid) for rid in answer["ids"][0]], dtype=np.int64)
        scores = 1 - np.array(answer["distances"][0], dtype=np.float32)
        if allowed is not None:
            rids, scores = rids[allowed[rids]], scores[allowed[rids]]
        return Nearest(rids[:limit], scores[:limit])

    def _exactly(self, key: str, vector: Vectors, rids: list[int], limit: int) -> Nearest:
        known, vectors = self._get(key, rids) if rids else ([], np.zeros((0, len(vector))))
        cosines = np.asarray(np.asarray(vectors, dtype=np.float32) @ vector, dtype=np.float32)
        order = np.argsort(-cosines, kind="stable")[:limit]
        return Nearest(np.array(known, dtype=np.int64)[order], cosines[order])

    def _get(self, key: str, rids: Sequence[int]) -> tuple[list[int], Vectors]:
        found = self._client.ask(key, "get", ids=[str(rid) for rid in rids], include=["embeddings"])
        vectors = np.asarray(found["embeddings"], dtype=np.float32)
        return [int(rid) for rid in found["ids"]], vectors

    def _keys(self, partitions: Sequence[str]) -> list[str]:
        wanted = set(partitions)
        return [
            key for key, held in self._held.items() if held and key[: key.rindex("\x1d")] in wanted
        ]


def _key(partition: str, slot: int) -> str:
    return f"{partition}\x1d{slot}"
