"""`Generation`: base model, adapter, memory position and profile, identified by their content."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class MemoryPosition:
    """A point in the memory's journal.

    Attributes:
        seq: Sequence number of the last event that counts; 0 is the empty memory.
        head: Hash of the chain at that event, in hex; "" for the empty memory.
    """

    seq: int = 0
    head: str = ""


@dataclass(frozen=True, slots=True)
class Generation:
    """The thing that evolves: M_t (survey section 2).

    Attributes:
        base_sha256: Hash of the base model's weights; for a remote model, of its name.
        adapter_id: The LoRA adapter, or None for the bare base.
        memory: What the memory held.
        profile: What else decides behaviour: prompts, recipe, sampling. JSON values only.
    """

    base_sha256: str
    adapter_id: str | None = None
    memory: MemoryPosition = MemoryPosition()
    profile: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Content hash; two generations that behave alike by construction have the same id."""
        content = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def differences(self, other: "Generation") -> dict[str, tuple[Any, Any]]:
        """Return each field in which the two differ, with both values."""
        mine, theirs = asdict(self), asdict(other)
        return {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}
