"""Environments and sandboxes for agents, usable without the runtime."""

from agentevo_environments.environment import Environment
from agentevo_environments.errors import EnvironmentsError
from agentevo_environments.sandboxes.base import ExecResult, Limits, Program, Sandbox, provision
from agentevo_environments.task import Action, Grade, Observation, Task, TaskId, ToolSpec

__all__ = [
    "Action",
    "Environment",
    "EnvironmentsError",
    "ExecResult",
    "Grade",
    "Limits",
    "Observation",
    "Program",
    "Sandbox",
    "Task",
    "TaskId",
    "ToolSpec",
    "provision",
]
