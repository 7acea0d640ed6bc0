"""The rules of a generation: what is told in the prompt, and what the weights hold."""

from collections.abc import Mapping
from contextlib import closing

from agentevo.config import Settings
from agentevo.generations import Generation
from agentevo_memory.history import fold
from agentevo_memory.journal import FILE_NAME, Journal

PLACES = {"active": "told", "distilled": "in weights"}


def rules_of(settings: Settings, generation: Generation) -> Mapping[str, str] | None:
    """Return where each rule of a generation lives, "told" or "in weights", by text.

    None if the memory never stood where the generation was made, as it is with refused ones.

    Args:
        settings: Home and memory.
        generation: The generation.
    """
    folder = settings.memory.path or settings.home / "memory"
    seq, head = generation.memory.seq, generation.memory.head
    if not (folder / FILE_NAME).is_file():
        return None
    with closing(Journal(folder, read_only=True)) as journal:
        found = journal.query("SELECT hash FROM event WHERE seq=?", (seq,))
        if seq and (not found or bytes(found[0][0]).hex() != head):
            return None
        records = fold(event for event in journal.events() if event.seq <= seq)
    space = (str(generation.profile.get("namespace", settings.memory.namespace)),)
    return {
        record.text: PLACES[record.status]
        for record in records
        if record.namespace == space and record.kind == "rule" and record.status in PLACES
    }
