"""Boot: start one of the sandbox's own processes from these files, without the rest of the package.

Run as a script by an isolated interpreter: `python -I -S boot.py keeper|server SETTINGS`. Only
`errors.py`, `protocol.py` and this folder are imported; inside the sandbox nothing else of the
package exists, so that no task data can be read there.
"""

import importlib
import json
import sys
import types
from pathlib import Path

PACKAGE = "agentevo_environments"


def register_packages(guest: Path) -> None:
    """Make the modules importable under their full names without running any `__init__`."""
    embedded, sandboxes, package = guest.parent, guest.parent.parent, guest.parent.parent.parent
    for name, folder in (
        (PACKAGE, package),
        (f"{PACKAGE}.sandboxes", sandboxes),
        (f"{PACKAGE}.sandboxes.embedded", embedded),
        (f"{PACKAGE}.sandboxes.embedded.guest", guest),
    ):
        module = types.ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module


if __name__ == "__main__":
    register_packages(Path(__file__).resolve().parent)
    role = importlib.import_module(f"{PACKAGE}.sandboxes.embedded.guest.{sys.argv[1]}")
    sys.exit(role.main(json.loads(sys.argv[2])))
