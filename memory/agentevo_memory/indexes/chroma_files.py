"""The files of a Chroma index: who owns them, how they are opened, and their digests."""

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentevo_memory.errors import IndexDamagedError, IndexOwnedError, IndexUnavailableError


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


def open_client(folder: Path, url: str) -> Any:
    """Return a Chroma client for the files in `folder`, or for the server at `url`."""
    import chromadb
    from chromadb.config import Settings

    settings = Settings(anonymized_telemetry=False)
    if not url:
        return chromadb.PersistentClient(str(folder), settings=settings)
    host, _, port = url.partition("://")[2].partition(":")
    try:
        return chromadb.HttpClient(host=host, port=int(port or 8000), settings=settings)
    except ValueError as error:
        raise _unavailable(url, error) from error


@contextlib.contextmanager
def chroma_errors(url: str) -> Iterator[None]:
    """Turn what Chroma and the way to its server raise into errors of the memory."""
    import httpx
    from chromadb.errors import ChromaError

    try:
        yield
    except httpx.TransportError as error:
        raise _unavailable(url, error) from error
    except ChromaError as error:
        raise IndexDamagedError(f"Chroma cannot answer from its files: {error}") from error


def drop_files(folder: Path) -> None:
    """Remove all index files; those that another process owns are left to their owner."""
    if not folder.is_dir():
        return
    try:
        owned = lock(folder / "chroma.lock")
    except IndexOwnedError:
        for file in folder.glob("*.snapshot"):
            file.unlink(missing_ok=True)
        return
    shutil.rmtree(folder, ignore_errors=True)
    os.close(owned)


def _unavailable(url: str, error: Exception) -> IndexUnavailableError:
    return IndexUnavailableError(
        f"the Chroma server at {url!r} does not answer ({error}); start it with `chroma run`, "
        "or open the store with the index 'exact'"
    )


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
