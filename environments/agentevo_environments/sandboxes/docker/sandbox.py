"""`DockerSandbox`: executions in containers of a Docker daemon.

Contained: everything that the Linux kernel's namespaces, capabilities, seccomp filters, resource
limits and control groups hold back. Not contained: an attack on the kernel itself (name a
`runtime` such as gVisor's for that), and use of the processor within the time limit.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentevo_environments.errors import SandboxDiedError
from agentevo_environments.sandboxes.base import (
    DEFAULT_LIMITS,
    Containment,
    ExecResult,
    Limits,
    Program,
)
from agentevo_environments.sandboxes.docker.container import Container, Reply, Request
from agentevo_environments.sandboxes.docker.creation import Settings, Shape
from agentevo_environments.sandboxes.docker.daemon import connect
from agentevo_environments.sandboxes.docker.image import build_image, ensure_image, named_image
from agentevo_environments.sandboxes.docker.reaper import gc
from agentevo_environments.sandboxes.docker.stock import (
    ReusedContainers,
    SingleUseContainers,
    Stock,
)
from agentevo_environments.sandboxes.workspace import WorkspaceSandbox, files_within

if TYPE_CHECKING:
    from docker import DockerClient

GC_INTERVAL_S = 60.0
"""Shortest time between two looks for containers whose owner is gone."""

_CONTAINED = (
    "host files",
    "secrets",
    "network",
    "processes",
    "kernel interfaces",
    "memory, processes, disk, files, output, time",
    "leftovers",
    "copied-out files",
)


class DockerSandbox(WorkspaceSandbox):
    """Runs programs in containers that have no network and nothing of the host.

    Args:
        image: Name of an image with Python 3.11 or newer; by default one is made from the running
            interpreter, without a registry.
        dockerfile: A Dockerfile to build instead, with its folder as context; `ARG BASE` in it
            receives the id of the default image.
        per_exec: What keeps executions apart: "uid", a fresh user in a container that is reused,
            or "container", a container that is used once.
        runtime: Runtime of the daemon, such as "runsc" (gVisor) or "kata".
        containers: How many executions may run at the same time.
        spare: With "container": how many unused containers are kept ready.
        cpus: Processors that a container may use; all when None.
        run_id: What the sandbox works for, shown in the containers' labels.
        limits: The limits for which `start` prepares a container.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(  # noqa: PLR0913 (independent choices, all with defaults)
        self,
        *,
        image: str | None = None,
        dockerfile: str | Path | None = None,
        per_exec: Literal["uid", "container"] = "uid",
        runtime: str | None = None,
        containers: int = 1,
        spare: int = 2,
        cpus: float | None = None,
        run_id: str = "",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        super().__init__()
        if image and dockerfile:
            raise ValueError(f"give image ({image!r}) or dockerfile ({dockerfile!r}), not both")
        if per_exec not in ("uid", "container"):
            raise ValueError(f"per_exec is 'uid' or 'container', not {per_exec!r}")
        if containers < 1 or spare < 0 or (cpus is not None and cpus <= 0):
            raise ValueError(
                f"containers >= 1, spare >= 0 and cpus > 0 are needed, not {containers=}, {spare=}, {cpus=}"
            )
        self._image = image
        self._dockerfile = Path(dockerfile) if dockerfile else None
        self._per_exec = per_exec
        self._options: dict[str, Any] = {"runtime": runtime, "cpus": cpus, "run_id": run_id}
        self._containers, self._spare = containers, spare
        self._limits = limits
        self._client: DockerClient | None = None
        self._stock: Stock | None = None
        self._last_gc = 0.0

    @property
    def containment(self) -> Containment:
        """What this sandbox holds back; the tier names the runtime and the isolation."""
        runtime = self._options["runtime"] or "default runtime"
        return Containment(
            backend="docker",
            tier=f"{runtime}, one {self._per_exec} per execution",
            contains=_CONTAINED,
            not_contained=("attacks on the kernel: shared with the host",)
            if not self._options["runtime"]
            else (),
        )

    def start(self) -> None:
        """Connect to the daemon, have the image, and make the first container.

        Raises:
            SandboxUnavailableError: No daemon answers, or it cannot make the image or a container.
        """
        self._client = connect()
        try:
            self._remove_stale()
            settings = Settings(image=self._find_image(self._client), **self._options)
            self._stock = self._make_stock(self._client, settings)
            self._stock.prepare(Shape.of(self._limits))
        except BaseException:
            self.close()
            raise

    def _find_image(self, client: "DockerClient") -> str:
        if self._image:
            return named_image(client, self._image)
        if self._dockerfile:
            return build_image(client, self._dockerfile)
        return ensure_image(client)

    def _make_stock(self, client: "DockerClient", settings: Settings) -> Stock:
        def make(shape: Shape) -> Container:
            self._remove_stale()
            return Container(client, settings, shape)

        if self._per_exec == "uid":
            return ReusedContainers(make, size=self._containers)
        return SingleUseContainers(make, size=self._containers, spare=self._spare)

    def _remove_stale(self) -> None:
        if self._client is not None and time.monotonic() - self._last_gc > GC_INTERVAL_S:
            self._last_gc = time.monotonic()
            gc(self._client)

    def exec(
        self,
        program: Program,
        *,
        limits: Limits = DEFAULT_LIMITS,
        execution_id: str = "",
        keep_files: bool = False,
    ) -> ExecResult:
        """Run a program in a container whose limits are `limits`; see `Sandbox.exec`.

        Raises:
            LimitsError: The files are more or larger than the limits allow.
            SandboxDiedError: The container or the daemon has ended.
        """
        if self._stock is None:
            raise SandboxDiedError("the sandbox was not started: use it as a context manager")
        stock = self._stock
        request = Request(limits, keep_files)

        def run() -> ExecResult:
            files = files_within(limits, self._workspace.files, program.files)
            with stock.lend(Shape.of(limits)) as container:
                started = time.monotonic()
                reply = container.execute(program, files, request)
                duration_s = time.monotonic() - started
            if keep_files:
                self._workspace.replace(reply.files)
            return _result(reply, execution_id, duration_s)

        return self._executions.once(execution_id, run)

    def close(self) -> None:
        """Remove all containers and close the connection to the daemon."""
        stock, self._stock = self._stock, None
        if stock is not None:
            stock.close()
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _result(reply: Reply, execution_id: str, duration_s: float) -> ExecResult:
    header: Mapping[str, Any] = reply.header
    left_out = header["left_out"]
    ended_itself = header["ending"] in ("exited", "killed")
    return ExecResult(
        ending=header["ending"],
        exit_code=header["status"] if ended_itself else None,
        stdout=reply.stdout.decode("utf-8", "replace"),
        stderr=reply.stderr.decode("utf-8", "replace"),
        truncated=header["truncated"],
        duration_s=duration_s,
        execution_id=execution_id,
        notes=(f"{left_out} files could not be kept",) if left_out else (),
    )
