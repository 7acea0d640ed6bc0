"""The container image: this machine's Python and a minimal userland, made without a registry.

The image holds the running interpreter, its standard library, a shell, the basic tools of
`TOOLS` and every shared library that these need. It is imported once and found again by its
labels, so that a changed interpreter or recipe makes a new image.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from agentevo_environments.errors import SandboxUnavailableError

if TYPE_CHECKING:
    from docker import DockerClient

REPOSITORY = "agentevo-sandbox"
LABEL_SOURCE = "agentevo.sandbox.source"
LABEL_CONTENT = "agentevo.sandbox.content"

RECIPE = "1"
"""Version of what this module puts into the image; part of the source label."""

TOOLS = """
awk base64 basename cat chmod cmp cp cut date diff dirname echo env expr false find grep gunzip gzip
head id ln ls md5sum mkdir mktemp mv nl od paste printf pwd readlink realpath rm rmdir sed seq
sha256sum sleep sort stat tac tail tee test touch tr true uname uniq wc whoami xargs yes
"""
"""Programs that are put beside the interpreter where this machine has them."""

_SKIPPED_FOLDERS = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"} | {
    "site-packages",
    "dist-packages",
    "distutils",
    "pydoc_data",
    "msilib",
    "__phello__",
}
_SKIPPED_FILES = re.compile(
    r"^(_test|xx|_xx|_ctypes_test|_tkinter|nis\.|ossaudiodev|audioop|turtle\.py)|\.(exe|a|bat)$"
)
_LIBRARY = re.compile(r"(/[^\s()]+)")
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nsandbox:x:65534:65534:sandbox:/tmp:/bin/sh\n"
_GROUP = "root:x:0:\nsandbox:x:65534:\n"


def ensure_image(client: "DockerClient") -> str:
    """Return the id of the image of this interpreter, making it when the daemon lacks it.

    Args:
        client: Connection to the daemon.

    Raises:
        SandboxUnavailableError: The daemon runs another platform than this interpreter, or the
            image cannot be imported.
    """
    check_platform(client)
    source = source_fingerprint()
    # The name as well: images that are built on this one inherit its labels.
    found = client.images.list(REPOSITORY, filters={"label": f"{LABEL_SOURCE}={source}"})
    if found:
        return str(found[0].id)
    with tempfile.TemporaryDirectory(prefix="agentevo-image-") as folder:
        archive = Path(folder) / "image.tar"
        content = write_archive(archive)
        return _import(client, archive, source=source, content=content)


def named_image(client: "DockerClient", name: str) -> str:
    """Return the id of an image that the daemon has.

    Raises:
        SandboxUnavailableError: It has no such image, or only one for another platform.
    """
    from docker.errors import ImageNotFound

    try:
        image = client.images.get(name)
    except ImageNotFound as error:
        known = sorted(tag for one in client.images.list() for tag in one.tags)[:8]
        raise SandboxUnavailableError(
            f"the Docker daemon has no image {name!r}, it has {', '.join(known) or 'none'}; "
            f"fetch it with `docker pull {name}`, or leave image out for one made here"
        ) from error
    version = client.version()
    theirs = (image.attrs["Os"], image.attrs["Architecture"])
    if theirs != (version["Os"], version["Arch"]):
        raise SandboxUnavailableError(
            f"image {name!r} is for {'/'.join(theirs)}, the Docker daemon runs "
            f"{version['Os']}/{version['Arch']}: name an image for that platform"
        )
    return str(image.id)


def build_image(client: "DockerClient", dockerfile: Path) -> str:
    """Build an image from a Dockerfile, with its folder as context, and return its id.

    The build argument BASE holds the id of the image that `ensure_image` makes.

    Raises:
        SandboxUnavailableError: The file does not exist, or the build fails; the message ends
            with the build's last lines.
    """
    from docker.errors import APIError

    if not dockerfile.is_file():
        raise SandboxUnavailableError(f"no Dockerfile at {str(dockerfile)!r}; give its path")
    try:
        events = list(
            client.api.build(
                path=str(dockerfile.resolve().parent),
                dockerfile=dockerfile.name,
                buildargs={"BASE": ensure_image(client)},
                rm=True,
                decode=True,
            )
        )
    except APIError as error:
        events = [{"error": str(error.explanation)}]
    made = [event["aux"]["ID"] for event in events if "ID" in event.get("aux", {})]
    if not made:
        said = "".join(event.get("stream") or event.get("error") or "" for event in events)
        raise SandboxUnavailableError(
            f"the Docker daemon cannot build {str(dockerfile)!r}: {said.strip()[-500:]}"
        )
    return str(made[-1])


def check_platform(client: "DockerClient") -> None:
    """Refuse a daemon that cannot run this machine's interpreter.

    Raises:
        SandboxUnavailableError: The daemon's system or processor differs; the message names both.
    """
    version = client.version()
    theirs = f"{version['Os']}/{version['Arch']}"
    aliases = {"x86_64": "amd64", "aarch64": "arm64"}
    machine = platform.machine()
    ours = f"{sys.platform}/{aliases.get(machine, machine)}"
    if theirs != ours:
        raise SandboxUnavailableError(
            f"the Docker daemon runs {theirs}, this interpreter is {ours}: name an image for "
            f"{theirs} that has Python 3.11 or newer, DockerSandbox(image=...)"
        )


def _import(client: "DockerClient", archive: Path, *, source: str, content: str) -> str:
    from docker.errors import APIError

    changes = [
        f"LABEL {LABEL_SOURCE}={source}",
        f"LABEL {LABEL_CONTENT}={content}",
        "ENV PATH=/usr/bin:/bin",
    ]
    tag = f"{sys.version_info.major}.{sys.version_info.minor}-{content[:12]}"
    try:
        client.api.import_image_from_file(
            str(archive), repository=REPOSITORY, tag=tag, changes=changes
        )
    except APIError as error:
        raise SandboxUnavailableError(
            f"the Docker daemon refused the image {REPOSITORY}:{tag}: {error.explanation}; "
            "check its free disk space"
        ) from error
    return str(client.images.get(f"{REPOSITORY}:{tag}").id)


@cache
def source_fingerprint() -> str:
    """Return a hash that changes when the interpreter, its library or the recipe changes.

    It reads names, sizes and times only, so that finding an existing image stays cheap.
    """
    digest = hashlib.sha256(f"{RECIPE} {TOOLS} {sys.version}".encode())
    for path in [_interpreter(), *_stdlib_files()]:
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def write_archive(archive: Path) -> str:
    """Write the image's root file system as a tar file.

    Args:
        archive: Where to write.

    Returns:
        The sha256 over all names and contents; equal for equal images.
    """
    digest = hashlib.sha256()
    with tempfile.TemporaryDirectory(prefix="agentevo-strip-") as folder:
        members = dict(sorted(_members().items()))
        stripped = _strip({p for p in members.values() if _is_elf(p)}, Path(folder))
        with tarfile.open(archive, "w") as tar:
            _add_skeleton(tar)
            for name, path in members.items():
                data = stripped.get(path, path).read_bytes()
                status = path.stat()
                digest.update(f"{name}\0{len(data)}\0".encode() + data)
                _add_file(tar, name, data, mode=status.st_mode & 0o755, mtime=int(status.st_mtime))
    return digest.hexdigest()


def _members() -> dict[str, Path]:
    """Return the files of the image: name in the image to path on this machine."""
    library = f"usr/{sys.platlibdir}/python{sys.version_info.major}.{sys.version_info.minor}"
    stdlib = Path(sysconfig.get_path("stdlib"))
    members = {f"{library}/{path.relative_to(stdlib)}": path for path in _stdlib_files()}
    programs = {"python3": _interpreter(), "sh": Path(os.path.realpath("/bin/sh"))}
    for tool in TOOLS.split():
        found = shutil.which(tool, path="/usr/bin:/bin")
        if found:
            programs[tool] = Path(os.path.realpath(found))
    members |= {f"usr/bin/{name}": path for name, path in programs.items()}
    binaries = [path for path in members.values() if _is_elf(path)]
    for library_path in _shared_libraries(binaries):
        members[_library_name(library_path)] = Path(os.path.realpath(library_path))
    return members


def _library_name(path: str) -> str:
    """Return where a shared library lies in the image: the loader at its path, others in usr/lib."""
    name = Path(path).name
    return path.lstrip("/") if name.startswith("ld-") else f"usr/lib/{name}"


def _interpreter() -> Path:
    return Path(os.path.realpath(sys.executable))


def _stdlib_files() -> Iterator[Path]:
    for folder, folders, files in os.walk(sysconfig.get_path("stdlib")):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _SKIPPED_FOLDERS and not name.startswith(("config-", "__pycache__"))
        )
        for name in sorted(files):
            if not _SKIPPED_FILES.search(name):
                yield Path(folder, name)


def _is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _shared_libraries(binaries: Iterable[Path]) -> set[str]:
    listing = subprocess.run(
        ["ldd", *map(str, binaries)], capture_output=True, text=True, check=False
    ).stdout
    lines = (line for line in listing.splitlines() if not line.endswith(":"))
    return {match for line in lines for match in _LIBRARY.findall(line)}


def _strip(binaries: Iterable[Path], folder: Path) -> dict[Path, Path]:
    """Return copies without debug information, or nothing where `strip` is not installed."""
    program = shutil.which("strip")
    if program is None:
        return {}
    copies = {path: folder / f"{index}-{path.name}" for index, path in enumerate(sorted(binaries))}
    for path, copy in copies.items():
        shutil.copyfile(path, copy)
    done = subprocess.run(
        [program, "--strip-debug", *map(str, copies.values())], capture_output=True, check=False
    )
    return copies if done.returncode == 0 else {}


def _add_skeleton(tar: tarfile.TarFile) -> None:
    """Add the folders, links and account files that programs expect."""
    for name in ("usr", "usr/bin", "usr/lib", "etc", "proc", "sys", "dev", "root", "tmp"):
        info = tarfile.TarInfo(name)
        info.type, info.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
        tar.addfile(info)
    for name, target in (("bin", "usr/bin"), ("lib", "usr/lib"), ("usr/bin/python", "python3")):
        info = tarfile.TarInfo(name)
        info.type, info.linkname = tarfile.SYMTYPE, target
        tar.addfile(info)
    _add_file(tar, "etc/passwd", _PASSWD.encode(), mode=0o644)
    _add_file(tar, "etc/group", _GROUP.encode(), mode=0o644)


def _add_file(tar: tarfile.TarFile, name: str, data: bytes, *, mode: int, mtime: int = 0) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), mode, mtime
    tar.addfile(info, BytesIO(data))
