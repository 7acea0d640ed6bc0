import hashlib
import io
import json
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agentevo_environments.errors import LimitsError, SandboxDiedError, SandboxUnavailableError
from agentevo_environments.sandboxes.base import Limits, Program
from agentevo_environments.sandboxes.docker import DockerSandbox, gc, image, reaper
from agentevo_environments.sandboxes.docker.daemon import connect

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("docker_daemon")]

COUNT_RUNS = "import time; print(time.time_ns())"


@pytest.fixture(scope="module")
def sandbox(docker_daemon: None) -> Iterator[DockerSandbox]:
    with DockerSandbox() as started:
        yield started


def test_programs_see_nothing_of_the_host(sandbox: DockerSandbox) -> None:
    code = "import os; print(os.getuid() > 999, os.getcwd(), sorted(os.listdir('/tmp')))"
    assert sandbox.exec(Program(code=code)).stdout == "True /tmp/work ['work']\n"


def test_every_execution_has_a_user_of_its_own(sandbox: DockerSandbox) -> None:
    users = {sandbox.exec(Program(code="import os; print(os.getuid())")).stdout for _ in range(5)}
    assert len(users) == 5


def test_an_execution_id_runs_once(sandbox: DockerSandbox) -> None:
    first = sandbox.exec(Program(code=COUNT_RUNS), execution_id="once")
    again = sandbox.exec(Program(code=COUNT_RUNS), execution_id="once")
    assert (again.stdout, again.replayed, first.replayed) == (first.stdout, True, False)


def test_binary_input_and_undecodable_output_come_through(sandbox: DockerSandbox) -> None:
    data = bytes(range(256)) * 300
    code = "import sys; d = sys.stdin.buffer.read(); print(len(d), d[:3], flush=True); sys.stdout.buffer.write(b'\\xff')"
    result = sandbox.exec(Program(code=code, stdin=data))
    assert result.stdout.startswith("76800 b'\\x00\\x01\\x02'")
    assert "\ufffd" in result.stdout


def test_names_with_newlines_survive_the_round_trip(sandbox: DockerSandbox) -> None:
    sandbox.reset()
    sandbox.put("a folder/line\nbreak", b"\x00\xff")
    code = "import os, shutil; shutil.copy('a folder/line\\nbreak', 'copy\\n')"
    assert sandbox.exec(Program(code=code), keep_files=True).ok
    assert list(sandbox.workspace()) == ["a folder/line\nbreak", "copy\n"]
    assert sandbox.get("copy\n") == b"\x00\xff"


@pytest.mark.parametrize("size", [20 << 20, 80 << 20])
def test_files_beyond_the_limits_are_refused(sandbox: DockerSandbox, size: int) -> None:
    with pytest.raises(LimitsError, match=f"the largest {size}"):
        sandbox.exec(Program(code="print(1)", files={"big": bytes(size)}))


def test_more_memory_than_allowed_is_a_memory_limit(sandbox: DockerSandbox) -> None:
    result = sandbox.exec(Program(code="x = b'1' * (700 << 20)"))
    assert result.ending == "memory_limit"


def test_limits_of_an_execution_hold_although_the_container_had_others(
    sandbox: DockerSandbox,
) -> None:
    small = Limits(disk_bytes=4 << 20, files=16)
    code = "import os\nfor i in range(40): open(str(i), 'w').close()"
    assert "No space left" in sandbox.exec(Program(code=code), limits=small).stderr
    assert sandbox.exec(Program(code=code)).ok


@pytest.mark.parametrize("limit", ["timeout_s", "memory_bytes", "output_bytes", "files"])
@pytest.mark.parametrize("value", [0, -1])
def test_limits_of_zero_or_less_are_refused(limit: str, value: int) -> None:
    with pytest.raises(LimitsError, match=limit):
        Limits(**{limit: value})


def test_threads_share_a_sandbox(docker_daemon: None) -> None:
    with DockerSandbox(containers=2) as shared, ThreadPoolExecutor(4) as threads:
        programs = [Program(code=f"print({i} * 7)") for i in range(12)]
        outputs = [result.stdout for result in threads.map(shared.exec, programs)]
    assert outputs == [f"{i * 7}\n" for i in range(12)]


def test_a_sandbox_outlives_its_container(sandbox: DockerSandbox) -> None:
    sandbox.reset()
    sandbox.put("kept", b"1")
    client = connect()
    try:
        for container in client.containers.list(filters={"label": reaper.LABEL_SANDBOX}):
            container.kill()
    finally:
        client.close()
    with pytest.raises(SandboxDiedError):
        sandbox.exec(Program(code="print(1)"))
    assert sandbox.exec(Program(code="print(open('kept').read())")).stdout == "1\n"


def test_closing_removes_every_container(docker_daemon: None) -> None:
    with DockerSandbox(run_id="closing") as started:
        started.exec(Program(code="print(1)"))
        assert _containers("closing") == 1
    assert _containers("closing") == 0


def test_the_image_is_small_and_made_once(docker_daemon: None) -> None:
    client = connect()
    try:
        name = image.ensure_image(client)
        made = client.images.get(name)
        assert made.attrs["Size"] <= 40 << 20
        assert made.labels[image.LABEL_SOURCE] == image.source_fingerprint()
        assert image.ensure_image(client) == name
    finally:
        client.close()


