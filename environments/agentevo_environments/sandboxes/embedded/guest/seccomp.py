"""Seccomp: the system calls that a program in the sandbox may not make.

A deny list: everything that reaches into the kernel's administration, other processes, or
kernel parts with a record of privilege escalation fails with EPERM. New namespaces and sockets
other than local ones are refused by their arguments; clone3 does not exist for the program (its
arguments cannot be checked), so that the C library falls back to clone. Other ABIs of the same
processor end the process.
"""

import ctypes
import os
import struct
from collections.abc import Container, Iterable, Sequence

from agentevo_environments.sandboxes.embedded.guest import kernel

AF_UNIX = 1
NEW_NAMESPACES = (
    0x80
    | kernel.NEWNS
    | kernel.NEWCGROUP
    | kernel.NEWUTS
    | kernel.NEWIPC
    | kernel.NEWUSER
    | kernel.NEWPID
    | kernel.NEWNET
)

# machine: audit architecture, clone, socket, socketpair. Numbers from the kernel's
# arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
ARCHITECTURES = {
    "x86_64": (0xC000_003E, 56, 41, 53),
    "aarch64": (0xC000_00B7, 220, 198, 199),
}
CLONE3 = 435
X32_BIT = 0x4000_0000

# name: number on x86_64, number on aarch64 (None where it does not exist).
DENIED: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "get_mempolicy": (239, 236),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "sysfs": (139, None),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
}

# Left behind and shared with others where there is no IPC namespace.
DENIED_OUTSIDE_NAMESPACES = {
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "semget": (64, 190),
    "shmget": (29, 194),
}

NEEDED_TO_ARM = ("clone", "mount", "setns")
"""What a program may not do, and the processes that prepare its place must."""

LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
OFFSET_NUMBER, OFFSET_ARCHITECTURE, OFFSET_FIRST_ARGUMENT = 0, 4, 16
KILL, ALLOW, FAIL = 0x8000_0000, 0x7FFF_0000, 0x0005_0000
EPERM, ENOSYS = 1, 38
SECCOMP_MODE_FILTER = 2

Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.c_void_p))


def is_supported() -> bool:
    """Whether the system-call numbers of this machine are known."""
    return os.uname().machine in ARCHITECTURES


def instructions(
    machine: str, *, in_namespaces: bool, exempt: Container[str] = ()
) -> list[Instruction]:
    """Return the filter for a machine as (code, jump if true, jump if false, operand).

    Args:
        machine: "x86_64" or "aarch64".
        in_namespaces: Whether the program has namespaces of its own, so that local sockets and
            System V objects reach nobody else; connected pairs of sockets are always allowed.
        exempt: What is not refused yet, by name; "clone" for new namespaces.

    Raises:
        KeyError: The machine is not known.
    """
    architecture, clone, socket, socketpair = ARCHITECTURES[machine]
    code: list[Instruction] = [
        (LOAD, 0, 0, OFFSET_ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, OFFSET_NUMBER),
        (JUMP_AT_LEAST, 0, 1, X32_BIT),
        (RETURN, 0, 0, KILL),
        (JUMP_EQUAL, 0, 1, CLONE3),
        (RETURN, 0, 0, FAIL | ENOSYS),
    ]
    if "clone" not in exempt:
        code += _refuse_namespaces(clone)
    for number in (socketpair, *((socket,) if in_namespaces else ())):
        code += [
            (JUMP_EQUAL, 0, 4, number),
            (LOAD, 0, 0, OFFSET_FIRST_ARGUMENT),
            (JUMP_EQUAL, 1, 0, AF_UNIX),
            (RETURN, 0, 0, FAIL | EPERM),
            (RETURN, 0, 0, ALLOW),
        ]
    names = DENIED if in_namespaces else {**DENIED, **DENIED_OUTSIDE_NAMESPACES}
    denied = _numbers(machine, [name for name in names if name not in exempt]) | {socket}
    return [*code, *_refuse(denied), (RETURN, 0, 0, ALLOW)]


def remaining_instructions(machine: str, names: Iterable[str]) -> list[Instruction]:
    """Return a filter that adds what another one had exempted; see `instructions`."""
    code: list[Instruction] = [(LOAD, 0, 0, OFFSET_NUMBER)]
    if "clone" in names:
        code += _refuse_namespaces(ARCHITECTURES[machine][1])
    denied = _numbers(machine, [name for name in names if name in DENIED])
    return [*code, *_refuse(denied), (RETURN, 0, 0, ALLOW)]


def _refuse_namespaces(clone: int) -> list[Instruction]:
    return [
        (JUMP_EQUAL, 0, 4, clone),
        (LOAD, 0, 0, OFFSET_FIRST_ARGUMENT),
        (JUMP_ANY_BIT, 0, 1, NEW_NAMESPACES),
        (RETURN, 0, 0, FAIL | EPERM),
        (RETURN, 0, 0, ALLOW),
    ]


def _numbers(machine: str, names: Iterable[str]) -> set[int]:
    column = list(ARCHITECTURES).index(machine)
    pairs = [{**DENIED, **DENIED_OUTSIDE_NAMESPACES}[name] for name in names]
    return {number for pair in pairs if (number := pair[column]) is not None}


def _refuse(numbers: Iterable[int]) -> list[Instruction]:
    refusal = (RETURN, 0, 0, FAIL | EPERM)
    return [step for number in sorted(numbers) for step in ((JUMP_EQUAL, 0, 1, number), refusal)]


class Filter:
    """A filter ready to be installed; making it once saves time in every execution.

    Args:
        code: What it does.
    """

    def __init__(self, code: Sequence[Instruction]) -> None:
        self._code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *i) for i in code))
        self._program = _Program(len(code), ctypes.addressof(self._code))

    def install(self) -> None:
        """Apply the filter to this process and all it will start; needs no_new_privs."""
        kernel.prctl(kernel.PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(self._program))


def whole_filter() -> Filter:
    """Return the filter for a program in namespaces of its own on this machine."""
    return Filter(instructions(os.uname().machine, in_namespaces=True))


def arming_filter(*, in_namespaces: bool) -> Filter:
    """Return the filter for the processes that arm slots: most of the one for programs."""
    machine = os.uname().machine
    return Filter(instructions(machine, in_namespaces=in_namespaces, exempt=NEEDED_TO_ARM))


def last_filter() -> Filter:
    """Return the filter that, over the one for arming, makes the one for programs."""
    return Filter(remaining_instructions(os.uname().machine, NEEDED_TO_ARM))
