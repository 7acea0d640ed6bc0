"""The gate that every change of memory or weights must pass before it is served."""

from agentevo.gate.criteria import Criterion, Evidence, Gate, Verdict
from agentevo.gate.sequential import PairedTest

__all__ = ["Criterion", "Evidence", "Gate", "PairedTest", "Verdict"]
