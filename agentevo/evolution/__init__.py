"""Evolutions: one call that lets an agent improve itself, and the report of what came of it."""

from agentevo.evolution.directory import list_evolutions, open_evolution
from agentevo.evolution.evolve import evolve, resume_evolution
from agentevo.evolution.report import EvolutionReport

__all__ = [
    "EvolutionReport",
    "evolve",
    "list_evolutions",
    "open_evolution",
    "resume_evolution",
]
