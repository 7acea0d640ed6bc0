"""Invented names (worlds, commands, keys, codes) and the share of them that is reserved.

A name is two syllables. One fifth of all syllable pairs is reserved: it is used by the splits
validation, test and demo only, so nothing that was trained on the training worlds has seen them.
"""

from random import Random

from agentevo_environments.packs.quirks import service

CONSONANTS = "bdfgklmnprstvz"
VOWELS = "aeiou"
LETTERS = "bcdfghjkmpqrtvwxz"
FLAGS = ("safe", "firm", "dry", "slow", "auth", "quiet")
FUNCTION_WORDS = (
    "to",
    "do",
    "in",
    "is",
    "needs",
    "takes",
    "adds",
    "nothing",
    "the",
    "obj",
    "color",
    "num",
    "run",
    "name",
    "command",
    "arguments",
    "plan",
    "rules",
    "system",
    "user",
    "assistant",
    "ok",
    "error",
    "expected",
    "got",
    "unknown",
    "value",
    "tools",
    "list",
    "json",
    "actions",
    "errors",
    "task",
    "memory",
)
WORDS = (
    *service.ACTIONS, *service.STEPS, *service.OBJECTS, *service.PLACES, *service.COLORS,
    *FLAGS, *FUNCTION_WORDS,
)  # fmt: skip
SYLLABLES = tuple(
    c + v for c in CONSONANTS for v in VOWELS if c + v not in ("to", "do", "no", "so", "go")
)


def is_reserved(first: str, second: str) -> bool:
    """Return whether the syllable pair belongs to the reserved fifth."""
    return (SYLLABLES.index(first) * 31 + SYLLABLES.index(second) * 17) % 5 == 0


def syllables(name: str) -> tuple[str, str]:
    """Split an invented name into its two syllables."""
    return name[:2].lower(), name[2:].lower()


def draw_name(random: Random, *, reserved: bool) -> str:
    """Draw an invented name that is, or is not, in the reserved fifth and is no known word."""
    while True:
        first, second = random.choice(SYLLABLES), random.choice(SYLLABLES)
        name = first + second
        if is_reserved(first, second) == reserved and not any(name in word for word in WORDS):
            return name


def draw_code(random: Random) -> str:
    """Draw the code of a value: a letter and a digit."""
    return random.choice(LETTERS) + random.choice("0123456789")


def draw_flag(random: Random) -> str:
    """Draw a flag: a word and a digit from 1 to 9."""
    return random.choice(FLAGS) + random.choice("123456789")
