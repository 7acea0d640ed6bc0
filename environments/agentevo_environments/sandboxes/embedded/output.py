"""Output: what a program writes to one stream, decoded as it comes and kept up to a limit."""

import codecs
import io

_decoder = codecs.getincrementaldecoder("utf-8")


class Output:
    """Text of at most so many bytes, held only once however much of it there is.

    Args:
        limit_bytes: What is kept; one byte more is read, to know that there was more.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._read_bytes = 0
        self._decoder = _decoder("replace")
        self._text = io.StringIO()

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
        self._text.write(self._decoder.decode(data[: self._limit_bytes - self._read_bytes]))
        self._read_bytes += len(data)

    def text(self) -> str:
        """Return all of it, undecodable bytes replaced; nothing can be added any more."""
        self._text.write(self._decoder.decode(b"", final=True))
        return self._text.getvalue()
