"""Which texts, namespaces and choices the memory accepts; everything else is refused with a reason."""

from typing import cast

from agentevo_memory.errors import RecordError

TEXT_CHARS = 4 * 1024 * 1024
LABEL_CHARS = 200
LABELS = 8


def check_text(name: str, text: object, limit: int = TEXT_CHARS) -> str:
    """Return `text` if it can be stored.

    Raises:
        RecordError: If it is no str, too long, or holds control characters or lone surrogates.
    """
    if not isinstance(text, str):
        raise RecordError(f"{name} must be str, got {type(text).__name__}; decode it first")
    if len(text) > limit:
        raise RecordError(f"{name} has {len(text)} characters; at most {limit}: shorten it")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RecordError(
            f"{name} holds the lone surrogate {text[error.start]!r} at {error.start}; "
            "decode the bytes with errors='replace'"
        ) from None
    if not text.isprintable():
        for position, character in enumerate(text):
            if character < " " and character not in "\n\t\r":
                raise RecordError(
                    f"{name} holds the control character {character!r} at {position}; "
                    "binary content is not text: store a description or a path"
                )
    return text


def check_namespace(namespace: object) -> tuple[str, ...]:
    """Return `namespace` if it is one.

    Raises:
        RecordError: If it is not a tuple of one to eight non-empty printable labels.
    """
    if not isinstance(namespace, tuple) or not 1 <= len(namespace) <= LABELS:
        raise RecordError(
            f"namespace must be a tuple of 1 to 8 labels, got {namespace!r}; such as ('me',)"
        )
    for label in namespace:
        if not isinstance(label, str) or not label or not label.isprintable():
            raise RecordError(f"{label!r} in namespace {namespace!r} is not a printable label")
        if len(label) > LABEL_CHARS:
            raise RecordError(f"namespace label of {len(label)} characters; at most {LABEL_CHARS}")
    return cast("tuple[str, ...]", namespace)


def check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Raise RecordError, listing what is allowed, unless `value` is one of it."""
    if value not in allowed:
        raise RecordError(f"unknown {name} {value!r}; allowed: {', '.join(allowed)}")
