"""Attacks on other processes and on the kernel's interfaces."""

from agentevo_environments.conformance.attacks.attack import Attack, program

OWN_PIDS = """
import ctypes, os, signal
isolated = os.readlink("/proc/self/ns/pid") != HOST_PIDS
def others():
    mine = {os.getpid()}
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in mine]
"""

KILL_ALL = (
    OWN_PIDS
    + """
if isolated:
    for target in (-1, os.getppid(), 1):
        if target:
            try:
                os.kill(target, signal.SIGKILL)
            except OSError:
                pass
else:
    try:
        os.kill(VICTIM, 0)
        reached("signalling a process of the host")
    except OSError:
        pass
"""
)

STOP_ALL = (
    OWN_PIDS
    + """
if isolated:
    for pid in others():
        for number in (signal.SIGSTOP, signal.SIGINT, signal.SIGTERM):
            try:
                os.kill(pid, number)
            except OSError:
                pass
else:
    try:
        os.kill(VICTIM, signal.SIGCONT)
        reached("signalling a process of the host")
    except OSError:
        pass
"""
)

PTRACE = (
    OWN_PIDS
    + """
libc = ctypes.CDLL(None, use_errno=True)
for pid in (others() if isolated else [VICTIM]):
    if libc.ptrace(16, pid, 0, 0) == 0:
        reached(f"tracing process {pid}")
        try:
            os.waitpid(pid, 0)
        except OSError:
            pass
        libc.ptrace(17, pid, 0, 0)
"""
)

PROCESS_MEMORY = (
    OWN_PIDS
    + """
for pid in (others() if isolated else [VICTIM]):
    for name in ("mem", "environ", "maps"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                if name == "mem" or file.read(1):
                    reached(f"reading {name} of process {pid}")
                    break
        except OSError:
            pass
"""
)

PROCESS_DESCRIPTORS = (
    OWN_PIDS
    + """
for pid in (others() if isolated else [VICTIM]):
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        continue
    for name in names:
        try:
            os.close(os.open(f"/proc/{pid}/fd/{name}", os.O_RDWR | os.O_NONBLOCK))
            reached(f"opening descriptor {name} of process {pid}")
            break
        except OSError:
            pass
"""
)

DAEMON = """
import os, sys, time, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        os.closerange(0, 3)
        os.execv(sys.executable, ["python3", "-c", "import time; time.sleep(30) #" + TOKEN])
    os._exit(0)
os.wait()
time.sleep(0.2)
"""

DAEMON_AFTER_TIMEOUT = DAEMON + "time.sleep(60)\n"

SYSCTLS = """
import os
for path in ("kernel/core_pattern", "kernel/hostname", "kernel/domainname", "kernel/modprobe", "kernel/sysrq",
             "kernel/randomize_va_space", "kernel/panic", "vm/drop_caches", "vm/overcommit_memory",
             "fs/file-max", "net/ipv4/ip_forward", "fs/binfmt_misc/register"):
    try:
        os.close(os.open("/proc/sys/" + path, os.O_WRONLY))
        reached("writing the setting " + path)
    except OSError:
        pass
"""

KERNEL_FILES = """
import glob, os
for path in ("/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/kernel/mm/ksm/run",
             "/proc/irq/0/smp_affinity", "/sys/fs/cgroup/release_agent", "/sys/fs/cgroup/memory/cgroup.procs",
             "/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/memory.limit_in_bytes",
             "/sys/fs/cgroup/memory.max", "/proc/1/oom_score_adj", "/proc/bus/pci"):
    try:
        os.close(os.open(path, os.O_WRONLY))
        reached("writing " + path)
    except OSError:
        pass
for path in ("/proc/kcore", "/proc/kallsyms", "/dev/kmsg", "/sys/kernel/debug", "/sys/kernel/security/lsm"):
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
        if os.path.isdir(path) and not os.listdir(path):
            continue
    except OSError:
        continue
    if path != "/proc/kallsyms":
        reached("reading " + path)
    elif any(int(line.split()[0], 16) for line in open(path).readlines()[:50]):
        reached("kernel addresses")
"""

NAMESPACES = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("network", 0x40000000), ("process", 0x20000000)):
    if os.fork() == 0:
        if libc.unshare(flag) == 0:
            reached(f"a new {name} namespace")
        os._exit(0)
    os.wait()
