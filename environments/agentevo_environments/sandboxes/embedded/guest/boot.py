"""Boot: start one of the sandbox's own processes from these files, without the rest of the package.

Run as a script by an isolated interpreter: `python -I -S boot.py keeper|server SETTINGS`. Only
`errors.py`, `protocol.py` and this folder are imported; inside the sandbox nothing else of the
package exists, so that no task data can be read there.

What the server imports is in the memory of every slot, and every page of it takes time in every
execution; so these files do without pathlib, dataclasses and socket.
"""

# ruff: noqa: PTH120

import importlib
import json
import sys
import types
from os import path

PACKAGE = "agentevo_environments"


def register_packages(guest: str) -> None:
    """Make the modules importable under their full names without running any `__init__`."""
    embedded = path.dirname(guest)
    sandboxes = path.dirname(embedded)
    for name, folder in (
        (PACKAGE, path.dirname(sandboxes)),
        (f"{PACKAGE}.sandboxes", sandboxes),
        (f"{PACKAGE}.sandboxes.embedded", embedded),
        (f"{PACKAGE}.sandboxes.embedded.guest", guest),
    ):
        module = types.ModuleType(name)
        module.__path__ = [folder]
        sys.modules[name] = module


if __name__ == "__main__":
    register_packages(path.dirname(path.realpath(__file__)))
    role = importlib.import_module(f"{PACKAGE}.sandboxes.embedded.guest.{sys.argv[1]}")
    sys.exit(role.main(json.loads(sys.argv[2])))
