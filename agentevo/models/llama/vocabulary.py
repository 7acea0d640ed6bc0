"""`Vocabulary`: text to tokens and back, with control tokens only where the caller says so."""

import ctypes
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agentevo.models.llama.bindings import library

_CONTROL: Final = 1 << 3
_USER_DEFINED: Final = 1 << 4
_PIECE_BYTES: Final = 256
_VISIBLE: Final = ("<tool_call>", "</tool_call>", "<think>", "</think>")


class Vocabulary:
    """The tokens of one model. Safe to use from several threads.

    Attributes:
        size: Number of tokens.
        specials: Text of every control and user-defined token, to its id.
        end_ids: Tokens that end an answer.
    """

    def __init__(self, pointer: Any) -> None:
        lib = library()
        self.pointer = pointer
        self.size = int(lib.llama_vocab_n_tokens(pointer))
        marks = {i: int(lib.llama_vocab_get_attr(pointer, i)) for i in range(self.size)}
        self.specials: Mapping[str, int] = {
            self._raw(i): i for i, mark in marks.items() if mark & (_CONTROL | _USER_DEFINED)
        }
        self.controls = frozenset(i for i, mark in marks.items() if mark & _CONTROL)
        self.end_ids = frozenset(
            i for i in self.specials.values() if lib.llama_vocab_is_eog(pointer, i)
        )
        names = sorted((name for name in self.specials if name), key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, names))) if names else None
        self._shown = frozenset(self.specials[t] for t in _VISIBLE if t in self.specials)
        self._piece = functools.lru_cache(maxsize=None)(self._read_piece)

    @property
    def bos_text(self) -> str:
        """Text of the token that begins a prompt, "" without one."""
        return self._name(int(library().llama_vocab_bos(self.pointer)))

    @property
    def eos_text(self) -> str:
        """Text of the token that ends a text, "" without one."""
        return self._name(int(library().llama_vocab_eos(self.pointer)))

    @property
    def adds_bos(self) -> bool:
        """Whether the model expects every prompt to begin with the begin token."""
        return bool(library().llama_vocab_get_add_bos(self.pointer))

    def find_specials(self, text: str, *, controls_only: bool = False) -> list[tuple[int, int]]:
        """Return the spans of `text` that read like a control or user-defined token."""
        if self._special is None:
            return []
        return [
            match.span()
            for match in self._special.finditer(text)
            if not controls_only or self.specials[match[0]] in self.controls
        ]

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of trusted text: the names of control tokens become those tokens."""
        return self._tokenize(text, special=True)

    def tokenize_plain(self, text: str) -> list[int]:
        """Return the tokens of untrusted text: nothing in it becomes a special token."""
        tokens: list[int] = []
        done = 0
        for start, end in self.find_specials(text):
            tokens += self._tokenize(text[done:start], special=False)
            tokens += self._tokenize(text[start : start + 1], special=False)
            tokens += self.tokenize_plain(text[start + 1 : end])
            done = end
        return tokens + self._tokenize(text[done:], special=False)

    def piece(self, token: int) -> bytes:
        """Return the bytes that `token` adds to an answer; control tokens add nothing."""
        return self._piece(token)

    def text(self, tokens: Sequence[int]) -> str:
        """Return the text of an answer; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self._piece, tokens)).decode("utf-8", "replace")

    def _read_piece(self, token: int) -> bytes:
        hidden = token in self.controls and token not in self._shown
        if hidden or token in self.end_ids:
            return b""
        return self._to_piece(token)

    def _raw(self, token: int) -> str:
        return self._to_piece(token).decode("utf-8", "replace")

    def _name(self, token: int) -> str:
        return self._raw(token) if 0 <= token < self.size else ""

    def _to_piece(self, token: int) -> bytes:
        lib = library()
        size = _PIECE_BYTES
        while True:
            buffer = ctypes.create_string_buffer(size)
            n = int(lib.llama_token_to_piece(self.pointer, token, buffer, size, 0, True))
            if n >= 0:
                return buffer.raw[:n]
            size = -n

    def _tokenize(self, text: str, *, special: bool) -> list[int]:
        if not text:
            return []
        data = text.encode("utf-8", "replace")
        lib = library()
        size = len(data) + 8
        while True:
            array = (lib.llama_token * size)()
            n = int(lib.llama_tokenize(self.pointer, data, len(data), array, size, False, special))
            if n >= 0:
                return list(array[:n])
            size = -n
