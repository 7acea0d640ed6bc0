"""Offers: drafts with all that is computed for them before the transaction that decides on them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agentevo_memory.embedding.base import Embedder, check_vectors
from agentevo_memory.errors import StoreReadOnlyError
from agentevo_memory.journal import Journal
from agentevo_memory.operations.screening import Verdict, Verifier
from agentevo_memory.record import Draft

Vectors = NDArray[np.float32]
SlotVectors = Mapping[tuple[int, str], bytes]
Cosine = Callable[[str], float]
"""Gives the cosine of the draft and an existing record by its id."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A draft with all that was computed for it before the transaction.

    Attributes:
        draft: The draft.
        vectors: Its vectors by slot and model id.
        cosine: Compares it with a record of the store.
        verdict: What the verifier said, if one was asked.
        supersedes: Ids of records that it replaces.
        idempotency_key: The same key is carried out once only; "" for none.
    """

    draft: Draft
    vectors: SlotVectors
    cosine: Cosine
    verdict: Verdict | None = None
    supersedes: tuple[str, ...] = ()
    idempotency_key: str = ""


class Offers:
    """Makes offers for one store.

    Args:
        journal: The journal of the store.
        embedder: Its embedder.
    """

    def __init__(self, journal: Journal, embedder: Embedder) -> None:
        self._journal = journal
        self._embedder = embedder

    def one(self, draft: Draft, verify: Verifier | None, vectors: Vectors | None = None) -> Offer:
        """Return the offer of one draft, verified if there is a verifier."""
        verdict = verify(draft) if verify is not None else None
        return replace(next(self.of([draft], vectors)), verdict=verdict)

    def of(self, drafts: Sequence[Draft], vectors: Vectors | None = None) -> Iterator[Offer]:
        """Yield the offers of drafts, embedding them unless their vectors are known.

        Raises:
            EmbeddingError: If the vectors are not finite or have the wrong shape.
            StoreReadOnlyError: If the store cannot be written.
        """
        if self._journal.read_only:
            raise StoreReadOnlyError(f"{str(self._journal.path)!r} was opened for reading only")
        model, dimension = self._embedder.model_id, self._embedder.dimension
        if vectors is None:
            vectors = self._embedder.embed([draft.indexed_text for draft in drafts])
        for draft, vector in zip(
            drafts, check_vectors(vectors, len(drafts), dimension), strict=True
        ):
            yield Offer(draft, {(0, model): vector.tobytes()}, self._cosine_to(vector))

    def _cosine_to(self, vector: Vectors) -> Cosine:
        def cosine(record_id: str) -> float:
            rows = self._journal.query(
                "SELECT data FROM vector JOIN record USING(rid) WHERE id=? AND slot=0 AND model=?",
                (record_id, self._embedder.model_id),
            )
            return float(np.frombuffer(rows[0][0], "<f4") @ vector) if rows else -1.0

        return cosine
