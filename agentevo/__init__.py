"""agentevo: run agents, remember, reflect, forget, and distil what was learnt into weights.

from agentevo import load_settings, run
report = run(load_settings({"env": {"name": "code", "n": 3}}))
"""

from typing import TYPE_CHECKING

from agentevo.errors import AgentevoError

if TYPE_CHECKING:
    from agentevo.config import Settings, load_settings
    from agentevo.episode import build_episode_graph
    from agentevo.events import Event
    from agentevo.evolution import evolve
    from agentevo.graph import build_evolution_graph
    from agentevo.models import init_model
    from agentevo.models.scripted import ScriptedModel
    from agentevo.recall import Memory, Outcome, Recalled
    from agentevo.runs.report import EpisodeResult, RunReport
    from agentevo.runtime import aresume, arun, list_runs, load_report, resume, run

__version__ = "0.1.0"

__all__ = [
    "AgentevoError",
    "EpisodeResult",
    "Event",
    "Memory",
    "Outcome",
    "Recalled",
    "RunReport",
    "ScriptedModel",
    "Settings",
    "aresume",
    "arun",
    "build_episode_graph",
    "build_evolution_graph",
    "evolve",
    "init_model",
    "list_runs",
    "load_report",
    "load_settings",
    "resume",
    "run",
]

_HOMES = {
    "EpisodeResult": "runs.report",
    "Event": "events",
    "Memory": "recall",
    "Outcome": "recall",
    "Recalled": "recall",
    "RunReport": "runs.report",
    "ScriptedModel": "models.scripted",
    "Settings": "config",
    "aresume": "runtime",
    "arun": "runtime",
    "build_episode_graph": "episode",
    "build_evolution_graph": "graph",
    "evolve": "evolution",
    "init_model": "models",
    "list_runs": "runtime",
    "load_report": "runtime",
    "load_settings": "config",
    "resume": "runtime",
    "run": "runtime",
}


def __getattr__(name: str) -> object:
    """Load a part when it is first asked for, so that importing the package stays cheap."""
    if name not in _HOMES:
        raise AttributeError(f"module 'agentevo' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"agentevo.{_HOMES[name]}"), name)
