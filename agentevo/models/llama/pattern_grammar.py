r"""Regular expressions of JSON Schema's `pattern` to GBNF, for text inside a JSON string.

Supported are alternation, groups, classes, \\d \\w \\s, dots and bounded or open repetition; open
repetition gets an upper bound. Quotes and backslashes are written with their JSON escape, and are
left out of classes, where every other character is still allowed.
"""

from typing import Final

from agentevo.models.llama.errors import SchemaError

_CLASSES: Final = {"d": "0-9", "w": "0-9A-Za-z_", "s": " "}
_CONTROLS: Final = {"n": '"\\\\n"', "t": '"\\\\t"', "r": '"\\\\r"'}
_ANY: Final = r'[^"\\\x00-\x1F\x7F]'
_META: Final = frozenset("^$.*+?()[]{}|")


class PatternGrammar:
    """Translates one pattern; use once."""

    def __init__(self, pattern: str, limit: int) -> None:
        self._pattern = pattern
        self._limit = limit
        self._at = 0

    def expression(self) -> str:
        """Return the GBNF expression, open at the ends where the pattern has no anchor.

        Raises:
            SchemaError: The pattern uses something that a grammar cannot express.
        """
        text = self._pattern
        anchored = text.startswith("^"), text.endswith("$") and not text.endswith("\\$")
        if "|" in text and anchored != (False, False):
            self._need_single_branch()
        self._at = 1 if anchored[0] else 0
        end = len(text) - (1 if anchored[1] else 0)
        self._pattern = text[:end]
        body = self._alternatives()
        if self._at < len(self._pattern):
            raise self._error("an unmatched )")
        free = f"{_ANY}{{0,{self._limit}}}"
        parts = ["" if anchored[0] else free, f"({body})", "" if anchored[1] else free]
        return " ".join(part for part in parts if part)

    def _need_single_branch(self) -> None:
        depth = 0
        for before, char in zip(" " + self._pattern, self._pattern, strict=False):
            depth += (char == "(") - (char == ")") if before != "\\" else 0
            if char == "|" and before != "\\" and not depth:
                raise self._error("anchors around alternatives; put the alternatives in a group")

    def _alternatives(self) -> str:
        branches = [self._sequence()]
        while self._peek() == "|":
            self._at += 1
            branches.append(self._sequence())
        return " | ".join(branches)

    def _sequence(self) -> str:
        parts = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._atom()))
        return " ".join(parts) or '""'

    def _atom(self) -> str:
        char = self._next()
        if char == "(":
            return self._group()
        if char == "[":
            return self._class()
        if char == ".":
            return _ANY
        if char == "\\":
            return self._escape(self._next())
        if char in _META:
            raise self._error(f"{char!r} at position {self._at - 1}")
        return _literal(char)

    def _group(self) -> str:
        if self._peek() == "?":
            if self._pattern[self._at : self._at + 2] != "?:":
                raise self._error("look-around or a named group")
            self._at += 2
        body = self._alternatives()
        if self._next() != ")":
            raise self._error("an unmatched (")
        return f"({body})"

    def _class(self) -> str:
        negated = self._peek() == "^"
        self._at += negated
        items: list[str] = []
        while (char := self._next()) != "]" or not items:
            if char == "":
                raise self._error("an unmatched [")
            items.append(self._class_item(char))
        body = "".join(items)
        if negated:
            return f'[^{body}"\\\\\\x00-\\x1F\\x7F]'
        if not body:
            raise self._error("a class of characters that JSON must escape")
        return f"[{body}]"

    def _class_item(self, char: str) -> str:
        if char == "\\":
            escaped = self._next()
            if escaped in _CLASSES:
                return _CLASSES[escaped]
            if escaped.isalnum():
                raise self._error(f"\\{escaped} in a class")
            char = escaped
        if self._peek() == "-" and self._pattern[self._at + 1 : self._at + 2] not in ("]", ""):
            self._at += 1
            last = self._next()
            if last == "\\" or last < char or char <= '"' <= last or char <= "\\" <= last:
                raise self._error(f"the range {char}-{last} in a class")
            return f"{_in_class(char)}-{_in_class(last)}"
        return "" if char in '"\\' else _in_class(char)

    def _escape(self, char: str) -> str:
        if char in _CLASSES:
            return f"[{_CLASSES[char]}]"
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char.isalnum() or not char:
            raise self._error(f"\\{char}")
        return _literal(char)

    def _repeated(self, atom: str) -> str:
        char = self._peek()
        if char == "{":
            return f"{atom}{{{self._counts()}}}"
        bounds = {"*": f"0,{self._limit}", "+": f"1,{max(1, self._limit)}", "?": "0,1"}
        if char not in bounds:
            return atom
        self._at += 1
        if self._peek() in ("?", "+"):
            raise self._error("lazy or possessive repetition")
        return f"{atom}{{{bounds[char]}}}"

    def _counts(self) -> str:
        end = self._pattern.find("}", self._at)
        least, comma, most = self._pattern[self._at + 1 : end].partition(",")
        if end < 0 or not least.isdigit() or (most and not most.isdigit()):
            raise self._error("a repetition that is not {n}, {n,} or {n,m}")
        self._at = end + 1
        low = int(least)
        high = low if not comma else int(most) if most else max(low, self._limit)
        if not low <= high <= max(self._limit, low):
            high = max(low, self._limit)
        return f"{low},{high}"

    def _peek(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _next(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    def _error(self, found: str) -> SchemaError:
        return SchemaError(f"pattern {self._pattern!r} cannot be a grammar: {found}; simplify it")


def _literal(char: str) -> str:
    if char in '"\\':
        return f'"\\\\\\{char}"'
    return f'"{char}"'


def _in_class(char: str) -> str:
    return f"\\{char}" if char in "]^-\\[" else char
