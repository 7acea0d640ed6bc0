"""Attacks on the host's files, secrets and network."""

from agentevo_environments.conformance.attacks.attack import Attack, program

HOST_WRITE = """
import os
for folder in (*HOST_FOLDERS, HOST_FOLDER):
    for path in (f"{folder}/{TOKEN}", f"/proc/1/root{folder}/{TOKEN}"):
        try:
            open(path, "w").write("x")
        except OSError:
            pass
try:
    open(HOST_FOLDER + "/secret.txt", "w").write("changed")
except OSError:
    pass
"""

SECRET_FILES = """
import glob
for path in (HOST_FOLDER + "/secret.txt", "/proc/1/root" + HOST_FOLDER + "/secret.txt"):
    try:
        print(open(path).read())
    except OSError:
        pass
for path in ("/etc/shadow", "/proc/1/root/etc/shadow"):
    try:
        if "root:" in open(path).read():
            reached("the passwords of " + path)
    except OSError:
        pass
for name in (".ssh/*", ".netrc", ".bash_history"):
    for path in glob.glob("/*/" + name) + glob.glob("/home/*/" + name):
        reached(path)
"""

SECRET_ENVIRONMENT = """
import glob, os
print(os.environ.get(VARIABLE))
for path in glob.glob("/proc/[0-9]*/environ"):
    try:
        print(open(path, "rb").read().decode("utf-8", "replace"))
    except OSError:
        pass
"""

SECRET_DESCRIPTORS = """
import os
for descriptor in range(3, 256):
    try:
        print(os.pread(descriptor, 4096, 0))
    except OSError:
        pass
"""

SECRET_BY_PROCESS = """
import glob
for process in ["/proc/self"] + glob.glob("/proc/[0-9]*"):
    for way in ("/root", "/cwd/../../../../../.."):
        try:
            print(open(process + way + HOST_FOLDER + "/secret.txt").read())
        except OSError:
            pass
"""

INTERPRETER = """
import os, sys
for path in (sys.executable, os.__file__, "/bin/sh", "/etc/passwd", "/lib/x86_64-linux-gnu/libc.so.6"):
    try:
        os.close(os.open(os.path.realpath(path), os.O_RDWR))
        reached("writing " + path)
    except OSError:
        pass
"""

DEVICES = """
import os, stat
for path in ("/dev/mem", "/dev/kmsg", "/dev/port", "/dev/sda", "/dev/vda", "/dev/nvme0n1", "/dev/kvm",
             "/dev/fuse", "/dev/loop-control", "/dev/net/tun"):
    for flag in (os.O_RDONLY, os.O_WRONLY):
        try:
            os.close(os.open(path, flag | os.O_NONBLOCK))
            reached("opening " + path)
            break
        except OSError:
            pass
for name, device in (("zero", os.makedev(1, 1)), ("disk", os.makedev(254, 0))):
    try:
        os.mknod(name, 0o600 | stat.S_IFBLK, device)
        os.unlink(name)
        reached("making a device")
    except OSError:
        pass
"""

SETUID_PROGRAM = """
import os, subprocess, time
for program in ("/bin/su", "/usr/bin/su", "/usr/bin/passwd", "/usr/bin/mount", "/bin/mount", "/usr/bin/newgrp"):
    try:
        if not os.stat(program).st_mode & 0o4000:
            continue
        child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=-3, stderr=-3)
    except OSError:
        continue
    time.sleep(0.05)
    try:
        status = open(f"/proc/{child.pid}/status").read()
        effective = int(status.split("Uid:")[1].split()[1])
    except (OSError, IndexError):
        effective = os.geteuid()
    child.kill()
    child.communicate()
    if effective == 0:
        reached("root by " + program)
try:
    os.setuid(0)
    reached("root by setuid")
except OSError:
    pass
"""

OWN_SETUID = """
import os, shutil, subprocess
try:
    shutil.copy(shutil.which("id"), "id")
    os.chown("id", 0, 0)
    os.chmod("id", 0o6755)
    if b"uid=0" in subprocess.run(["./id"], capture_output=True).stdout:
        reached("root by its own setuid program")
except (OSError, TypeError):
    pass
"""

