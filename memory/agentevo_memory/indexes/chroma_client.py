"""The collections of one Chroma index, in files or at a server, and what Chroma raises, typed."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentevo_memory.errors import IndexDamagedError, IndexUnavailableError


class ChromaClient:
    """An open connection to the collections of an index.

    Args:
        folder: Where Chroma keeps its files; its name is the prefix of all collections.
        url: `http://HOST:PORT` of a server that keeps them instead, or "".

    Raises:
        IndexUnavailableError: Here and in `ask`, if the server does not answer.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self._name = folder.name
        self._url = url
        self._collections: dict[str, Any] = {}
        self._client = _connect(folder, url)

    def ask(self, key: str, method: str, **arguments: Any) -> Any:
        """Call a method of the collection of `key`, which is created if missing.

        Raises:
            IndexDamagedError: If Chroma cannot answer from what it holds.
        """
        with self._errors():
            if key not in self._collections:
                name = f"{self._name}-{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}"
                self._collections[key] = self._client.get_or_create_collection(
                    name, embedding_function=None, configuration={"hnsw": {"space": "cosine"}}
                )
            return getattr(self._collections[key], method)(**arguments)

    def replace_noted(self, note: Path) -> None:
        """Delete the collections that `note` names from the server, and note the present ones."""
        old = note.read_text() if note.is_file() else ""
        with self._errors():
            for collection in self._client.list_collections() if old else ():
                if collection.name.startswith(old):
                    self._client.delete_collection(collection.name)
        note.write_text(self._name)

    def close(self) -> None:
        """Close the connection; Chroma leaves those of its HTTP client open."""
        servers = (self._client, getattr(self._client, "_admin_client", None))
        sessions = [getattr(getattr(each, "_server", None), "_session", None) for each in servers]
        self._client.close()
        for session in sessions:
            if session is not None:
                session.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        import httpx
        from chromadb.errors import ChromaError

        try:
            yield
        except httpx.TransportError as error:
            raise _unavailable(self._url, error) from error
        except ChromaError as error:
            raise IndexDamagedError(f"Chroma cannot answer from what it holds: {error}") from error


def _connect(folder: Path, url: str) -> Any:
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


def _unavailable(url: str, error: Exception) -> IndexUnavailableError:
    return IndexUnavailableError(
        f"the Chroma server at {url!r} does not answer ({error}); start it with `chroma run`, "
        "or open the store with the index 'exact'"
    )
