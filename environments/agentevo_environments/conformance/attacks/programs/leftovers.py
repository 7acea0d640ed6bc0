"""Attacks on other tasks: what is left behind, and what is copied out of the sandbox."""

from agentevo_environments.conformance.attacks.attack import (
    ATTACK_LIMITS,
    Attack,
    Evidence,
    program,
)

_CLIENT_BYTES = 96 << 20
_ANSWER_S = 4.0

LEAVE_FILES = """
import os
for folder in (".", "/tmp", "/dev/shm", "/var/tmp", "/run", "/dev/mqueue", os.path.expanduser("~")):
    try:
        open(f"{folder}/left_behind", "w").write("left")
        os.makedirs(f"{folder}/left_folder/deep", exist_ok=True)
    except OSError:
        pass
"""

FIND_FILES = """
import os
for folder in (".", "/tmp", "/dev/shm", "/var/tmp", "/run", "/dev/mqueue", os.path.expanduser("~")):
    for name in ("left_behind", "left_folder"):
        if os.path.exists(f"{folder}/{name}"):
            reached(f"finding {folder}/{name}")
            os.system(f"rm -rf {folder}/{name}")
"""

LEAVE_SEGMENTS = """
import ctypes
libc = ctypes.CDLL(None)
libc.shmget(0x5A17, 4096, 0o1666)
libc.semget(0x5A17, 1, 0o1666)
libc.msgget(0x5A17, 0o1666)
try:
    ctypes.CDLL("librt.so.1").mq_open(b"/left_behind", 0o102, 0o666, None)
except (OSError, AttributeError):
    pass
"""

FIND_SEGMENTS = """
import ctypes
libc = ctypes.CDLL(None)
for name, found in (("a shared segment", libc.shmget(0x5A17, 0, 0)), ("a semaphore", libc.semget(0x5A17, 0, 0)),
                    ("a message queue", libc.msgget(0x5A17, 0))):
    if found >= 0:
        reached("finding " + name)
for remove, get in ((libc.shmctl, libc.shmget(0x5A17, 0, 0)), (libc.msgctl, libc.msgget(0x5A17, 0))):
    if get >= 0:
        remove(get, 0, None)
semaphore = libc.semget(0x5A17, 0, 0)
if semaphore >= 0:
    libc.semctl(semaphore, 0, 0)
try:
    if ctypes.CDLL("librt.so.1").mq_open(b"/left_behind", 0) >= 0:
        reached("finding a POSIX message queue")
        ctypes.CDLL("librt.so.1").mq_unlink(b"/left_behind")
except (OSError, AttributeError):
    pass
"""

CHANGE_INTERPRETER = """
import builtins, json, os, sys
builtins.left_behind = True
json.left_behind = True
json.dumps = lambda *_: "changed"
os.environ["LEFT_BEHIND"] = "1"
sys.path.insert(0, "/tmp/left")
"""

FIND_CHANGES = """
import builtins, json, os, sys
if hasattr(builtins, "left_behind") or hasattr(json, "left_behind") or json.dumps(1) != "1":
    reached("a changed interpreter")
if "LEFT_BEHIND" in os.environ or "/tmp/left" in sys.path:
    reached("a changed environment")
"""

DEEP_TREE = """
import os
made = 0
try:
    for _ in range(900):
        os.mkdir("d")
        os.chdir("d")
        made += 1
    os.chmod(".", 0)
except OSError:
    pass
"""

UNREADABLE_TREE = """
import os
os.makedirs("closed/inner")
open("closed/inner/file", "w").write("x")
os.chmod("closed/inner/file", 0)
os.chmod("closed/inner", 0)
os.chmod("closed", 0)
"""

LINKS_OUT = """
import os
for index, target in enumerate((HOST_FOLDER + "/secret.txt", "/proc/self/environ", "/proc/1/environ",
                                "../../../../../.." + HOST_FOLDER + "/secret.txt")):
    os.symlink(target, f"link{index}")
os.symlink(HOST_FOLDER, "folder")
os.symlink("/", "root")
try:
    os.link(HOST_FOLDER + "/secret.txt", "hard")
except OSError:
    pass
open("honest.txt", "w").write("honest")
"""