SHARED_MEMORY_PROGRAM = """
import os, shutil, subprocess
try:
    shutil.copy(shutil.which("true"), "/dev/shm/" + TOKEN)
    os.chmod("/dev/shm/" + TOKEN, 0o755)
    if subprocess.run(["/dev/shm/" + TOKEN]).returncode == 0:
        reached("running a program from shared memory")
except (OSError, TypeError):
    pass
finally:
    try:
        os.unlink("/dev/shm/" + TOKEN)
    except OSError:
        pass
"""

LOOPBACK = """
import socket
try:
    socket.create_connection(("127.0.0.1", PORT), timeout=1).recv(20)
except OSError:
    pass
"""

ADDRESSES = """
import socket
for address in HOST_IPS[:8] + ["172.17.0.1", "10.0.2.2", "host.docker.internal", "169.254.169.254"]:
    try:
        socket.create_connection((address, PORT), timeout=0.3).recv(20)
        reached("connecting to " + address)
    except OSError:
        pass
"""

ABSTRACT_SOCKET = """
import socket
try:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(1)
    client.connect("\\0" + TOKEN)
    client.recv(20)
except OSError:
    pass
"""

SOCKET_FILES = """
import socket
for path in (HOST_FOLDER + "/socket", "/var/run/docker.sock", "/run/docker.sock",
             "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket", "/run/systemd/private"):
    try:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(1)
        client.connect(path)
        reached("connecting to " + path)
    except OSError:
        pass
"""

RAW_SOCKETS = """
import socket
for name, arguments in (
    ("a packet socket", (17, socket.SOCK_RAW, 0x0300)),
    ("a raw socket", (socket.AF_INET, socket.SOCK_RAW, 1)),
    ("a virtual-machine socket", (40, socket.SOCK_STREAM, 0)),
    ("a kernel crypto socket", (38, socket.SOCK_SEQPACKET, 0)),
    ("a kernel audit socket", (16, socket.SOCK_RAW, 9)),
    ("a netfilter socket", (16, socket.SOCK_RAW, 12)),
):
    try:
        socket.socket(*arguments).close()
        reached(name)
    except OSError:
        pass
"""

INTERFACES = """
import os, socket
try:
    names = [name for _, name in socket.if_nameindex() if name not in ("lo", "sit0", "tunl0", "ip6tnl0")]
except OSError:
    names = []
if names:
    reached("network interfaces " + " ".join(names))
"""

ATTACKS = (
    Attack("host_write", "files", "write to host folders", (program(HOST_WRITE),)),
    Attack(
        "interpreter_write",
        "files",
        "change the interpreter or the system",
        (program(INTERPRETER),),
    ),
    Attack("device_nodes", "files", "open or make devices", (program(DEVICES),)),
    Attack(
        "setuid_program", "files", "become root by an installed program", (program(SETUID_PROGRAM),)
    ),
    Attack("own_setuid_program", "files", "become root by its own program", (program(OWN_SETUID),)),
    Attack(
        "shared_memory_program",
        "files",
        "run a program from /dev/shm",
        (program(SHARED_MEMORY_PROGRAM),),
    ),
    Attack("secret_files", "secrets", "read files of the host", (program(SECRET_FILES),)),
    Attack(
        "secret_environment",
        "secrets",
        "read the client's environment",
        (program(SECRET_ENVIRONMENT),),
    ),
    Attack(
        "secret_descriptors",
        "secrets",
        "read inherited descriptors",
        (program(SECRET_DESCRIPTORS),),
    ),
    Attack(
        "secret_by_process",
        "secrets",
        "read through /proc/PID/root and cwd",
        (program(SECRET_BY_PROCESS),),
    ),
    Attack("host_loopback", "network", "connect to the host's loopback", (program(LOOPBACK),)),
    Attack("host_addresses", "network", "connect to the host's addresses", (program(ADDRESSES),)),
    Attack(
        "abstract_socket", "network", "connect to an abstract socket", (program(ABSTRACT_SOCKET),)
    ),
    Attack("socket_files", "network", "connect to socket files", (program(SOCKET_FILES),)),
    Attack("raw_sockets", "network", "open sockets into the kernel", (program(RAW_SOCKETS),)),
    Attack("interfaces", "network", "see network interfaces", (program(INTERFACES),)),
)
