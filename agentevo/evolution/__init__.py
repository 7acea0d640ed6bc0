"""Evolutions: one call that lets an agent improve itself, and the report of what came of it."""

from agentevo.evolution.directory import (
    command_distillation,
    list_evolutions,
    open_evolution,
)
from agentevo.evolution.evolve import evolve, resume_evolution
from agentevo.evolution.report import EvolutionReport

__all__ = [
    "EvolutionReport",
    "command_distillation",
    "evolve",
    "list_evolutions",
    "open_evolution",
    "resume_evolution",
]
