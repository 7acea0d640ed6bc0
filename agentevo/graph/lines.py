"""`MemoryLine`: the memory that is served, and the branch that a round changes.

Every round works on a branch of the served store. The served store takes an accepted branch over in
one transaction; a refused branch stays in its folder, and nobody is served from it.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agentevo.generations import MemoryPosition
from agentevo.updating.in_context import InContextMemory
from agentevo_memory import VectorMemory
from agentevo_memory.branch import fork, position, take_over
from agentevo_memory.embedding.base import Embedder
from agentevo_memory.journal import Selection


@dataclass(slots=True)
class MemoryLine:
    """One served store and its branches.

    Attributes:
        served: Folder of the store that is served.
        branches: Folder that holds one branch per round.
        namespace: The part of the store that is read and written.
        k: Most records in one prompt.
        embedder: Embeds texts; shared by all stores.
    """

    served: Path
    branches: Path
    namespace: tuple[str, ...]
    k: int
    embedder: Embedder
    _cache: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    def branch(self, number: int) -> Path:
        """Return the folder of a round's branch."""
        return self.branches / f"{number:04}"

    def fork(self, number: int) -> MemoryPosition:
        """Make the branch of a round anew from what is served; return where it starts."""
        return MemoryPosition(*fork(self.served, self.branch(number)))

    def adopt(self, number: int) -> None:
        """Serve what the branch of a round became; a second call changes nothing.

        Raises:
            BranchError: Somebody else changed the served memory meanwhile.
        """
        take_over(self.served, self.branch(number))

    def position(self, number: int | None = None) -> MemoryPosition:
        """Return where a round's branch, or without one the served memory, stands."""
        folder = self.served if number is None else self.branch(number)
        return MemoryPosition(*position(folder))

    @contextmanager
    def open(self, number: int | None = None) -> Iterator[InContextMemory]:
        """Open a round's branch, or without one the served memory."""
        folder = self.served if number is None else self.branch(number)
        store = VectorMemory(folder, embedder=self.embedder)
        with closing(InContextMemory(store, self.namespace, k=self.k)) as memory:
            yield memory

    def texts(self, number: int) -> Mapping[str, str]:
        """Return what a round's branch may show in prompts, by record id."""
        with self.open(number) as memory:
            chosen = Selection(namespace=self.namespace, statuses=("active", "candidate"))
            return {record.id: record.text for record in memory.store.records(chosen)}
