"""The files of a Chroma index: who owns them, the manifest of what they hold, and their digests."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from agentevo_memory.errors import IndexDamagedError, IndexOwnedError

LOCK = "chroma.lock"
SERVER_NOTE = "chroma.name"


def lock(path: Path) -> int:
    """Return an open file that holds the ownership until it is closed; IndexOwnedError if taken."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise IndexOwnedError(
            f"another process owns the Chroma index in {str(path.parent)!r}; "
            "this one searches exactly"
        ) from None
    return file


def drop_files(folder: Path) -> None:
    """Remove all index files; those that another process owns are left to their owner.

    What is at a server goes when its index is opened next.
    """
    if not folder.is_dir():
        return
    try:
        owned = lock(folder / LOCK)
    except (IndexOwnedError, OSError):
        with contextlib.suppress(OSError):
            for file in folder.glob("*.snapshot"):
                file.unlink(missing_ok=True)
        return
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name not in (LOCK, SERVER_NOTE):
            path.unlink(missing_ok=True)
    os.close(owned)


def read_manifest(path: Path) -> dict[str, Any]:
    """Return what `write_manifest` wrote; IndexDamagedError for anything else."""
    try:
        content, _, check = path.read_text().rpartition("\n")
        state: dict[str, Any] = json.loads(content)
    except FileNotFoundError:
        raise IndexDamagedError("there is no Chroma index, or its owner was killed") from None
    except (ValueError, OSError) as error:
        raise IndexDamagedError(f"the manifest cannot be read: {error}") from error
    if check != _digest(content.encode()):
        raise IndexDamagedError("the manifest is not what was written")
    return state


def write_manifest(path: Path, state: dict[str, Any]) -> None:
    """Write a manifest with its digest; the file is replaced as a whole."""
    content = json.dumps(state)
    draft = path.with_suffix(".new")
    draft.write_text(f"{content}\n{_digest(content.encode())}")
    draft.replace(path)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file below `folder`, by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _digest(path.read_bytes()) for path in files}


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
