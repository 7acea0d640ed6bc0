"""The evolution graph: the stages of the survey as the nodes of one durable state machine."""

from agentevo.graph.wiring import build_evolution_graph

__all__ = ["build_evolution_graph"]
