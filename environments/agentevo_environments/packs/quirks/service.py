"""The quirky service itself: one command in, a new state and an answer out.

This file is a complete program: the environment runs its text in a sandbox (a JSON request on
standard input, a JSON reply on standard output), and `answer` is the same logic in process. It uses
the standard library only and knows nothing of tasks or goals.

A world is `{"name", "quirks", "before", "feedback", "errors"}`. `quirks` maps a slot to what
holds in this world, `before` to what held before a drift; a slot is written "kind key".
"""

import json
import sys
from collections.abc import Iterable
from typing import Any

World = dict[str, Any]
State = dict[str, Any]
Arguments = dict[str, Any]

ACTIONS = {
    "move": ("to",),
    "send": ("to",),
    "carry": ("to",),
    "paint": ("color",),
    "stain": ("color",),
    "dial": ("num",),
    "fill": (),
    "lock": (),
    "open": (),
    "scan": (),
    "clean": (),
    "lift": (),
    "drop": (),
}
KEYS = ("obj", "to", "color", "num")
STEPS = ("seal", "wipe", "warm", "check", "brace", "prime")
OBJECTS = (
    "box",
    "ball",
    "cup",
    "lamp",
    "door",
    "book",
    "coin",
    "ring",
    "rope",
    "drum",
    "vase",
    "jar",
    "crate",
    "chair",
    "bell",
    "cart",
)
PLACES = ("shelf", "table", "attic", "yard", "cellar", "porch", "desk", "barn")
COLORS = ("red", "blue", "green", "black", "white", "pink", "gray", "gold")
RELATIONS = {
    "command": "is",
    "key": "is",
    "value": "is",
    "step": "needs",
    "flag": "takes",
    "condition": "takes",
    "offset": "adds",
}
LARGEST_NUMBER = 9
NOTHING = "nothing"
FAILED = "error:\n- failed"
VALUES = {"to": PLACES, "color": COLORS}


class Refused(Exception):  # noqa: N818 (an answer of the service, not a failure)
    """The command cannot be understood at all; the message is the service's answer."""


def clause(world: World, slot: str, value: str | None) -> str:
    """Return the sentence that states one quirk: it is error text, rule text and plan text."""
    kind, key = slot.split(" ", 1)
    return f"{world['name']} {key} {RELATIONS[kind]} {value or default(slot)}"


def default(slot: str) -> str:
    """Return what the documentation says about a slot."""
    kind, key = slot.split(" ", 1)
    if kind == "offset":
        return "0"
    return key if RELATIONS[kind] == "is" else NOTHING


def holds(world: World, slot: str) -> str | None:
    """Return what is true for `slot` in this world today, None where the documentation is right."""
    quirks: dict[str, str] = world["quirks"]
    return quirks.get(slot)


def translate(
    world: World, kind: str, written: str, documented: Iterable[str]
) -> tuple[str | None, str | None]:
    """Return (documented word or None, slot that was violated or None) for a written word."""
    for word in documented:
        slot = f"{kind} {word}"
        true = holds(world, slot) or word
        if written == true:
            return word, None
        if written in (word, world.get("before", {}).get(slot)):
            return word, slot
    return None, None


def parse(world: World, words: list[str]) -> tuple[Arguments, list[str], list[str]]:
    """Split the words after the command into arguments, flags and violated slots."""
    arguments: Arguments = {}
    flags: list[str] = []
    wrong: list[str] = []
    position = 0
    while position < len(words):
        key, slot = translate(world, "key", words[position], KEYS)
        if key is None:
            flags.append(words[position])
            position += 1
            continue
        if position + 1 == len(words):
            raise Refused(f"no value after {words[position]}")
        arguments[key] = words[position + 1]
        wrong += [slot] if slot else []
        position += 2
    return arguments, flags, wrong


def check_values(world: World, action: str, arguments: Arguments) -> list[str]:
    """Replace coded values by documented ones, undo the offset, and return the violated slots."""
    wrong: list[str] = []
    if arguments.get("obj") not in OBJECTS:
        raise Refused(f"unknown obj {arguments.get('obj')}" if "obj" in arguments else "no obj")
    for key, allowed in VALUES.items():
        if key in arguments:
            value, slot = translate(world, "value", arguments[key], allowed)
            if value is None:
                raise Refused(f"unknown {key} {arguments[key]}")
            arguments[key] = value
            wrong += [slot] if slot else []
    if "num" in arguments:
        if not arguments["num"].isdecimal():
            raise Refused(f"unknown num {arguments['num']}")
        arguments["num"] = int(arguments["num"]) - int(holds(world, f"offset {action}") or 0)
    needed = {"obj", *ACTIONS[action]}
    for key in KEYS:
        if key in needed and key not in arguments:
            raise Refused(f"no {key}")
        if key in arguments and key not in needed and key != "color":
            raise Refused(f"no use for {key}")
    return wrong


