"""Output: what a program writes to one stream, decoded as it comes and kept up to a limit."""

import codecs

GROWTH = 64
"""Text grows by at least one part in so many at a time, so that copying it costs little."""
_decoder = codecs.getincrementaldecoder("utf-8")


class Output:
    """Text of at most so many bytes, held once however much of it there is.

    Args:
        limit_bytes: What is kept; one byte more is read, to know that there was more.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._read_bytes = 0
        self._decoder = _decoder("replace")
        self._text = ""
        self._pieces: list[str] = []
        self._waiting = 0

    @property
    def room_bytes(self) -> int:
        """How much is still to be read."""
        return self._limit_bytes + 1 - self._read_bytes

    @property
    def over(self) -> bool:
        """Whether there was more than the limit."""
        return self._read_bytes > self._limit_bytes

    def add(self, data: bytes) -> None:
        """Take in what was read."""
        piece = self._decoder.decode(data[: self._limit_bytes - self._read_bytes])
        self._read_bytes += len(data)
        self._pieces.append(piece)
        self._waiting += len(piece)
        if self._waiting > len(self._text) // GROWTH:
            self._join()

    def text(self) -> str:
        """Return all of it, undecodable bytes replaced; nothing can be added any more."""
        self._pieces.append(self._decoder.decode(b"", final=True))
        self._join()
        return self._text

    def _join(self) -> None:
        piece = "".join(self._pieces)
        self._pieces.clear()
        self._waiting = 0
        text, self._text = self._text, ""
        text += piece  # the only reference to it, so that the interpreter lets it grow in place
        self._text = text