def test_equal_interpreters_make_equal_archives(tmp_path: Path) -> None:
    assert image.write_archive(tmp_path / "a.tar") == image.write_archive(tmp_path / "b.tar")


def test_an_image_that_is_missing_is_named(docker_daemon: None) -> None:
    with pytest.raises(SandboxUnavailableError, match=r"no image 'absent:latest'.*docker pull"):
        DockerSandbox(image="absent:latest").start()


def test_a_dockerfile_builds_on_the_default_image(docker_daemon: None, tmp_path: Path) -> None:
    recipe = tmp_path / "Dockerfile"
    (tmp_path / "extra.py").write_text("ANSWER = 42\n")
    recipe.write_text("ARG BASE\nFROM ${BASE}\nCOPY extra.py /usr/lib/python3/extra.py\n")
    with DockerSandbox(dockerfile=recipe) as built:
        code = "import sys; sys.path.append('/usr/lib/python3'); import extra; print(extra.ANSWER)"
        assert built.exec(Program(code=code)).stdout == "42\n"


def test_an_image_without_python_is_refused(docker_daemon: None, tmp_path: Path) -> None:
    recipe = tmp_path / "Dockerfile"
    (tmp_path / "note").write_text("nothing")
    recipe.write_text("FROM scratch\nCOPY note /note\n")
    with pytest.raises(SandboxUnavailableError, match="python3"):
        DockerSandbox(dockerfile=recipe).start()


def test_an_image_for_another_platform_is_refused(docker_daemon: None) -> None:
    client = connect()
    try:
        (other,) = client.images.load(empty_image(os_name="linux", architecture="s390x"))
        try:
            with pytest.raises(SandboxUnavailableError, match=r"linux/s390x.*name an image for"):
                DockerSandbox(image=str(other.id)).start()
        finally:
            client.images.remove(str(other.id))
    finally:
        client.close()


def empty_image(*, os_name: str, architecture: str) -> bytes:
    """Return an image without files in the format of `docker save`."""
    layer = bytes(10240)  # a tar archive that has ended
    digests = [f"sha256:{hashlib.sha256(layer).hexdigest()}"]
    config = {
        "os": os_name,
        "architecture": architecture,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": digests},
    }
    manifest = [{"Config": "config.json", "Layers": ["layer.tar"], "RepoTags": None}]
    saved = io.BytesIO()
    with tarfile.open(fileobj=saved, mode="w") as archive:
        for name, data in (
            ("config.json", json.dumps(config).encode()),
            ("layer.tar", layer),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return saved.getvalue()


def test_a_python_that_does_not_speak_the_protocol_is_refused(
    docker_daemon: None, tmp_path: Path
) -> None:
    recipe = tmp_path / "Dockerfile"
    (tmp_path / "python3").write_text("#!/bin/sh\necho 'Python 2.7 knows no -X utf8' >&2\nexit 2\n")
    (tmp_path / "python3").chmod(0o755)
    recipe.write_text("ARG BASE\nFROM ${BASE}\nCOPY python3 /usr/bin/python3\n")
    with pytest.raises(SandboxUnavailableError, match=r"runner does not start.*Python 2\.7"):
        DockerSandbox(dockerfile=recipe).start()
    with DockerSandbox() as sandbox:  # is not made of the image that was built on it
        assert sandbox.exec(Program(code="print(42)")).stdout == "42\n"


def test_an_unknown_runtime_is_refused(docker_daemon: None) -> None:
    with pytest.raises(SandboxUnavailableError, match="runtime"):
        DockerSandbox(runtime="no-such-runtime").start()


def test_no_daemon_is_said_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    with pytest.raises(SandboxUnavailableError, match=r"no Docker daemon answers.*dockerd"):
        DockerSandbox().start()


def test_the_reaper_removes_what_has_no_owner(docker_daemon: None) -> None:
    client = connect()
    try:
        kept = _idle_container(client, reaper.owner_labels(lifetime_s=600))
        orphan = _idle_container(
            client, reaper.owner_labels(lifetime_s=600) | {reaper.LABEL_STARTED: "1"}
        )
        expired = _idle_container(client, reaper.owner_labels(lifetime_s=-1))
        removed = gc(client)
        assert {orphan, expired} <= set(removed)
        assert kept not in removed
        client.containers.get(kept).remove(force=True)
    finally:
        client.close()


def test_owners_in_another_process_namespace_are_left_alone() -> None:
    labels = reaper.owner_labels(lifetime_s=600) | {reaper.LABEL_BOOT: "elsewhere"}
    assert not reaper.is_stale(labels)
    assert reaper.is_stale(labels, now=time.time() + 601)


def _idle_container(client, labels: dict[str, str]) -> str:  # type: ignore[no-untyped-def]
    made = client.containers.create(image.ensure_image(client), ["sleep", "60"], labels=labels)
    return str(made.name)


def _containers(run_id: str) -> int:
    client = connect()
    try:
        label = f"{reaper.LABEL_RUN}={run_id}"
        return len(client.containers.list(all=True, filters={"label": label}))
    finally:
        client.close()
