"""Attacks on files and output: each tries to write or open more than its limits allow."""

from agentevo_environments.conformance.attacks.attack import (
    ATTACK_LIMITS,
    Attack,
    Evidence,
    program,
)

_KIND = "resources"
_CLIENT_BYTES = 32 << 20


def _flooded(evidence: Evidence) -> str:
    result = evidence.results[0]
    if len(result.stdout) + len(result.stderr) > 2 * ATTACK_LIMITS.output_bytes:
        return "more output than the limit came through"
    if not result.truncated:
        return "lost output was not reported"
    if evidence.client_growth_bytes > _CLIENT_BYTES:
        return f"the client grew by {evidence.client_growth_bytes >> 20} MiB"
    return ""


DISK_FILL = """
import os
block, total, made = b"z" * (1 << 20), 0, []
for folder in (".", "/tmp", "/var/tmp", "/dev/shm", "/run", os.path.expanduser("~")):
    for index in range(16):
        path = f"{folder}/{TOKEN}{index}"
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        except OSError:
            break
        made.append(path)
        try:
            for _ in range(8):
                total += os.write(file, block)
        except OSError:
            pass
        os.close(file)
    if total > 64 << 20:
        break
for path in made:
    os.unlink(path)
if total > 48 << 20:
    reached(f"{total >> 20} MiB on disk")
"""

INODE_FILL = """
import os
made = []
try:
    for index in range(4000):
        path = f"f{index}"
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        made.append(path)
except OSError:
    pass
for path in made:
    os.unlink(path)
if len(made) > 2048:
    reached(f"{len(made)} files")
"""

HUGE_FILE = """
import os
file = os.open("huge", os.O_WRONLY | os.O_CREAT, 0o600)
try:
    os.ftruncate(file, 1 << 34)
    reached("a file of 16 GiB")
except OSError:
    pass
os.close(file)
os.unlink("huge")
"""

DESCRIPTORS = """
import os
opened = []
try:
    for _ in range(600):
        opened.append(os.dup(1))
except OSError:
    pass
if len(opened) > 256:
    reached(f"{len(opened)} open files")
"""

FLOOD = """
import os
block, written = b"x" * 65536, 0
try:
    while written < 160 << 20:
        written += os.write({descriptor}, block)
except OSError:
    pass
"""

ATTACKS = (
    Attack(
        "flood_stdout",
        _KIND,
        "flood the client's memory",
        (program(FLOOD.format(descriptor=1)),),
        _flooded,
    ),
    Attack(
        "flood_stderr",
        _KIND,
        "flood it through stderr",
        (program(FLOOD.format(descriptor=2)),),
        _flooded,
    ),
    Attack("disk_fill", _KIND, "write more than allowed", (program(DISK_FILL),)),
    Attack("inode_fill", _KIND, "create more files than allowed", (program(INODE_FILL),)),
    Attack("huge_file", _KIND, "make one file too large", (program(HUGE_FILE),)),
    Attack("descriptor_fill", _KIND, "open more files than allowed", (program(DESCRIPTORS),)),
)
