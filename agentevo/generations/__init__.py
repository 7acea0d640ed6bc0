"""Generations: M_t of the survey, what was served when, and why."""

from agentevo.generations.generation import Generation, MemoryPosition
from agentevo.generations.log import GenerationEntry, GenerationLog

__all__ = ["Generation", "GenerationEntry", "GenerationLog", "MemoryPosition"]
