"""The episode graph: one agent does one task in one environment, step by step and resumable."""

from agentevo.episode.context import Budgets, EpisodeContext
from agentevo.episode.graph import build_episode_graph, make_graph
from agentevo.episode.state import EpisodeState, new_episode

__all__ = [
    "Budgets",
    "EpisodeContext",
    "EpisodeState",
    "build_episode_graph",
    "make_graph",
    "new_episode",
]
