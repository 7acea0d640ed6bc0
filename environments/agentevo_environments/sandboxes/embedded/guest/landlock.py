"""Landlock: allow this process and its children only named files, and nothing of the network."""

import ctypes
import os
import struct
from collections.abc import Iterable
from pathlib import Path

from agentevo_environments.sandboxes.embedded.guest import kernel

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
ASK_VERSION = 1
PATH_BENEATH = 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
TRUNCATE, IOCTL_DEVICE = 1 << 14, 1 << 15
ACCESS_COUNT = {1: 13, 2: 14, 3: 15, 4: 15}
LATEST_ACCESS_COUNT = 16
NETWORK_VERSION, SCOPE_VERSION = 4, 6
ALL_TCP = 0b11
ALL_SCOPES = 0b11
READ = EXECUTE | READ_FILE | READ_DIR
FILE_ACCESS = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEVICE


def version() -> int:
    """Return the version of Landlock's interface here; 0 when there is none."""
    try:
        return kernel.syscall("landlock", CREATE_RULESET, None, 0, ASK_VERSION)
    except OSError:
        return 0


def restrict(readable: Iterable[str], listable: Iterable[str], writable: Iterable[str]) -> None:
    """Restrict this process; needs no_new_privs.

    Args:
        readable: Files and folders to read and execute; missing ones are skipped.
        listable: Folders in which the names may be read.
        writable: Files and folders to do everything with.
    """
    abi = version()
    handled = (1 << ACCESS_COUNT.get(abi, LATEST_ACCESS_COUNT)) - 1
    attributes = struct.pack(
        "=QQQ",
        handled,
        ALL_TCP if abi >= NETWORK_VERSION else 0,
        ALL_SCOPES if abi >= SCOPE_VERSION else 0,
    )
    size = 24 if abi >= SCOPE_VERSION else 16 if abi >= NETWORK_VERSION else 8
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    rules = kernel.syscall("landlock_create_ruleset", CREATE_RULESET, buffer, size, 0)
    for path in readable:
        _allow(rules, path, READ & handled)
    for path in listable:
        _allow(rules, path, READ_DIR)
    for path in writable:
        _allow(rules, path, handled)
    kernel.syscall("landlock_restrict_self", RESTRICT_SELF, rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    if not Path(path).is_dir():
        access &= FILE_ACCESS
    rule = struct.pack("=Qi", access, descriptor)
    buffer = ctypes.create_string_buffer(rule, len(rule))
    kernel.syscall("landlock_add_rule", ADD_RULE, rules, PATH_BENEATH, buffer, 0)
    os.close(descriptor)
