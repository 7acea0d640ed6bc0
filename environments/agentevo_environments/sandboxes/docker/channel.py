"""The byte stream to a container's process 1: an attached socket of the Engine API."""

import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agentevo_environments.errors import SandboxDiedError

if TYPE_CHECKING:
    from docker import DockerClient

_STREAM_HEADER = struct.Struct("!BxxxI")
_STDERR = 2
_RECEIVE_BYTES = 1 << 16
_STDERR_KEPT_BYTES = 4096


class Channel:
    """Sends to the standard input of a container and receives its standard output.

    The container was created with StdinOnce: when this side closes or dies, standard input ends.

    Args:
        client: Connection to the daemon.
        container_id: A container that is created and not started.
    """

    def __init__(self, client: "DockerClient", container_id: str) -> None:
        params = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
        self._stream: Any = client.api.attach_socket(container_id, params=params)
        self._socket: socket.socket = getattr(self._stream, "_sock", self._stream)
        self._deadline = 0.0
        self._received = b""
        self._remaining = 0
        self.stderr = b""

    def wait_at_most(self, seconds: float) -> None:
        """Set when sending and receiving give up, counted from now."""
        self._deadline = time.monotonic() + seconds

    def send(self, data: bytes) -> None:
        """Send all of `data`.

        Raises:
            SandboxDiedError: The container or the daemon is gone, or the time is over.
        """
        try:
            self._socket.settimeout(self._seconds_left())
            self._socket.sendall(data)
        except OSError as error:
            raise self._died(error) from error

    def receive(self, size: int) -> bytes:
        """Return between 1 and `size` bytes; none at the end of the stream.

        Raises:
            SandboxDiedError: The connection broke, or the time is over.
        """
        while not self._remaining:
            header = self._exactly(_STREAM_HEADER.size)
            if not header:
                return b""
            kind, length = _STREAM_HEADER.unpack(header)
            if kind == _STDERR:
                self.stderr = (self.stderr + self._exactly(length))[-_STDERR_KEPT_BYTES:]
            else:
                self._remaining = length
        data = self._part(min(size, self._remaining))
        self._remaining -= len(data)
        return data

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._part(size - len(data))
            if not part:
                return b""
            data += part
        return data

    def _part(self, size: int) -> bytes:
        if not self._received:
            try:
                self._socket.settimeout(self._seconds_left())
                self._received = self._socket.recv(_RECEIVE_BYTES)
            except OSError as error:
                raise self._died(error) from error
        part, self._received = self._received[:size], self._received[size:]
        return part

    def _seconds_left(self) -> float:
        return max(0.001, self._deadline - time.monotonic())

    def _died(self, error: OSError) -> SandboxDiedError:
        reason = "it did not answer in time" if isinstance(error, TimeoutError) else str(error)
        return SandboxDiedError(f"the connection to the container is lost: {reason}")

    def close(self) -> None:
        """Close the connection, which ends the container."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        # The HTTP response that was hijacked holds further references to the socket.
        response = getattr(self._stream, "_response", None)
        if response is not None:
            response.close()
        self._stream.close()
        self._socket.close()
