"""The stores that are compared, each behind the same few calls, filled once in a folder and opened again."""

import hashlib
import os
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agentevo_memory import Draft, Policy, Query, VectorMemory
from agentevo_memory.journal import Selection

DIMENSION = 384
KINDS = ("experience", "rule", "skill")
SHARES = (0.8, 0.15, 0.05)
WORDS = np.random.default_rng(1).permutation(
    [f"{a}{b}{c}" for a in "bdfgklmnprstvz" for b in "aeiou" for c in ("la", "ro", "ni", "st", "k")]
)


class Corpus:
    """Texts, vectors, kinds and spaces, the same for everyone.

    Words are drawn by Zipf's law; vectors scatter around 2,000 centres.
    """

    def __init__(self, size: int) -> None:
        rng = np.random.default_rng(size)
        ranks = np.minimum(rng.zipf(1.3, (size + 1000, 16)) - 1, len(WORDS) ** 2 - 1)
        self.texts = [
            f"{i} " + " ".join(WORDS[r % len(WORDS)] + WORDS[r // len(WORDS)] for r in row)
            for i, row in enumerate(ranks)
        ]
        centres = rng.normal(size=(2000, DIMENSION)).astype(np.float32)
        made = centres[rng.integers(0, 2000, size + 1000)]
        made = made * 0.7 + rng.normal(size=made.shape).astype(np.float32) * 0.7
        self.vectors: NDArray[np.float32] = made / np.linalg.norm(made, axis=1, keepdims=True)
        self.kinds = rng.choice(3, size + 1000, p=SHARES)
        self.spaces = rng.integers(0, 20, size + 1000)
        self.size = size
        self.queries = [" ".join(text.split()[1:7]) for text in self.texts]


class Given:
    """An embedder that knows the benchmark's vectors by their text."""

    model_id = "given"
    dimension = DIMENSION
    languages = frozenset({"latin", "cjk"})

    def __init__(self, corpus: Corpus) -> None:
        self._of = dict(zip(corpus.texts, corpus.vectors, strict=True))
        self._of.update(zip(corpus.queries, corpus.vectors, strict=True))

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the known vectors."""
        return np.stack([self._of[text] for text in texts])


class Engine(Protocol):
    """What is measured. `open` connects to what is in its folder, `fill` puts the corpus there.

    `keeps` says whether what was filled is still there at the next opening.
    """

    name: str
    keeps: bool

    def open(self, corpus: Corpus) -> None: ...
    def fill(self) -> None: ...
    def insert(self, number: int) -> None: ...
    def search(self, number: int) -> None: ...
    def filtered(self, number: int) -> None: ...
    def forget(self, number: int) -> None: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


class Ours:
    """`VectorMemory`: hybrid search, durable writes."""

    keeps = True

    def __init__(self, folder: Path, index: str) -> None:
        self.name = f"agentevo ({index})"
        self._folder, self._index = folder, index

    def open(self, corpus: Corpus) -> None:
        self._corpus, self._embedder = corpus, Given(corpus)
        self._open()

    def fill(self) -> None:
        corpus = self._corpus
        for start in range(0, corpus.size, 1000):
            drafts = [self._draft(i) for i in range(start, min(start + 1000, corpus.size))]
            self._memory.insert_many(drafts)
        self._memory.reindex()

    def _open(self) -> None:
        self._memory = VectorMemory(self._folder, embedder=self._embedder, index=self._index)

    def _draft(self, number: int) -> Draft:
        corpus = self._corpus
        kind = KINDS[corpus.kinds[number]]
        return Draft(text=corpus.texts[number], kind=kind, scope=f"s{corpus.spaces[number]}")  # type: ignore[arg-type]

    def insert(self, number: int) -> None:
        number += self._corpus.size
        self._memory.insert(self._draft(number), vector=self._corpus.vectors[number])

    def search(self, number: int) -> None:
        self._memory.search(Query(text=self._corpus.queries[number * 7], floor=0.0))

    def filtered(self, number: int) -> None:
        text = self._corpus.queries[number * 7]
        self._memory.search(Query(text=text, kinds=("skill",), scope="s3", floor=0.0))

    def forget(self, number: int) -> None:
        if not number:
            active = Selection(statuses=("active",), limit=1000)
            self._ids = [record.id for record in self._memory.records(active)]
        chosen = tuple(self._ids[number * 10 : number * 10 + 10])
        self._memory.forget(Policy(name="ids", ids=chosen))

    def reopen(self) -> None:
        self._memory.close()
        self._open()
        self.search(0)

    def close(self) -> None:
        self._memory.close()


class Chroma:
    """A raw persistent Chroma collection: dense search only."""

    name = "chroma"
    keeps = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _open(self) -> None:
        import chromadb

        self._client: Any = chromadb.PersistentClient(str(self._folder))
        self._collection = self._client.get_or_create_collection(
            "bench", embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
        )

    def open(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._open()

    def fill(self) -> None:
        corpus = self._corpus
        for start in range(0, corpus.size, 1000):
            self._add(range(start, min(start + 1000, corpus.size)))

    def _add(self, numbers: Sequence[int]) -> None:
        corpus = self._corpus
        self._collection.add(
            ids=[str(i) for i in numbers],
            embeddings=corpus.vectors[list(numbers)],
            documents=[corpus.texts[i] for i in numbers],
            metadatas=[
                {"kind": KINDS[corpus.kinds[i]], "scope": int(corpus.spaces[i])} for i in numbers
            ],
        )

    def insert(self, number: int) -> None:
        self._add([self._corpus.size + number])

    def search(self, number: int) -> None:
        self._query(number)

    def filtered(self, number: int) -> None:
        self._query(number, where={"$and": [{"kind": "skill"}, {"scope": 3}]})

    def _query(self, number: int, **options: Any) -> None:
        vector = self._corpus.vectors[number * 7 : number * 7 + 1]
        self._collection.query(query_embeddings=vector, n_results=10, **options)

    def forget(self, number: int) -> None:
        self._collection.delete(ids=[str(i) for i in range(number * 10, number * 10 + 10)])

    def reopen(self) -> None:
        self._client.close()
        self._open()
        self._query(0)

    def close(self) -> None:
        self._client.close()


class InMemory:
    """LangGraph's InMemoryStore: dense search only, nothing is durable."""

    name = "langgraph InMemoryStore"
    keeps = False

    def open(self, corpus: Corpus) -> None:
        from langgraph.store.memory import InMemoryStore

        self._corpus = corpus
        given = Given(corpus)
        embed = lambda texts: given.embed(texts).tolist()  # noqa: E731
        self._store = InMemoryStore(index={"dims": DIMENSION, "embed": embed, "fields": ["text"]})

    def fill(self) -> None:
        for number in range(self._corpus.size):
            self._put(number)

    def _put(self, number: int) -> None:
        corpus = self._corpus
        value = {
            "text": corpus.texts[number],
            "kind": KINDS[corpus.kinds[number]],
            "scope": int(corpus.spaces[number]),
        }
        self._store.put(("bench",), str(number), value)

    def insert(self, number: int) -> None:
        self._put(self._corpus.size + number)

    def search(self, number: int) -> None:
        self._store.search(("bench",), query=self._corpus.queries[number * 7], limit=10)

    def filtered(self, number: int) -> None:
        wanted = {"kind": "skill", "scope": 3}
        text = self._corpus.queries[number * 7]
        self._store.search(("bench",), query=text, filter=wanted, limit=10)

    def forget(self, number: int) -> None:
        for key in range(number * 10, number * 10 + 10):
            self._store.delete(("bench",), str(key))

    def reopen(self) -> None:
        """Nothing is kept, so there is nothing to open."""

    def close(self) -> None:
        """Nothing to release."""


class Mem0:
    """mem0 over Chroma, without a language model (`infer=False`).

    It is filled through its own vector store in batches, with the payload that `add` writes: `add` takes
    a message at a time, some hours for 100,000.
    """

    name = "mem0 (infer=False)"
    keeps = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, corpus: Corpus) -> None:
        os.environ["MEM0_TELEMETRY"] = "False"
        os.environ["MEM0_DIR"] = str(self._folder / "home")
        os.environ.setdefault("OPENAI_API_KEY", "unused")
        from mem0 import Memory

        self._corpus, given = corpus, Given(corpus)
        store = {"provider": "chroma", "config": {"path": str(self._folder / "chroma")}}
        self._memory = Memory.from_config(
            {
                "vector_store": store,
                "embedder": {"provider": "langchain", "config": {"model": _Langchain(given)}},
                "history_db_path": str(self._folder / "history.db"),
            }
        )
        self._ids: list[str] = []

    def fill(self) -> None:
        corpus = self._corpus
        for start in range(0, corpus.size, 1000):
            numbers = range(start, min(start + 1000, corpus.size))
            self._memory.vector_store.insert(
                vectors=corpus.vectors[list(numbers)].tolist(),
                ids=[str(uuid.uuid4()) for _ in numbers],
                payloads=[self._payload(number) for number in numbers],
            )

    def _payload(self, number: int) -> dict[str, Any]:
        text, now = self._corpus.texts[number], datetime.now(UTC).isoformat()
        written = {"created_at": now, "updated_at": now, "text_lemmatized": text}
        digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        return {
            **self._meta(number),
            **written,
            "data": text,
            "hash": digest,
            "user_id": "bench",
            "role": "user",
        }

    def _meta(self, number: int) -> dict[str, Any]:
        corpus = self._corpus
        return {"kind": KINDS[corpus.kinds[number]], "scope": int(corpus.spaces[number])}

    def _add(self, number: int) -> None:
        text, meta = self._corpus.texts[number], self._meta(number)
        added = self._memory.add(text, user_id="bench", infer=False, metadata=meta)
        self._ids.append(added["results"][0]["id"])

    def insert(self, number: int) -> None:
        self._add(self._corpus.size + number)

    def search(self, number: int) -> None:
        text = self._corpus.queries[number * 7]
        self._memory.search(text, filters={"user_id": "bench"}, top_k=10)

    def filtered(self, number: int) -> None:
        wanted = {"user_id": "bench", "kind": "skill", "scope": 3}
        self._memory.search(self._corpus.queries[number * 7], filters=wanted, top_k=10)

    def forget(self, number: int) -> None:
        for memory_id in self._ids[number * 10 : number * 10 + 10]:
            self._memory.delete(memory_id)

    def reopen(self) -> None:
        """Not measured: its cost is Chroma's."""

    def close(self) -> None:
        """It has no way to be closed."""


def _Langchain(given: Given) -> Any:  # noqa: N802 - a class made late, to load langchain late
    from langchain_core.embeddings import Embeddings

    class Wrapped(Embeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return given.embed(texts).tolist()  # type: ignore[no-any-return]

        def embed_query(self, text: str) -> list[float]:
            return self.embed_documents([text])[0]

    return Wrapped()
