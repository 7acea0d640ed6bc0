"""Launch: start the keeper and the server of one tier and talk to them until they end."""

import json
import os
import select
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from agentevo_environments.errors import ProtocolError, SandboxDiedError, SandboxUnavailableError
from agentevo_environments.sandboxes.embedded import guest
from agentevo_environments.sandboxes.embedded.layout import Layout
from agentevo_environments.sandboxes.protocol import Frame, read_frame

Tier = Literal["T1", "T2", "T3", "T4"]

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 5.0

UNPRIVILEGED_UID = 65530
"""The user that a sandbox started by root becomes.

65520 to 65533 belongs to no distribution, no account tool and not to systemd's dynamic users
(which end at 65519), so nothing else on the machine runs under it or owns files with it; nobody
(65534) is shared with other services.
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to start a sandbox's processes.

    Attributes:
        tier: "T1" to "T4".
        layout: What is visible inside.
        slots: Number of slots.
        cgroups: Whether to limit memory by control groups where that is possible.
    """

    tier: Tier
    layout: Layout
    slots: int
    cgroups: bool = True


class Server:
    """The processes of a started sandbox, and the control socket to them.

    Raises:
        SandboxUnavailableError: They cannot run here; the message says why.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        ours, theirs = socket.socketpair()
        with theirs:
            self._keeper = _start_keeper(settings, theirs)
        self.control = ours
        self._closing = threading.Lock()
        try:
            self.groups: Mapping[str, Any] | None = self._expect("groups")
            self._expect("server")
        except BaseException:
            self.close()
            raise
        assert self._keeper.stderr is not None
        self._keeper.stderr.close()

    def _expect(self, key: str) -> Any:
        self.control.settimeout(START_TIMEOUT_S)
        try:
            frame: Frame | None = read_frame(self.control.recv)
        except (OSError, ProtocolError) as error:
            raise self._unavailable(str(error)) from error
        if frame is None or key not in frame.header:
            raise self._unavailable("it ended while starting")
        return frame.header[key]

    def _unavailable(self, reason: str) -> SandboxUnavailableError:
        self.control.close()
        try:
            output = self._keeper.communicate(timeout=STOP_TIMEOUT_S)[1]
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            output = self._keeper.communicate()[1]
        told = output.decode(errors="replace").strip().splitlines()
        return SandboxUnavailableError(
            f"tier {self.settings.tier} of the embedded sandbox cannot start:"
            f" {told[-1][:500] if told else reason}"
        )

    def arm(self, slot: int, channels: Sequence[int]) -> None:
        """Ask for a slot to be armed; it is announced through `receive`.

        Args:
            slot: Its number.
            channels: The slot's ends of its channels, in the order of `guest.slot.Channels`.

        Raises:
            SandboxDiedError: The server has ended.
        """
        try:
            socket.send_fds(self.control, [bytes((slot,))], channels)
        except OSError as error:
            raise died() from error

    def receive(self) -> int:
        """Return the pidfd of the next armed slot, in the order in which they were asked for.

        Raises:
            SandboxDiedError: The server has ended.
        """
        try:
            _, descriptors, _, _ = socket.recv_fds(self.control, 1, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise died() from error
        if not descriptors:
            raise died()
        return descriptors[0]

    def has_ended(self, within_s: float) -> bool:
        """Return whether the server has ended, or does within a time."""
        poll = select.poll()
        poll.register(self.control, select.POLLRDHUP)
        return bool(poll.poll(within_s * 1000))

    def close(self) -> None:
        """End all processes and wait until the keeper has cleaned up. May be called twice."""
        with self._closing:
            self.control.close()
            try:
                self._keeper.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._keeper.kill()
                self._keeper.wait()
            if self._keeper.stderr is not None:
                self._keeper.stderr.close()


def died() -> SandboxDiedError:
    """Return the error for a sandbox whose server has ended."""
    return SandboxDiedError(
        "the embedded sandbox's server has ended (killed from outside, or out of memory):"
        " start a new sandbox"
    )


def find_bubblewrap() -> str | None:
    """Return the path of bubblewrap, or None."""
    return shutil.which("bwrap", path=os.environ.get("PATH", "") + ":/usr/bin:/usr/local/bin")


def _start_keeper(settings: Settings, control: socket.socket) -> subprocess.Popen[bytes]:
    message = {
        **asdict(settings),
        "client": os.getpid(),
        "control": control.fileno(),
        "uid": UNPRIVILEGED_UID if os.geteuid() == 0 else None,
        "bwrap": find_bubblewrap(),
        "python": settings.layout.python,
        "boot": settings.layout.boot,
        "packages": settings.layout.packages,
    }
    boot = Path(guest.__path__[0], "boot.py")
    return subprocess.Popen(
        [settings.layout.python, "-I", "-S", "-B", boot, "keeper", json.dumps(message)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={},
        cwd="/",
        pass_fds=(control.fileno(),),
        start_new_session=True,
    )
