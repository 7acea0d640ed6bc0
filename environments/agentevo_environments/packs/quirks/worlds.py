"""Worlds: services whose documentation is wrong in hidden, randomly drawn ways."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from agentevo_environments.packs.quirks import names, service
from agentevo_environments.task import JSONValue

KINDS = ("command", "key", "value", "flag", "step")
HARD_KINDS = ("offset", "condition")
HELD_OUT_KINDS = ("offset", "condition")
HELD_OUT_COMBINATIONS = (frozenset({"flag", "step"}), frozenset({"key", "value"}))


def kind_of(slot: str) -> str:
    """Return the quirk kind of a slot."""
    return slot.split(" ", 1)[0]


def is_held_out_combination(slots: Iterable[str]) -> bool:
    """Return whether quirks on these slots form a combination kept from pre-training."""
    kinds = {kind_of(slot) for slot in slots}
    return any(combination <= kinds for combination in HELD_OUT_COMBINATIONS)


def is_held_out(slots: Iterable[str]) -> bool:
    """Return whether quirks on these slots show a kind or a combination kept from pre-training."""
    met = list(slots)
    return is_held_out_combination(met) or any(kind_of(slot) in HELD_OUT_KINDS for slot in met)


def all_slots() -> list[str]:
    """Return every slot of the basic tier."""
    plain = [action for action, needs in service.ACTIONS.items() if "num" not in needs]
    return [
        *(f"{kind} {action}" for action in plain for kind in ("command", "step", "flag")),
        *(f"key {key}" for key in ("obj", "to", "color")),
        *(f"value {value}" for value in (*service.PLACES, *service.COLORS)),
    ]


@dataclass(slots=True)
class World:
    """One service: its name and what its documentation gets wrong.

    Attributes:
        name: Capitalised invented name; also the scope of what is learnt here.
        quirks: Slot to what holds instead of the documentation.
        before: Slot to what held before the drift; empty in worlds that do not drift.
        feedback: How much an error says: "explicit", "expected" or "pass_fail".
        errors: Whether an error names "all" problems of a command or only the "first".
    """

    name: str
    quirks: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    feedback: str = "explicit"
    errors: str = "all"

    def rule(self, slot: str) -> str:
        """Return the sentence that states what holds for `slot`."""
        return f"In {service.clause(self.as_json(), slot, self.quirks.get(slot))}"

    def as_json(self) -> dict[str, JSONValue]:
        """Return the world as the service reads it."""
        return {
            "name": self.name,
            "quirks": dict(self.quirks),
            "before": dict(self.before),
            "feedback": self.feedback,
            "errors": self.errors,
        }


def draw_value(random: Random, slot: str, *, reserved: bool) -> str:
    """Draw what holds for a slot instead of the documentation."""
    kind = kind_of(slot)
    if kind in ("command", "key"):
        return names.draw_name(random, reserved=reserved)
    if kind == "value":
        return names.draw_code(random)
    if kind == "step":
        return random.choice(service.STEPS)
    if kind == "offset":
        return str(random.randint(1, 4))
    return names.draw_flag(random)


def draw_quirks(random: Random, slots: Sequence[str], *, reserved: bool) -> dict[str, str]:
    """Draw a quirk for each slot; written words stay unambiguous within the world."""
    taken: set[str] = set()
    quirks = {}
    for slot in slots:
        value = draw_value(random, slot, reserved=reserved)
        while kind_of(slot) in ("command", "key", "value") and value in taken:
            value = draw_value(random, slot, reserved=reserved)
        taken.add(value)
        quirks[slot] = value
    return quirks
