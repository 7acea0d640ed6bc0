"""agentevo: run agents, remember, reflect, forget, and distil what was learnt into weights."""

__version__ = "0.1.0"
