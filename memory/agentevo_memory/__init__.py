"""A vector memory that survives, forgets for real, and finds what matters; usable alone."""

from typing import TYPE_CHECKING

from agentevo_memory.errors import MemoryStoreError, RecordError, UnknownRecordError
from agentevo_memory.record import Draft, Outcome, Provenance, Record

if TYPE_CHECKING:
    from agentevo_memory.operations.feedback import Feedback
    from agentevo_memory.operations.forget import Policy
    from agentevo_memory.operations.insert import InsertResult
    from agentevo_memory.operations.revoke import Taint
    from agentevo_memory.operations.screening import Verdict
    from agentevo_memory.retrieval import Hit, Query
    from agentevo_memory.store import VectorMemory

__all__ = [
    "Draft",
    "Feedback",
    "Hit",
    "InsertResult",
    "MemoryStoreError",
    "Outcome",
    "Policy",
    "Provenance",
    "Query",
    "Record",
    "RecordError",
    "Taint",
    "UnknownRecordError",
    "VectorMemory",
    "Verdict",
]

_HOMES = {
    "Feedback": "operations.feedback",
    "Hit": "retrieval",
    "InsertResult": "operations.insert",
    "Policy": "operations.forget",
    "Query": "retrieval",
    "Taint": "operations.revoke",
    "VectorMemory": "store",
    "Verdict": "operations.screening",
}


def __getattr__(name: str) -> object:
    """Load the parts that need numpy when they are first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'agentevo_memory' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"agentevo_memory.{_HOMES[name]}"), name)
