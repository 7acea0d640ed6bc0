"""Kernel: the Linux calls that Python 3.11 does not offer, each failing with its name."""

import ctypes
import os
import signal
from contextlib import suppress

CLONE_PIDFD = 0x1000
NEWNS = 0x0002_0000
NEWCGROUP = 0x0200_0000
NEWUTS = 0x0400_0000
NEWIPC = 0x0800_0000
NEWUSER = 0x1000_0000
NEWPID = 0x2000_0000
NEWNET = 0x4000_0000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
MS_REC = 16384
MS_PRIVATE = 1 << 18
MNT_DETACH = 2

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38

CAPABILITY_VERSION_3 = 0x2008_0522
LAST_CAPABILITY = 63
SIGNAL_SET_BYTES = 128

CLONE_NUMBERS = {"x86_64": 56, "aarch64": 220}

_libc = ctypes.CDLL(None, use_errno=True)
# Looked up once, not again in every fork.
_capset, _mount, _pivot_root, _prctl = _libc.capset, _libc.mount, _libc.pivot_root, _libc.prctl
_setns, _syscall, _umount, _unshare = _libc.setns, _libc.syscall, _libc.umount2, _libc.unshare
_sigprocmask, _no_signals = _libc.sigprocmask, ctypes.create_string_buffer(SIGNAL_SET_BYTES)
_syscall_holding_the_lock = ctypes.PyDLL(None, use_errno=True).syscall
_before_fork = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_in_child = ctypes.pythonapi.PyOS_AfterFork_Child
_after_fork_in_parent = ctypes.pythonapi.PyOS_AfterFork_Parent
_clone_number = CLONE_NUMBERS.get(os.uname().machine, 0)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


_unsigned = tuple(ctypes.c_ulong(value) for value in range(LAST_CAPABILITY + 1))
_this_process = ctypes.byref(_CapabilityHeader(CAPABILITY_VERSION_3, 0))
_no_capabilities = ctypes.byref((_CapabilityData * 2)())


def check(result: int, what: str) -> int:
    """Return a result that is not negative.

    Raises:
        OSError: It is negative; the message names the call.
    """
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def syscall(what: str, number: int, *arguments: object) -> int:
    """Make a system call by number; integers are passed as 64 bits."""
    values = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return check(_syscall(ctypes.c_long(number), *values), what)


def unshare(flags: int) -> None:
    """Move this process (for NEWPID: its later children) into new namespaces."""
    check(_unshare(flags), f"unshare {flags:#x}")


def enter_namespace(descriptor: int) -> None:
    """Move this process into the namespace that a file of /proc/PID/ns stands for."""
    check(_setns(descriptor, 0), "setns")


def fork_into(flags: int) -> tuple[int, int]:
    """Fork, with the child in new namespaces from its beginning: first of its pid namespace.

    One process instead of the two that unshare and fork would make. The interpreter prepares for
    it as for os.fork; the C library does not know of it, so the child should do little else than
    fork again in the usual way.

    Returns:
        The process id, 0 in the child, and in the parent a pidfd.
    """
    zero, pidfd = ctypes.c_long(0), ctypes.c_int(-1)
    arguments = ctypes.c_long(_clone_number), ctypes.c_ulong(flags | CLONE_PIDFD | signal.SIGCHLD)
    _before_fork()
    pid: int = _syscall_holding_the_lock(*arguments, zero, ctypes.byref(pidfd), zero, zero)
    if pid == 0:
        _after_fork_in_child()
    else:
        _after_fork_in_parent()
    return check(pid, f"clone {flags:#x}"), pidfd.value


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Mount a file system, bind a path, or change the flags of a mount."""
    paths = (path.encode("utf-8", "surrogateescape") for path in (source, target))
    options = ctypes.c_ulong(flags), data.encode() or None
    if _mount(*paths, kind.encode() if kind else None, *options) < 0:
        check(-1, f"mount {kind or 'bind'} {target}")


def unmount(target: str) -> None:
    """Detach a mount and everything below it."""
    check(_umount(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root of this mount namespace and put the old one at `old`."""
    check(_pivot_root(os.fsencode(new), os.fsencode(old)), f"pivot_root {new}")


def prctl(option: int, value: object, pointer: object = 0) -> None:
    """Set an attribute of this process."""
    values = [ctypes.c_ulong(a) if isinstance(a, int) else a for a in (value, pointer, 0, 0)]
    check(_prctl(option, *values), f"prctl {option}")


def map_user(uid: int, gid: int, outer_uid: int, outer_gid: int) -> None:
    """Map one user and group of the new user namespace of this process to those outside."""
    write_file("/proc/self/setgroups", b"deny")
    write_file("/proc/self/uid_map", b"%d %d 1" % (uid, outer_uid))
    write_file("/proc/self/gid_map", b"%d %d 1" % (gid, outer_gid))


def write_file(path: str, data: bytes) -> None:
    """Write one of the kernel's files; touches far less memory than an open file object."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def drop_bounding_set() -> None:
    """Give up for ever every capability that a program file could bring back."""
    for capability in _unsigned:
        if _prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break


def drop_capabilities() -> None:
    """Give up every capability that this process holds."""
    check(_capset(_this_process, _no_capabilities), "capset")


def forbid_new_privileges() -> None:
    """Give up, for this process and all it will start, every way to more rights."""
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def set_dumpable(value: int) -> None:
    """Say whether processes of the same user may trace this one and read its files in /proc."""
    check(_prctl(PR_SET_DUMPABLE, _unsigned[value], 0, 0, 0), "prctl dumpable")


def unblock_signals() -> None:
    """Let all signals through; signal.pthread_sigmask touches much more memory."""
    _sigprocmask(signal.SIG_SETMASK, _no_signals, None)


def trim_memory() -> None:
    """Return what the C library has freed to the kernel."""
    with suppress(AttributeError):  # only in the GNU one
        _libc.malloc_trim(ctypes.c_size_t(0))