for pid in [name for name in os.listdir("/proc") if name.isdigit()]:
    for name in ("net", "user", "mnt", "ipc"):
        try:
            descriptor = os.open(f"/proc/{pid}/ns/{name}", os.O_RDONLY)
        except OSError:
            continue
        if libc.setns(descriptor, 0) == 0:
            reached(f"the {name} namespace of process {pid}")
        os.close(descriptor)
"""

MOUNT = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
if os.fork() == 0:
    libc.unshare(0x10000000 | 0x20000)
    os.makedirs("mounted", exist_ok=True)
    if libc.mount(b"none", b"mounted", b"tmpfs", 0, None) == 0:
        reached("mounting a file system")
        libc.umount2(b"mounted", 2)
    os._exit(0)
os.wait()
if os.fork() == 0:
    try:
        os.chroot(".")
        reached("changing the root")
    except OSError:
        pass
    os._exit(0)
os.wait()
"""

KERNEL_CALLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
x86 = os.uname().machine == "x86_64"
blank = ctypes.create_string_buffer(256)
for name, number, arguments, allowed in (
    ("bpf", 321 if x86 else 280, (5, blank, 0), ()),
    ("io_uring", 425 if x86 else 425, (4, blank), ()),
    ("keyctl", 250 if x86 else 219, (0, -3, 1), ()),
    ("perf_event_open", 298 if x86 else 241, (blank, 0, -1, -1, 0), ()),
    ("userfaultfd", 323 if x86 else 282, (1,), ()),
    ("open_by_handle_at", 304 if x86 else 265, (-100, blank, 0), ()),
    ("init_module", 175 if x86 else 105, (blank, 0, blank), ()),
    ("swapoff", 168 if x86 else 225, (b"/nonexistent",), ()),
):
    ctypes.set_errno(0)
    result = libc.syscall(number, *arguments)
    error = ctypes.get_errno()
    # Anything but a refusal shows that the kernel looked at the arguments.
    if result >= 0 or error not in (1, 13, 38):
        reached(f"the kernel call {name} ({result}, {os.strerror(error)})")
"""

PRIVILEGES = """
fields = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
    if int(fields[name], 16):
        reached(f"capabilities {name} {fields[name].strip()}")
if fields["NoNewPrivs"].strip() != "1":
    reached("the right to gain privileges")
if fields["Seccomp"].strip() != "2":
    reached("all system calls")
"""

CLOCK = """
import os, socket, time
try:
    time.clock_settime(time.CLOCK_REALTIME, time.time())
    reached("setting the clock")
except OSError:
    pass
try:
    socket.sethostname(socket.gethostname())
    reached("setting the host's name")
except OSError:
    pass
"""

ATTACKS = (
    Attack("kill_all", "processes", "kill all, the parent, and process 1", (program(KILL_ALL),)),
    Attack("stop_all", "processes", "stop the processes around it", (program(STOP_ALL),)),
    Attack("ptrace", "processes", "trace other processes", (program(PTRACE),)),
    Attack(
        "process_memory", "processes", "read memory of other processes", (program(PROCESS_MEMORY),)
    ),
    Attack(
        "process_descriptors",
        "processes",
        "take descriptors of others",
        (program(PROCESS_DESCRIPTORS),),
    ),
    Attack("daemon_after_exit", "processes", "live on after the end", (program(DAEMON),)),
    Attack(
        "daemon_after_timeout",
        "processes",
        "live on after the timeout",
        (program(DAEMON_AFTER_TIMEOUT),),
    ),
    Attack("sysctls", "kernel", "change settings of the kernel", (program(SYSCTLS),)),
    Attack("kernel_files", "kernel", "use files of the kernel", (program(KERNEL_FILES),)),
    Attack("namespaces", "kernel", "make or enter namespaces", (program(NAMESPACES),)),
    Attack("mount", "kernel", "mount a file system, change the root", (program(MOUNT),)),
    Attack("kernel_calls", "kernel", "use risky system calls", (program(KERNEL_CALLS),)),
    Attack("privileges", "kernel", "hold capabilities or ways to them", (program(PRIVILEGES),)),
    Attack("clock_and_name", "kernel", "set the clock and the host's name", (program(CLOCK),)),
)
