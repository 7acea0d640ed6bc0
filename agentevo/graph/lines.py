"""`MemoryLine`: the memory that is served, and the branch that a round changes.

Every round works on a branch of the served store. The served store takes an accepted branch over in
one transaction; a refused branch stays in its folder, and nobody is served from it.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agentevo.generations import MemoryPosition
from agentevo.updating.in_context import InContextMemory
from agentevo.updating.in_weight import teachable_rules
from agentevo_memory import VectorMemory
from agentevo_memory.branch import fork, position, take_over
from agentevo_memory.embedding.base import Embedder
from agentevo_memory.journal import Selection
from agentevo_memory.retrieval import Weights

SERVED = ""
"""The name of what is served, in the place of a branch's."""


@dataclass(slots=True)
class MemoryLine:
    """One served store and its branches.

    Attributes:
        served: Folder of the store that is served.
        branches: Folder that holds the branches of the rounds.
        namespace: The part of the store that is read and written.
        k: Most records in one prompt.
        notes: Most of them that only inform.
        embedder: Embeds texts; shared by all stores.
    """

    served: Path
    branches: Path
    namespace: tuple[str, ...]
    k: int
    notes: int
    embedder: Embedder

    def branch(self, name: str) -> Path:
        """Return the folder of a branch."""
        return self.branches / name

    def fork(self, name: str) -> MemoryPosition:
        """Make a branch anew from what is served; return where it starts."""
        return MemoryPosition(*fork(self.served, self.branch(name)))

    def adopt(self, name: str) -> None:
        """Serve what a branch became; a second call changes nothing.

        Raises:
            BranchError: Somebody else changed the served memory meanwhile.
        """
        take_over(self.served, self.branch(name))

    def position(self, name: str = SERVED) -> MemoryPosition:
        """Return where a branch, or without a name the served memory, stands."""
        return MemoryPosition(*position(self._folder(name)))

    @contextmanager
    def open(self, name: str = SERVED) -> Iterator[InContextMemory]:
        """Open a branch, or without a name the served memory."""
        store = VectorMemory(self._folder(name), embedder=self.embedder)
        with closing(self._over(store)) as memory:
            yield memory

    def texts(self, name: str) -> Mapping[str, str]:
        """Return what a branch may show in prompts, by record id."""
        with self.open(name) as memory:
            chosen = Selection(namespace=self.namespace, statuses=("active", "candidate"))
            return {record.id: record.text for record in memory.store.records(chosen)}

    def rules(self, name: str = SERVED) -> Mapping[str, str]:
        """Return the verified rules that live, told or held by weights, by record id."""
        with self.open(name) as memory:
            found = teachable_rules(memory.store, self.namespace)
            return {rule_id: rule.text for rule_id, rule in found.items()}

    def weights(self, name: str = SERVED) -> Weights:
        """Return the weights that searches use, learnt ones included."""
        with self.open(name) as memory:
            return memory.store.weights(self.namespace)

    def _over(self, store: VectorMemory) -> InContextMemory:
        return InContextMemory(store, self.namespace, k=self.k, notes=self.notes)

    def _folder(self, name: str) -> Path:
        return self.branch(name) if name else self.served
