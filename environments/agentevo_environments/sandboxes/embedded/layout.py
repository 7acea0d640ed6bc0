"""Layout: which paths of this machine are visible inside the embedded sandbox, all read-only.

The interpreter with its standard library (without installed packages: the hidden tests of
environments may lie among them), the system's programs and libraries, and the folders that the
caller names. Nothing of /etc (but the linker's cache and the alternatives), /home, /root, /var,
/opt or /srv.
"""

import os
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agentevo_environments.sandboxes import protocol
from agentevo_environments.sandboxes.embedded import guest

GUEST_ROOT = "/run/agentevo"
PACKAGES_ROOT = "/run/packages"
PACKAGE = "agentevo_environments"
SYSTEM_PATHS = (
    "/bin",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/bin",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/share/zoneinfo",
    "/etc/alternatives",
    "/etc/ld.so.cache",
)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the file system of the sandbox is made of.

    Attributes:
        python: The interpreter, the same path inside and outside.
        boot: The script that starts the sandbox's own processes, inside.
        binds: Pairs of a path outside and its path inside.
        symlinks: Pairs of a target and the path inside that points to it.
        masks: Folders inside that are covered by empty ones.
        packages: Folders inside that programs import from.
        listable: Folders of which only the names of what is in them may be read.
    """

    python: str
    boot: str
    binds: tuple[tuple[str, str], ...]
    symlinks: tuple[tuple[str, str], ...]
    masks: tuple[str, ...]
    packages: tuple[str, ...]
    listable: tuple[str, ...] = ()


def make_layout(packages: Sequence[str | Path] = ()) -> Layout:
    """Return the layout for the running interpreter.

    Args:
        packages: Folders with packages that programs may import.

    Raises:
        ValueError: A folder does not exist, or holds this package (and with it hidden tests).
    """
    folders = [_checked(Path(folder)) for folder in packages]
    inside = tuple(f"{PACKAGES_ROOT}/{number}" for number in range(len(folders)))
    visible = [*SYSTEM_PATHS, *_interpreter_paths()]
    links = {path for path in visible if Path(path).is_symlink()}
    binds = [path for path in _outermost(set(visible) - links) if Path(path).exists()]
    return Layout(
        python=str(interpreter()),
        boot=f"{GUEST_ROOT}/{PACKAGE}/sandboxes/embedded/guest/boot.py",
        binds=(
            *((path, path) for path in binds),
            *_guest_binds(),
            *((str(folder), place) for folder, place in zip(folders, inside, strict=True)),
        ),
        symlinks=tuple((os.readlink(path), path) for path in sorted(links)),  # noqa: PTH115
        masks=tuple(sorted(path for path in _installed_packages() if _is_below(path, binds))),
        packages=inside,
    )


def without_own_root(layout: Layout, packages: Sequence[str | Path]) -> Layout:
    """Return the layout for tiers that see this machine's own paths, masked folders left out."""
    shown: list[str] = []
    listable: list[str] = []
    for source, _ in layout.binds:
        _leave_out(Path(source), layout.masks, shown, listable)
    return Layout(
        python=layout.python,
        boot=str(Path(guest.__path__[0], "boot.py")),
        binds=tuple((path, path) for path in shown),
        symlinks=(),
        masks=(),
        packages=tuple(str(Path(folder).resolve()) for folder in packages),
        listable=tuple(listable),
    )


def _leave_out(path: Path, masks: Sequence[str], shown: list[str], listable: list[str]) -> None:
    """Collect the parts of a folder that together are all of it but the masked folders."""
    if str(path) in masks:
        return
    if any(_is_below(mask, [str(path)]) for mask in masks):
        listable.append(str(path))
        for child in sorted(path.iterdir()):
            _leave_out(child, masks, shown, listable)
    elif path.exists():
        shown.append(str(path))


def interpreter() -> Path:
    """Return the real path of the interpreter that a virtual environment stands on."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _checked(folder: Path) -> Path:
    if not folder.is_dir():
        raise ValueError(f"packages folder {str(folder)!r} does not exist: give existing folders")
    if (folder / PACKAGE).exists():
        raise ValueError(
            f"packages folder {str(folder)!r} holds {PACKAGE}, whose data programs in a sandbox"
            " must not read: install what they need into a folder of its own"
            " (pip install --target)"
        )
    return folder.resolve()


def _interpreter_paths() -> Iterator[str]:
    prefix = interpreter().parent.parent
    yield str(prefix / "bin")
    yield str(prefix / "lib")
    for key in ("stdlib", "platstdlib"):
        path = Path(sysconfig.get_path(key, vars={"platbase": sys.base_exec_prefix}))
        yield str(path)


def _installed_packages() -> set[str]:
    prefixes = [sys.base_prefix, sys.base_exec_prefix, str(interpreter().parent.parent)]
    found = {Path(path) for path in site.getsitepackages(prefixes)}
    stdlib = Path(sysconfig.get_path("stdlib"))
    found |= {stdlib / "site-packages", stdlib / "dist-packages"}
    found.add(Path("/usr/lib/python3/dist-packages"))
    return {str(path) for path in found if path.is_dir() and not path.is_symlink()}


def _guest_binds() -> Iterator[tuple[str, str]]:
    guest_folder = Path(guest.__path__[0])
    sandboxes = Path(protocol.__file__).parent
    for path in (sandboxes.parent / "errors.py", sandboxes / "protocol.py", guest_folder):
        yield str(path), f"{GUEST_ROOT}/{PACKAGE}/{path.relative_to(sandboxes.parent)}"


def _outermost(paths: Iterable[str]) -> list[str]:
    """Return the paths that do not lie below another of them, sorted."""
    kept: list[str] = []
    for path in sorted(paths):
        if not _is_below(path, kept):
            kept.append(path)
    return kept


def _is_below(path: str, folders: Iterable[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)
