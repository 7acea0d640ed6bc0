"""`AnswerText`: the text of an answer as its tokens arrive, cut at the first stop text.

A character that spans tokens appears when it is complete, and text that may be the beginning of a
stop is held back until that is decided.
"""

import codecs
from collections.abc import Sequence


class AnswerText:
    """Accumulates token bytes.

    Attributes:
        text: Everything released so far.
        stopped: Whether a stop text ended the answer.
    """

    def __init__(self, stops: Sequence[str] = ()) -> None:
        self._stops = tuple(stops)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._parts: list[str] = []
        self.stopped = False

    @property
    def text(self) -> str:
        """Everything released so far."""
        return "".join(self._parts)

    def push(self, piece: bytes) -> str:
        """Add the bytes of one token; returns the text that became certain."""
        return self._release(self._decoder.decode(piece), final=False)

    def finish(self) -> str:
        """Release what is held; an unfinished character becomes U+FFFD."""
        return self._release(self._decoder.decode(b"", final=True), final=True)

    def _release(self, new: str, *, final: bool) -> str:
        if self.stopped:
            return ""
        self._held += new
        out, self._held = self._split(final=final) if self._stops else (self._held, "")
        if out:
            self._parts.append(out)
        return out

    def _split(self, *, final: bool) -> tuple[str, str]:
        at = min((i for s in self._stops if (i := self._held.find(s)) >= 0), default=-1)
        if at >= 0:
            self.stopped = True
            return self._held[:at], ""
        keep = 0 if final else max((overlap(self._held, s) for s in self._stops), default=0)
        cut = len(self._held) - keep
        return self._held[:cut], self._held[cut:]


def overlap(text: str, stop: str) -> int:
    """Return the length of the longest end of `text` that is a proper beginning of `stop`."""
    for n in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:n]):
            return n
    return 0
