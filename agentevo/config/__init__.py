"""The settings of a run, and where each of them comes from.

`Settings(...)` reads nothing; `load_settings` reads command line, environment and file.
"""

from agentevo.config.sources import Layer, load_settings, merge_layers, origin_of, read_layers
from agentevo.config.tree import (
    EnvSettings,
    MemorySettings,
    ModelSettings,
    OptionValue,
    RunSettings,
    SandboxSettings,
    Section,
    Settings,
    dump_settings,
)

__all__ = [
    "EnvSettings",
    "Layer",
    "MemorySettings",
    "ModelSettings",
    "OptionValue",
    "RunSettings",
    "SandboxSettings",
    "Section",
    "Settings",
    "dump_settings",
    "load_settings",
    "merge_layers",
    "origin_of",
    "read_layers",
]
