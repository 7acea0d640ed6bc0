import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentevo_memory import Draft, Provenance, RecordError, VectorMemory
from agentevo_memory.embedding.hashing import HashingEmbedder
from agentevo_memory.record import KINDS
from agentevo_memory.transfer import export_lines, export_markdown

texts = st.text(
    st.characters(blacklist_categories=("Cs", "Cc"), whitelist_characters="\n"), min_size=1
).filter(lambda text: text.strip())
drafts = st.builds(
    Draft,
    text=st.one_of(texts, st.sampled_from(["<!-- {} -->", "a --> b", "## x\n> y", "日本語 😀"])),
    body=texts,
    kind=st.sampled_from(KINDS),
    namespace=st.sampled_from([("default",), ("a", "b")]),
    tags=st.tuples(st.sampled_from(["x", "y"])),
    data=st.dictionaries(st.sampled_from("ab"), st.integers() | texts, max_size=2),
    ttl_s=st.none() | st.floats(1, 1e6),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(drafts, min_size=1, max_size=5), st.booleans())
def test_export_then_import_is_the_identity(
    tmp_path_factory: pytest.TempPathFactory, given_drafts: list[Draft], markdown: bool
) -> None:
    folder = tmp_path_factory.mktemp("transfer")
    write = export_markdown if markdown else export_lines
    with VectorMemory(folder / "a", embedder=HashingEmbedder(), index="exact") as first:
        first.insert_many(given_drafts)
        text = "\n".join(write(first.journal))
        records, edges = first.records(), first.journal.edges()
    with VectorMemory(folder / "b", embedder=HashingEmbedder(), index="exact") as second:
        second.import_lines(text.split("\n"), trusted=True)
        assert second.records() == records
        assert sorted(second.journal.edges()) == sorted(edges)
        assert "\n".join(write(second.journal)).split("\n")[0] == text.split("\n")[0]


def test_what_is_imported_can_be_found_and_is_imported_once(
    open_memory: Any, memory: VectorMemory
) -> None:
    parent = memory.insert("Green tea").id
    memory.insert(Draft(text="Tea is green", provenance=Provenance(parents=(parent,))))
    lines = list(export_lines(memory.journal))
    other = open_memory("other")
    assert other.import_lines(lines, trusted=True).added == 2
    assert other.search("green tea").hits
    assert other.import_lines(lines, trusted=True).present == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "announces 2 records and holds 1"),
        (lambda lines: lines[1:], "header"),
        (lambda lines: [*lines[:1], "{broken", *lines[2:]], "line 2"),
        (lambda lines: [lines[0], json.dumps({"record": {"id": "x"}}), lines[2]], "line 2"),
        (lambda lines: [], "header"),
    ],
)
def test_damaged_exports_are_refused_as_a_whole(
    memory: Any, open_memory: Any, change: Any, message: Any
) -> None:
    memory.insert_many([Draft(text="one thing"), Draft(text="another matter")])
    other = open_memory("other")
    with pytest.raises(RecordError, match=message):
        other.import_lines(change(list(export_lines(memory.journal))))
    assert other.records() == []
