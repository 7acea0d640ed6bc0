"""One started container and its runner, asked one thing at a time."""

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentevo_environments.errors import (
    ProtocolError,
    SandboxDiedError,
    SandboxUnavailableError,
)
from agentevo_environments.sandboxes import protocol
from agentevo_environments.sandboxes.base import Limits, Program
from agentevo_environments.sandboxes.docker.channel import Channel
from agentevo_environments.sandboxes.docker.creation import (
    Settings,
    Shape,
    boot_message,
    create_container,
)

if TYPE_CHECKING:
    from docker import DockerClient

START_LIMIT_S = 60.0
"""Longest wait for a container's runner to be ready."""

ANSWER_GRACE_S = 20.0
"""How long past its own time limit an execution's answer may take to arrive."""

_SLOWEST_BYTES_PER_S = 4 << 20


class Container:
    """A started container with a runner that is ready.

    Args:
        client: Connection to the daemon.
        settings: How to make it.
        shape: The limits that it enforces as a whole.

    Raises:
        SandboxUnavailableError: It cannot be made or does not get ready.
    """

    def __init__(self, client: "DockerClient", settings: Settings, shape: Shape) -> None:
        from docker.errors import DockerException
        from requests.exceptions import RequestException

        self.shape = shape
        self._closing = ExitStack()
        self.expires = time.monotonic() + settings.lifetime_s / 2
        self._client = client
        try:
            self.id = create_container(client, settings, shape)
        except (DockerException, RequestException) as error:
            raise SandboxUnavailableError(
                f"the Docker daemon cannot make a container of image {settings.image!r}: {error}; "
                "check that the daemon runs and has the image and the runtime"
            ) from error
        try:
            self._channel = Channel(client, self.id)
            self._closing.callback(self._channel.close)
            client.api.start(self.id)
            self._get_ready()
        except BaseException as error:
            self.close()
            if isinstance(error, (DockerException, RequestException)):
                raise SandboxUnavailableError(
                    f"a container of image {settings.image!r} does not start: {error}; the image "
                    "needs the program python3 on its PATH"
                ) from error
            raise

    def _get_ready(self) -> None:
        self._channel.wait_at_most(START_LIMIT_S)
        try:
            self._channel.send(boot_message())
            ready = protocol.read_frame(self._channel.receive)
        except (SandboxDiedError, ProtocolError) as error:
            raise SandboxUnavailableError(
                f"the runner does not start: {self._why(error)}"
            ) from error
        if ready is None or not ready.header.get("ready"):
            raise SandboxUnavailableError(f"the runner does not start: {self._why()}")

    def execute(self, program: Program, files: Mapping[str, bytes], request: "Request") -> "Reply":
        """Run a program.

        Args:
            program: What to run.
            files: All files of its working directory.
            request: Under which conditions.

        Raises:
            SandboxDiedError: The container has ended; the execution may or may not have run.
        """
        code = (program.code or "").encode("utf-8", "surrogatepass")
        header = request.header(program, files)
        data = protocol.encode(header, [code, program.stdin, *files.values()])
        transfer_s = (len(data) + request.limits.disk_bytes) / _SLOWEST_BYTES_PER_S
        self._channel.wait_at_most(request.limits.timeout_s + ANSWER_GRACE_S + transfer_s)
        limit = 2 * request.limits.output_bytes + request.limits.disk_bytes
        limit_bytes = limit + protocol.HEADER_LIMIT_BYTES
        try:
            self._channel.send(data)
            frame = protocol.read_frame(self._channel.receive, limit_bytes=limit_bytes)
        except ProtocolError as error:
            raise SandboxDiedError(f"the runner sent no answer: {self._why(error)}") from error
        if frame is None:
            raise SandboxDiedError(f"the container has ended: {self._why()}")
        return Reply.of(frame)

    def _why(self, error: Exception | None = None) -> str:
        said = self._channel.stderr.decode("utf-8", "replace").strip()
        return " ".join(part for part in (str(error or ""), said) if part) or "it gave no reason"

    def close(self) -> None:
        """Remove the container and close the connection. May be called twice."""
        self._remove()
        self._closing.close()

    def _remove(self) -> None:
        """Remove it; a daemon that is gone cannot be asked, and its containers end by themselves."""
        from docker.errors import DockerException, NotFound
        from requests.exceptions import RequestException

        with suppress(RequestException, DockerException):
            try:
                self._client.api.remove_container(self.id, force=True, v=True)
            except NotFound:
                return
            except DockerException:
                self._client.api.wait(self.id, condition="removed", timeout=10)


@dataclass(frozen=True, slots=True)
class Request:
    """The conditions of one execution.

    Attributes:
        limits: What it may use.
        keep_files: Whether the files that it leaves are wanted.
    """

    limits: Limits
    keep_files: bool

    def header(self, program: Program, files: Mapping[str, bytes]) -> dict[str, Any]:
        """Return the frame's header."""
        limits = self.limits
        return {
            "argv": None if program.argv is None else list(program.argv),
            "files": list(files),
            "keep_files": self.keep_files,
            "timeout_s": limits.timeout_s,
            "processes": limits.processes,
            "output_bytes": limits.output_bytes,
            "file_bytes": limits.file_bytes,
            "disk_bytes": limits.disk_bytes,
            "file_count": limits.files,
            "open_files": limits.open_files,
        }


@dataclass(frozen=True, slots=True)
class Reply:
    """The runner's answer.

    Attributes:
        header: How the execution ended.
        stdout: Its standard output.
        stderr: Its standard error.
        files: The files that it left.
    """

    header: Mapping[str, Any]
    stdout: bytes
    stderr: bytes
    files: Mapping[str, bytes]

    @classmethod
    def of(cls, frame: protocol.Frame) -> "Reply":
        """Return the answer in a frame."""
        stdout, stderr, *contents = frame.blobs
        files = dict(zip(frame.header["files"], contents, strict=True))
        return cls(frame.header, stdout, stderr, files)
