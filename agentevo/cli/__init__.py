"""The command line: `agentevo VERB`. The only package that prints.

Each command lives in its own module, which is loaded when the command is used; so do heavy
packages. `agentevo.cli.mounts` lists the commands.
"""

from agentevo.cli.root import app, main

__all__ = ["app", "main"]
