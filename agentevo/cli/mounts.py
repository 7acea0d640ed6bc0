"""Which commands exist and which module holds each; a module that is absent is not listed."""

from typing import NamedTuple


class Mount(NamedTuple):
    """A command or group of commands, not yet loaded."""

    name: str
    """What the user types."""
    module: str
    """Module of `agentevo.cli` whose `app` holds it."""
    help: str
    """One line for the list of commands."""
    panel: str
    """Heading in the list of commands."""
    verb: bool = False
    """Whether it is one command of `app`; otherwise it is all of them, as a group."""


MOUNTS = (
    Mount("run", "run", "Run an agent on the tasks of an environment.", "Run", verb=True),
    Mount("resume", "run", "Continue a run that was stopped or killed.", "Run", verb=True),
    Mount("evolve", "evolve", "Let an agent improve itself, round by round.", "Run", verb=True),
    Mount("demo", "demo", "See the system work, offline.", "Run", verb=True),
    Mount("report", "report", "Show what an evolution achieved.", "Run", verb=True),
    Mount("runs", "runs", "List runs and look into them.", "Inspect"),
    Mount("memory", "memory", "Look into the memory and change it.", "Inspect"),
    Mount("generations", "generations", "List generations, compare them, roll back.", "Inspect"),
    Mount("gate", "gate", "Test a candidate against the incumbent.", "Inspect"),
    Mount("distill", "distill", "Turn rules into a LoRA adapter.", "Weights"),
    Mount("adapters", "adapters", "List and check LoRA adapters.", "Weights"),
    Mount("seed-model", "seed_model", "Train and check the shipped small model.", "Weights"),
    Mount("envs", "envs", "List, check and play environments.", "Set up"),
    Mount("sandbox", "sandbox", "Try, measure and attack the sandboxes.", "Set up"),
    Mount("recipes", "recipes", "List and check recipes of evolution.", "Set up"),
    Mount("config", "config", "Show the settings and what they mean.", "Set up"),
    Mount("serve", "serve", "Serve a local model to OpenAI clients.", "Set up", verb=True),
    Mount("doctor", "doctor", "Check this machine and say what to do next.", "Set up", verb=True),
)
