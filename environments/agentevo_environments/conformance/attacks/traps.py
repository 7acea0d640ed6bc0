"""Things on the host that an attack must not reach, and traces that it must not leave there."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

SECRET_VARIABLE = "AGENTEVO_ATTACK_SECRET"
SETTLE_S = 1.0
"""How long what an attack started may still be found dying."""

_GREETING = b"canary"
_HOST_FOLDERS = ("/etc", "/usr", "/root", "/var/tmp", "/tmp", "/dev/shm", "/home", "/opt")


@dataclass(slots=True)
class HostTraps:
    """Canaries of one attack: a secret, listeners, a victim process, and a marked name.

    Attributes:
        token: Unique name; any process or file on the host that bears it is a trace.
        secret: Content of the secret file, variable and descriptor.
        folder: Host folder with the secret file.
    """

    token: str = field(default_factory=lambda: "attack" + secrets.token_hex(8))
    secret: str = field(default_factory=lambda: "canary" + secrets.token_hex(16))
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="agentevo-attack-")))
    _listeners: list[socket.socket] = field(default_factory=list)
    _visitors: list[str] = field(default_factory=list)
    _victim: subprocess.Popen[bytes] | None = None
    _descriptor: int = -1
    _port: int = 0

    def open(self) -> None:
        """Set the traps. The folder and the secret file are readable by everyone."""
        self.folder.chmod(0o777)
        file = self.folder / "secret.txt"
        file.write_text(self.secret)
        file.chmod(0o666)
        os.environ[SECRET_VARIABLE] = self.secret
        self._descriptor = os.open(file, os.O_RDWR)
        os.set_inheritable(self._descriptor, True)
        self._victim = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(120)"], start_new_session=True
        )
        self._listen(socket.AF_INET, ("0.0.0.0", 0), "a TCP port of the host")
        self._listen(socket.AF_UNIX, f"\0{self.token}", "an abstract socket of the host")
        self._listen(socket.AF_UNIX, str(self.folder / "socket"), "a socket file of the host")
        (self.folder / "socket").chmod(0o777)

    def _listen(self, family: socket.AddressFamily, address: object, name: str) -> None:
        listener = socket.socket(family)
        listener.bind(address)  # type: ignore[arg-type]
        listener.listen()
        self._listeners.append(listener)
        if family == socket.AF_INET:
            self._port = listener.getsockname()[1]
        threading.Thread(target=self._greet, args=(listener, name), daemon=True).start()

    def _greet(self, listener: socket.socket, name: str) -> None:
        with suppress(OSError):
            while True:
                visitor, _ = listener.accept()
                self._visitors.append(name)
                with visitor, suppress(OSError):
                    visitor.sendall(_GREETING)

    def constants(self) -> str:
        """Return Python source that tells a program where the traps are, and defines `reached`."""
        victim = self._victim.pid if self._victim else 0
        namespace = str(Path("/proc/self/ns/pid").readlink())
        return (
            f"TOKEN = {self.token!r}\nHOST_FOLDER = {str(self.folder)!r}\nPORT = {self._port}\n"
            f"VICTIM = {victim}\nHOST_PIDS = {namespace!r}\nHOST_IPS = {_addresses()!r}\n"
            f"VARIABLE = {SECRET_VARIABLE!r}\nHOST_FOLDERS = {_HOST_FOLDERS!r}\n"
        )

    def traces(self) -> list[str]:
        """Return what the attack left or did on the host; waits for dying processes to be gone."""
        found = list(self._visitors)
        if (self.folder / "secret.txt").read_bytes() != self.secret.encode():
            found.append("the host's secret file was changed")
        if {path.name for path in self.folder.iterdir()} != {"secret.txt", "socket"}:
            found.append("files were created in a host folder")
        if self._victim and self._victim.poll() is not None:
            found.append("a process of the host was killed")
        found += [f"{path} was created" for path in self._marked_files()]
        deadline = time.monotonic() + SETTLE_S
        while (alive := self._marked_processes()) and time.monotonic() < deadline:
            time.sleep(0.02)
        return found + [f"process {pid} survived" for pid in alive]

    def _marked_files(self) -> list[Path]:
        return [path for folder in _HOST_FOLDERS for path in Path(folder).glob(f"{self.token}*")]

    def _marked_processes(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            with suppress(OSError):
                if self.token.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found

    def close(self) -> None:
        """Remove the traps and whatever the attack left on the host."""
        for pid in self._marked_processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for path in self._marked_files():
            path.unlink()
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        if self._victim:
            self._victim.kill()
            self._victim.wait()
        if self._descriptor >= 0:
            os.close(self._descriptor)
        os.environ.pop(SECRET_VARIABLE, None)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def host_traps() -> Iterator[HostTraps]:
    """Set the traps and take them away whatever happens."""
    traps = HostTraps()
    try:
        traps.open()
        yield traps
    finally:
        traps.close()


def _addresses() -> list[str]:
    """Return the IPv4 addresses of this machine's interfaces, loopback first."""
    found = {"127.0.0.1"}
    with suppress(OSError):
        lines = Path("/proc/net/fib_trie").read_text().splitlines()
        for previous, line in pairwise(lines):
            if "/32 host LOCAL" in line:
                found.add(previous.split()[-1])
    return sorted(found, key=lambda address: (not address.startswith("127."), address))