def check_needs(world: World, state: State, action: str, item: str, flags: list[str]) -> list[str]:
    """Return the violated slots among step, flags and conditions."""
    wrong: list[str] = []
    rest = list(flags)
    step = holds(world, f"step {action}")
    if step and [step, item] not in state["steps"]:
        wrong.append(f"step {action}")
    for slot in (f"flag {action}", f"condition {action} {item}"):
        flag = holds(world, slot)
        if flag and flag in rest:
            rest.remove(flag)
        elif flag:
            wrong.append(slot)
            rest = [word for word in rest if word != world.get("before", {}).get(slot)]
        elif rest and rest[0] == world.get("before", {}).get(slot):
            wrong.append(slot)
            rest.pop(0)
    if rest:
        raise Refused(f"unknown word {rest[0]}")
    return wrong


def in_order(slots: list[str]) -> list[str]:
    """Sort violated slots as the documentation lists them, each once."""
    kinds = ("command", "step", "flag", "condition", "key", "value", "offset")
    ordered = [s for kind in kinds for s in slots if s.split(" ", 1)[0] == kind]
    return list(dict.fromkeys(ordered))


def do_step(world: World, state: State, step: str, words: list[str]) -> tuple[list[str], Arguments]:
    """Do a preparing step on an object."""
    arguments, flags, wrong = parse(world, words)
    if set(arguments) != {"obj"} or flags:
        raise Refused(f"{step} takes one obj")
    if arguments["obj"] not in OBJECTS:
        raise Refused(f"unknown obj {arguments['obj']}")
    if not wrong:
        state["steps"].append([step, arguments["obj"]])
    return wrong, {}


def do_action(world: World, state: State, words: list[str]) -> tuple[list[str], Arguments]:
    """Do a documented action if nothing is violated."""
    action, slot = translate(world, "command", words[0], ACTIONS)
    if action is None:
        raise Refused(f"unknown command {words[0]}")
    arguments, flags, wrong = parse(world, words[1:])
    wrong += [slot] if slot else []
    given = dict(arguments)
    wrong += check_values(world, action, arguments)
    wrong += check_needs(world, state, action, arguments["obj"], flags)
    if "num" in arguments and not 0 <= arguments["num"] <= LARGEST_NUMBER:
        wrong.append(f"offset {action}")
    if not wrong:
        record = {key: arguments[key] for key in KEYS[1:] if key in arguments}
        state["objects"].setdefault(arguments["obj"], {})[action] = record
    return wrong, given


def explain(world: World, wrong: list[str], words: list[str], given: Arguments) -> str:
    """Return the answer to a command that violates `wrong`, in the world's feedback tier."""
    if world.get("feedback", "explicit") == "pass_fail":
        return FAILED
    shown = wrong[:1] if world.get("errors") == "first" else wrong
    if world.get("feedback", "explicit") == "explicit":
        told = [f"In {clause(world, slot, holds(world, slot))}" for slot in shown]
    else:
        told = [
            f"expected {expected(world, slot)}, got {got(slot, words, given)}" for slot in shown
        ]
    return "\n- ".join(["error:", *told])


def expected(world: World, slot: str) -> str:
    """Return what should have been written for a slot, for the feedback tier `expected`."""
    kind = slot.split(" ", 1)[0]
    value = holds(world, slot) or default(slot)
    if kind == "step":
        return f"{value} before {slot.split(' ', 1)[1]}"
    return f"{value} after {slot.split(' ')[1]}" if RELATIONS[kind] == "takes" else value


def got(slot: str, words: list[str], given: Arguments) -> str:
    """Return what was written instead."""
    kind, key = slot.split(" ", 1)
    if kind == "command":
        return words[0]
    if kind == "key":
        return key
    if kind == "value":
        return str(given.get("to" if key in PLACES else "color", key))
    return NOTHING


def answer(world: World, state: State, command: str) -> tuple[str, bool]:
    """Run one command.

    Args:
        world: The world, see the module's text.
        state: `{"steps": [[step, object]], "objects": {object: {action: arguments}}}`; changed
            in place when the command succeeds.
        command: What the agent wrote, such as "do move obj box to shelf".

    Returns:
        (text, error): the answer, and whether the command failed.
    """
    words = command.replace("=", " ").split()
    words = words[1:] if words[:1] == ["do"] else words
    try:
        if not words:
            raise Refused("empty command")
        if words[0] in STEPS:
            wrong, given = do_step(world, state, words[0], words[1:])
        else:
            wrong, given = do_action(world, state, words)
    except Refused as refused:
        hidden = world.get("feedback") == "pass_fail"
        return (FAILED if hidden else f"error:\n- {refused}"), True
    if wrong:
        return explain(world, in_order(wrong), words, given), True
    return "ok", False


def main() -> None:
    """Serve one request: `{"world", "state", "command"}` in, `{"state", "text", "error"}` out."""
    request = json.load(sys.stdin)
    text, error = answer(request["world"], request["state"], request["command"])
    json.dump({"state": request["state"], "text": text, "error": error}, sys.stdout)


if __name__ == "__main__":
    main()
