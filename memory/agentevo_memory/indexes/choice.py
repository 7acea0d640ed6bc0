"""Which dense index a store uses: exact in memory, or Chroma when it is large and owned here."""

from agentevo_memory.errors import IndexOwnedError, RecordError
from agentevo_memory.indexes.base import DenseIndex
from agentevo_memory.indexes.exact import ExactIndex
from agentevo_memory.journal import Journal

LARGE = 300_000
"""From this number of vectors on, `auto` chooses Chroma; below it, exact search is faster."""


def choose_index(name: str, journal: Journal, model_id: str) -> DenseIndex:
    """Return the index for a store.

    Args:
        name: `auto`, `exact`, `chroma`, or `chroma:http://HOST:PORT`.
        journal: The journal of the store.
        model_id: The embedder.

    Raises:
        RecordError: For an unknown name.
    """
    kind, _, url = name.partition(":")
    if kind not in ("auto", "exact", "chroma") or (url and kind != "chroma"):
        raise RecordError(
            f"unknown index {name!r}; allowed: auto, exact, chroma, chroma:http://HOST:PORT"
        )
    if kind == "auto":
        count = journal.query("SELECT count(*) FROM vector")[0][0]
        kind = "chroma" if count >= LARGE else "exact"
    if kind == "exact" or journal.read_only:
        return ExactIndex()
    from agentevo_memory.indexes.chroma import ChromaIndex

    try:
        return ChromaIndex(journal.folder / "index", model_id, url=url)
    except IndexOwnedError:
        return ExactIndex()