SWAPPED_OUT = """
import os
open("swapped", "w").write("x")
if os.fork() == 0:
    os.setsid()
    while True:
        try:
            os.unlink("swapped")
            os.symlink(HOST_FOLDER + "/secret.txt", "swapped")
            os.unlink("swapped")
            open("swapped", "w").write("x")
        except OSError:
            pass
"""

SPECIAL_FILES = """
import os, socket
os.mkfifo("pipe")
try:
    socket.socket(socket.AF_UNIX).bind("sock")
except OSError:
    pass
open("honest.txt", "w").write("honest")
"""

STRANGE_NAMES = """
import os
for name in (b"line\\nbreak", b"back\\\\slash", b"-rf", b"\\xff\\xfe", b"quote'\\"", b"a" * 255, b"\\xe2\\x80\\xae"):
    open(name, "wb").write(b"x")
open("honest.txt", "w").write("honest")
"""

SPARSE_FLOOD = """
import os
try:
    for index in range(40):
        file = os.open(f"sparse{index}", os.O_WRONLY | os.O_CREAT, 0o600)
        os.ftruncate(file, 8 << 20)
        os.close(file)
except OSError:
    pass
"""


def _not_kept(evidence: Evidence) -> str:
    if evidence.workspace.get("honest.txt") != b"honest":
        return "an honest file beside them was lost"
    links = {"root", "folder", "hard", "pipe", "sock"} & set(evidence.workspace)
    return f"not a regular file, but copied: {sorted(links)}" if links else ""


def _too_much_copied(evidence: Evidence) -> str:
    total = sum(len(data) for data in evidence.workspace.values())
    if total > ATTACK_LIMITS.disk_bytes:
        return f"{total >> 20} MiB were copied out"
    grown = evidence.client_growth_bytes
    return f"the client grew by {grown >> 20} MiB" if grown > _CLIENT_BYTES else ""


def _slow(evidence: Evidence) -> str:
    slowest = max(evidence.duration_s)
    return (
        f"an answer took {slowest:.1f} s" if slowest > ATTACK_LIMITS.timeout_s + _ANSWER_S else ""
    )


_PAIR = "leftovers"

ATTACKS = (
    Attack(
        "files_left",
        _PAIR,
        "leave files for the next task",
        (program(LEAVE_FILES), program(FIND_FILES)),
    ),
    Attack(
        "segments_left",
        _PAIR,
        "leave shared memory",
        (program(LEAVE_SEGMENTS), program(FIND_SEGMENTS)),
    ),
    Attack(
        "changed_interpreter",
        _PAIR,
        "change the next interpreter",
        (program(CHANGE_INTERPRETER), program(FIND_CHANGES)),
    ),
    Attack(
        "deep_tree",
        _PAIR,
        "leave a tree too deep to delete",
        (program(DEEP_TREE), program(FIND_FILES)),
        _slow,
    ),
    Attack(
        "closed_tree",
        _PAIR,
        "leave folders that cannot be read",
        (program(UNREADABLE_TREE, keep_files=True), program(FIND_FILES)),
        _slow,
    ),
    Attack(
        "links_out",
        "copying",
        "have links followed on the way out",
        (program(LINKS_OUT, keep_files=True),),
        _not_kept,
    ),
    Attack(
        "swapped_out",
        "copying",
        "swap a file for a link meanwhile",
        (program(SWAPPED_OUT, keep_files=True),),
    ),
    Attack(
        "special_files_out",
        "copying",
        "have a FIFO read",
        (program(SPECIAL_FILES, keep_files=True),),
        _not_kept,
    ),
    Attack(
        "strange_names_out",
        "copying",
        "confuse by names",
        (program(STRANGE_NAMES, keep_files=True), program("pass")),
        _not_kept,
    ),
    Attack(
        "sparse_files_out",
        "copying",
        "fill the client with holes",
        (program(SPARSE_FLOOD, keep_files=True),),
        _too_much_copied,
    ),
    Attack(
        "deep_tree_out",
        "copying",
        "have too deep a tree copied",
        (program(DEEP_TREE, keep_files=True),),
        _slow,
    ),
)
