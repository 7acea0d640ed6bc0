"""The snapshot: the searchable state of a large store in a file, so that opening reads instead of counts.

It names the event up to which it follows the journal, with the hash of that event. One that is damaged,
belongs to another journal or embedder, or knows what was erased since, is never used: the journal is
read in full then. It holds vectors and fingerprints, no text.
"""

import contextlib

from agentevo_memory.columns import Arrays, load, save
from agentevo_memory.corpus import Corpus
from agentevo_memory.errors import IndexDamagedError
from agentevo_memory.journal import Journal

FORMAT = 1
FILE_NAME = "corpus.snapshot"
SMALL = 2_000
"""A store of fewer records is read from the journal in no time."""

_CHANGED_SHARE = 20


class Snapshot:
    """The snapshot file of one store.

    Attributes:
        seq: Event up to which the loaded or saved state follows the journal; 0 for none.
        refused: Why a file that is there was not used, or "".
    """

    def __init__(self, journal: Journal, content: str) -> None:
        """Connect to the file; `content` names all that the state depends on beside the journal."""
        self._journal = journal
        self._content = content
        self._path = journal.folder / "index" / FILE_NAME
        self._changed = 0
        self.seq = 0
        self.refused = ""

    def load(self) -> Arrays | None:
        """Return the state in the file, or None if there is none that can be used."""
        if not self._path.is_file():
            return None
        try:
            header, arrays = load(self._path)
            self._check(int(header["seq"]), header["hash"], (header["format"], header["content"]))
        except IndexDamagedError as error:
            self.refused = str(error)
            return None
        self.seq = int(header["seq"])
        return arrays

    def grow(self, changes: int) -> None:
        """Note that the state has moved on from the file by so many records."""
        self._changed += changes

    def save(self, corpus: Corpus, seq: int) -> None:
        """Write the state at event `seq`, if it is large and differs enough from the file.

        A disk that refuses is no error: the next opening takes longer.
        """
        wanted = len(corpus) >= SMALL and self._changed * _CHANGED_SHARE > len(corpus)
        if self._journal.read_only or not wanted:
            return
        header = {
            "format": FORMAT,
            "content": self._content,
            "seq": seq,
            "hash": self._hash_of(seq),
        }
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(exist_ok=True)
            save(self._path, header, corpus.arrays())
            if self._erased_after(seq):
                self._path.unlink()
        self.seq, self._changed = seq, 0

    def _check(self, seq: int, link: str, content: tuple[int, str]) -> None:
        if content != (FORMAT, self._content):
            raise IndexDamagedError("the snapshot belongs to another embedder, index or release")
        if not link or self._hash_of(seq) != link:
            raise IndexDamagedError("the snapshot belongs to another journal")
        if self._erased_after(seq):
            raise IndexDamagedError("records in the snapshot were erased")

    def _hash_of(self, seq: int) -> str:
        rows = self._journal.query("SELECT hash FROM event WHERE seq=?", (seq,))
        return bytes(rows[0][0]).hex() if rows else ""

    def _erased_after(self, seq: int) -> bool:
        return bool(
            self._journal.query("SELECT 1 FROM event WHERE seq>? AND op='erase' LIMIT 1", (seq,))
        )
