"""Attacks on the machine's resources: each tries to use more than its limits allow."""

from agentevo_environments.conformance.attacks.attack import (
    ATTACK_LIMITS,
    Attack,
    Evidence,
    program,
)
from agentevo_environments.sandboxes.base import Limits

_KIND = "resources"
_SHORT = Limits(
    **{**{f: getattr(ATTACK_LIMITS, f) for f in ATTACK_LIMITS.__slots__}, "timeout_s": 1.0}
)
_OVERRUN_S = 1.5
_CLIENT_BYTES = 32 << 20


def _not_ended_in_time(evidence: Evidence) -> str:
    if evidence.duration_s[0] > _SHORT.timeout_s + _OVERRUN_S:
        return f"it ran for {evidence.duration_s[0]:.1f} s under a limit of {_SHORT.timeout_s} s"
    return "" if evidence.results[0].ending == "timeout" else "no timeout was reported"


def _flooded(evidence: Evidence) -> str:
    result = evidence.results[0]
    if len(result.stdout) + len(result.stderr) > 2 * ATTACK_LIMITS.output_bytes:
        return "more output than the limit came through"
    if not result.truncated:
        return "lost output was not reported"
    if evidence.client_growth_bytes > _CLIENT_BYTES:
        return f"the client grew by {evidence.client_growth_bytes >> 20} MiB"
    return ""


FORK_BOMB = """
import os, time
forked = 0
try:
    for _ in range(160):
        if os.fork() == 0:
            time.sleep(2)
            os._exit(0)
        forked += 1
except OSError:
    pass
if forked > 60:
    reached(f"{forked} processes at once")
"""

THREAD_BOMB = """
import threading, time
started = 0
try:
    for _ in range(160):
        threading.Thread(target=time.sleep, args=(1,), daemon=True).start()
        started += 1
except (RuntimeError, OSError, MemoryError):
    pass
if started > 60:
    reached(f"{started} threads at once")
"""

MEMORY_ONE = """
blocks = []
try:
    for _ in range(20):
        blocks.append(b"\\1" * (32 << 20))
except MemoryError:
    pass
held = len(blocks) * 32
if held > 256:
    reached(f"{held} MiB in one process")
"""

MEMORY_MANY = """
import os, time
read, write = os.pipe()
for _ in range(10):
    try:
        if os.fork() == 0:
            block = b"\\1" * (40 << 20)
            os.write(write, b"+")
            time.sleep(3)
            os._exit(0)
    except OSError:
        break
time.sleep(2.5)
os.set_blocking(read, False)
try:
    held = len(os.read(read, 100)) * 40
except BlockingIOError:
    held = 0
alive = 0
while True:
    try:
        pid, status = os.waitpid(-1, 0)
    except ChildProcessError:
        break
    alive += status == 0
if min(held, alive * 40) > 256:
    reached(f"{min(held, alive * 40)} MiB in {alive} processes")
"""

MEMORY_FILES = """
import os
held, files = 0, []
try:
    for _ in range(60):
        file = os.memfd_create("x")
        for _ in range(7):
            held += os.write(file, b"\\1" * (1 << 20))
        files.append(file)
except (OSError, AttributeError):
    pass
if held > 256 << 20:
    reached(f"{held >> 20} MiB in files without a name")
"""

MEMORY_SEGMENTS = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.shmat.restype = ctypes.c_void_p
held, ids = 0, []
for _ in range(40):
    segment = libc.shmget(0, 8 << 20, 0o1600)
    if segment < 0:
        break
    ids.append(segment)
    address = libc.shmat(segment, None, 0)
    if address in (None, ctypes.c_void_p(-1).value):
        break
    ctypes.memset(address, 1, 8 << 20)
    libc.shmdt(ctypes.c_void_p(address))
    held += 8
for segment in ids:
    libc.shmctl(segment, 0, None)
if held > 256:
    reached(f"{held} MiB in System V segments")
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

BUSY = """
import signal
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGHUP, signal.SIGXCPU):
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
"""

BUSY_IN_C = """
power = 10 ** (10 ** 7)
power ** 97
"""

STOPPED = """
import os, signal
os.kill(os.getpid(), signal.SIGSTOP)
"""

HELD_OUTPUT = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(20)
    os._exit(0)
os.wait()
"""

PRIORITY = """
import os
try:
    os.nice(-5)
    reached("a higher priority")
except OSError:
    pass
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    reached("real-time scheduling")
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
except OSError:
    pass
"""

RAISED_LIMITS = """
import resource
for name in ("NOFILE", "FSIZE", "NPROC", "CPU"):
    kind = getattr(resource, "RLIMIT_" + name)
    soft, hard = resource.getrlimit(kind)
    try:
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (OSError, ValueError):
        continue
    reached(f"no limit on {name}")
"""


def _not_returned(evidence: Evidence) -> str:
    took, limit = evidence.duration_s[0], ATTACK_LIMITS.timeout_s
    return f"the answer took {took:.1f} s" if took > limit + _OVERRUN_S else ""


ATTACKS = (
    Attack("fork_bomb", _KIND, "fork more processes than allowed", (program(FORK_BOMB),)),
    Attack("thread_bomb", _KIND, "start more threads than allowed", (program(THREAD_BOMB),)),
    Attack("memory_one_process", _KIND, "allocate memory in one process", (program(MEMORY_ONE),)),
    Attack("memory_many_processes", _KIND, "allocate it in many", (program(MEMORY_MANY),)),
    Attack("memory_in_nameless_files", _KIND, "hide it in memfd files", (program(MEMORY_FILES),)),
    Attack(
        "memory_in_segments", _KIND, "hide it in System V segments", (program(MEMORY_SEGMENTS),)
    ),
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
    Attack(
        "busy_loop",
        _KIND,
        "ignore signals past the time limit",
        (program(BUSY, limits=_SHORT),),
        _not_ended_in_time,
    ),
    Attack(
        "busy_in_c",
        _KIND,
        "hang inside a C function",
        (program(BUSY_IN_C, limits=_SHORT),),
        _not_ended_in_time,
    ),
    Attack(
        "stop_itself",
        _KIND,
        "stop instead of ending",
        (program(STOPPED, limits=_SHORT),),
        _not_ended_in_time,
    ),
    Attack(
        "held_output",
        _KIND,
        "keep the output open after the end",
        (program(HELD_OUTPUT),),
        _not_returned,
    ),
    Attack("priority", _KIND, "run before everything else", (program(PRIORITY),)),
    Attack("raised_limits", _KIND, "take the limits away", (program(RAISED_LIMITS),)),
)
