"""Attacks on memory: each tries to hold more of it than its limits allow."""

from agentevo_environments.conformance.attacks.attack import Attack, program

_KIND = "resources"

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

ATTACKS = (
    Attack("memory_one_process", _KIND, "allocate memory in one process", (program(MEMORY_ONE),)),
    Attack("memory_many_processes", _KIND, "allocate it in many", (program(MEMORY_MANY),)),
    Attack("memory_in_nameless_files", _KIND, "hide it in memfd files", (program(MEMORY_FILES),)),
    Attack(
        "memory_in_segments", _KIND, "hide it in System V segments", (program(MEMORY_SEGMENTS),)
    ),
)
