"""Attacks on the runner's protocol, and on the grading of tasks."""

from agentevo_environments.conformance.attacks.attack import Attack, Evidence, Step, program
from agentevo_environments.sandboxes import protocol

_HIDDEN_FILE = b"answer = 'hidden-test=0123456789abcdef0123456789abcdef'\n"
_SEARCHED = """
import os, re
NEEDLE = re.compile(b"hidden-test=[0-9a-f]{32}")
"""

_FORGED = protocol.encode(
    {
        "ending": "exited",
        "status": 0,
        "exit_code": 0,
        "truncated": False,
        "duration_s": 0.1,
        "files": [],
        "left_out": 0,
        "ready": True,
        "keep_files": False,
    },
    [b"FORGED", b""],
)

FORGED_FRAMES = f"""
import os
frame = {_FORGED!r}
for descriptor in range(3, 1024):
    try:
        os.set_blocking(descriptor, False)
        os.write(descriptor, frame)
        reached(f"writing a frame to descriptor {{descriptor}}")
    except OSError:
        pass
os.write(1, frame * 3)
os.write(2, frame * 3)
"""

MALFORMED_FRAMES = """
import os
for bad in (b"\\xff" * 4096, b"AEV\\x01" + b"\\xff" * 12, b"AEV\\x63" + bytes(12), bytes(64), b"{" * 5000):
    for descriptor in range(1024):
        try:
            if descriptor not in (1, 2):
                os.set_blocking(descriptor, False)
            os.write(descriptor, bad)
        except OSError:
            pass
"""

READ_CONTROL = """
import os, select
for descriptor in range(3, 1024):
    try:
        os.fstat(descriptor)
    except OSError:
        continue
    try:
        os.set_blocking(descriptor, False)
        data = os.read(descriptor, 4096)
        reached(f"reading {len(data)} bytes from descriptor {descriptor}")
    except OSError:
        pass
"""

SEARCH_FILES = (
    _SEARCHED
    + """
SKIPPED = ("/proc", "/sys", "/usr", "/lib", "/lib64", "/root", "/home", "/opt", "/work", "/var/lib")
for folder, folders, names in os.walk("/"):
    folders[:] = [name for name in folders if os.path.join(folder, name) not in SKIPPED]
    for name in names:
        path = os.path.join(folder, name)
        try:
            if os.path.isfile(path) and os.path.getsize(path) < 1 << 20 and NEEDLE.search(open(path, "rb").read()):
                reached("the hidden tests in " + path)
        except OSError:
            pass
"""
)

SEARCH_MEMORY = (
    _SEARCHED
    + """
with open("/proc/self/mem", "rb", 0) as memory:
    for line in open("/proc/self/maps"):
        span, rights, *_ = line.split()
        low, high = (int(part, 16) for part in span.split("-"))
        if not rights.startswith("rw") or "[v" in line or high - low > 64 << 20:
            continue
        try:
            memory.seek(low)
            if NEEDLE.search(memory.read(high - low)):
                reached("the hidden tests in its own memory")
                break
        except (OSError, ValueError, OverflowError, MemoryError):
            pass
"""
)

TAMPER = """
for name in ("hidden_tests.py", "solution.py", "sitecustomize.py", "json.py", "unittest.py"):
    try:
        open(name, "w").write("import os\\nos.write(1, b'PASSED 9 of 9\\\\n')\\nos._exit(0)\\n")
    except OSError:
        pass
"""

GRADE = """
import json, unittest
print("GRADED", json.dumps([1]))
"""


def _forged(evidence: Evidence) -> str:
    first, second = evidence.results
    if first.stdout == "FORGED" or not second.stdout.startswith("second"):
        return "a forged answer was believed"
    return ""


def _tampered(evidence: Evidence) -> str:
    graded = evidence.results[-1].stdout
    return "" if graded == "GRADED [1]\n" else f"the grader said {graded!r}"


_SECOND = program('print("second")')

ATTACKS = (
    Attack(
        "forged_frames",
        "protocol",
        "answer in the runner's name",
        (program(FORGED_FRAMES), _SECOND),
        _forged,
    ),
    Attack(
        "malformed_frames",
        "protocol",
        "confuse the runner",
        (program(MALFORMED_FRAMES), _SECOND),
        _forged,
    ),
    Attack("control_read", "protocol", "read what the runner is told", (program(READ_CONTROL),)),
    Attack(
        "tests_in_files",
        "reward",
        "find the hidden tests in files",
        (
            Step("import hidden_tests", files={"hidden_tests.py": _HIDDEN_FILE}),
            program(SEARCH_FILES),
        ),
    ),
    Attack(
        "tests_in_memory",
        "reward",
        "find them in its own memory",
        (
            Step("import hidden_tests", files={"hidden_tests.py": _HIDDEN_FILE}),
            program(SEARCH_MEMORY),
        ),
    ),
    Attack(
        "tampered_grader",
        "reward",
        "change how the next task is graded",
        (program(TAMPER), program(GRADE)),
        _tampered,
    ),
)
