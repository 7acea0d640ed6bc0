"""The files of a Chroma index: who owns them, how they are opened, and their digests."""

import fcntl
import hashlib
import os
from pathlib import Path
from typing import Any

from agentevo_memory.errors import IndexOwnedError


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
    return chromadb.HttpClient(host=host, port=int(port or 8000), settings=settings)


def digests(folder: Path) -> dict[str, str]:
    """Return the digest of every file below `folder`, by its relative path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): digest(path.read_bytes()) for path in files}


def digest(content: bytes) -> str:
    """Return the digest of some content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
