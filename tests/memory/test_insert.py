import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentevo_memory import (
    Draft,
    Provenance,
    RecordError,
    UnknownRecordError,
    VectorMemory,
    Verdict,
)
from agentevo_memory.language import text_keys, words_in_order


def texts(memory: VectorMemory) -> list[str]:
    return [record.text for record in memory.records()]


def test_the_same_fact_ten_times_is_one_stronger_record(memory: VectorMemory) -> None:
    results = [memory.insert("The server listens on port 8080.") for _ in range(10)]
    assert [result.action for result in results] == ["added"] + ["reinforced"] * 9
    assert len({result.id for result in results}) == len(memory.records()) == 1
    assert memory.get(results[0].id).strength > 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("The deploy takes 5 minutes", "The deploy takes 7 minutes"),
        ("The limit is -5", "The limit is 5"),
        ("The cache is safe", "The cache is not safe"),
        ("We can trust the cache", "We can't trust the cache"),
        ("We asked Alice about it", "We asked Bob about it"),
        ("Alice manages Bob", "Bob manages Alice"),
        ("Fly from Paris to London", "Fly to Paris from London"),
        ("Use x<3 here", "Use x>3 here"),
        ("They use Apple at work", "They use apple at work"),
        ("The university is big", "The universe is big"),
        ("缓存是安全的", "缓存是不安全的"),
    ],
)
def test_texts_that_differ_in_what_matters_are_never_merged(
    memory: VectorMemory, old: str, new: str
) -> None:
    memory.insert(old)
    assert memory.insert(new).action == "added"
    assert texts(memory) == [old, new]


def test_another_inflection_is_merged(memory: VectorMemory) -> None:
    first = memory.insert("The server listens on port 8080")
    again = memory.insert("the server listened on port 8080.")
    assert (again.action, again.matched) == ("merged", (first.id,))


def test_a_denial_is_noted_as_a_contradiction(memory: VectorMemory) -> None:
    first = memory.insert("The cache is safe")
    second = memory.insert("The cache is not safe")
    assert memory.journal.edges(second.id, rel="contradicts") == [
        (second.id, "contradicts", first.id)
    ]


def test_a_new_value_under_the_same_key_supersedes_the_old_one(memory: VectorMemory) -> None:
    old = memory.insert(Draft(text="The door code is 1234", key="door code"))
    new = memory.insert(Draft(text="The door code is 9876", key="door code"))
    assert (new.action, new.matched) == ("superseded", (old.id,))
    assert memory.get(old.id).status == "superseded"
    assert memory.search("door code").ids == (new.id,)


def test_less_trusted_text_does_not_supersede(memory: VectorMemory) -> None:
    old = memory.insert(Draft(text="The door code is 1234", key="door code"))
    tool = Provenance(origin="tool", source="web")
    new = memory.insert(Draft(text="The door code is 9876", key="door code", provenance=tool))
    assert new.action == "quarantined"
    assert memory.get(old.id).status == "active"


def test_recalled_text_is_not_stored_again_as_new(memory: VectorMemory) -> None:
    known = memory.insert("The staging database is reset every Monday at noon")
    memory.mark_recalled([known.id], run_id="run-1")
    run = Provenance(origin="model", run_id="run-1")
    echo = memory.insert(
        Draft(text="- staging database reset every Monday, at noon", provenance=run)
    )
    assert (echo.action, echo.id) == ("merged", known.id)
    assert memory.get(known.id).strength == 1


def test_an_idempotency_key_is_carried_out_once(memory: VectorMemory) -> None:
    first = memory.insert("Seven apples", idempotency_key="k")
    second = memory.insert("Eight pears", idempotency_key="k")
    assert second.id == first.id
    assert texts(memory) == ["Seven apples"]


def test_a_batch_is_stored_as_a_whole_or_not_at_all(memory: VectorMemory) -> None:
    orphan = Draft(text="child", provenance=Provenance(parents=("nobody",)))
    with pytest.raises(UnknownRecordError, match="'nobody' does not exist"):
        memory.insert_many([Draft(text="fine"), orphan])
    assert memory.records() == []


def test_a_verified_rule_is_active_and_a_refused_one_is_quarantined(memory: VectorMemory) -> None:
    model = Provenance(origin="model")
    passed = memory.insert(
        Draft(text="Check twice", kind="rule", provenance=model),
        verify=lambda draft: Verdict(True, "replay"),
    )
    failed = memory.insert(
        Draft(text="Never check", kind="rule", provenance=model),
        verify=lambda draft: Verdict(False, "replay", "0 of 3"),
    )
    unseen = memory.insert(Draft(text="Maybe check", kind="rule", provenance=model))
    statuses = [memory.get(each.id).status for each in (passed, failed, unseen)]
    assert statuses == ["active", "quarantined", "candidate"]
    assert memory.get(passed.id).may_instruct


def test_trust_is_the_minimum_over_the_lineage(memory: VectorMemory) -> None:
    page = memory.insert(
        Draft(text="A page", kind="experience", provenance=Provenance(origin="tool"))
    )
    child = memory.insert(
        Draft(text="A summary of it", provenance=Provenance(origin="human", parents=(page.id,)))
    )
    assert memory.get(child.id).trust == memory.get(page.id).trust == 0.2


@pytest.mark.parametrize(
    "fields",
    [
        {"text": ""},
        {"text": "  \n"},
        {"text": b"bytes"},
        {"text": "a\x00b"},
        {"text": "lone \udc80 surrogate"},
        {"text": "x" * (5 * 1024 * 1024)},
        {"text": "x", "kind": "thought"},
        {"text": "x", "namespace": ()},
        {"text": "x", "namespace": "default"},
        {"text": "x", "namespace": ("a", "")},
        {"text": "x", "namespace": ("a\x1fb",)},
        {"text": "x", "ttl_s": 0},
        {"text": "x", "data": {"a": float("nan")}},
        {"text": "x", "data": {"a": object()}},
    ],
)
def test_bad_input_is_refused_and_nothing_is_stored(
    memory: VectorMemory, fields: dict[str, object]
) -> None:
    with pytest.raises(RecordError):
        memory.insert(Draft(**fields))  # type: ignore[arg-type]
    assert memory.records() == []


def test_a_text_of_one_megabyte_is_kept_whole_and_found(memory: VectorMemory) -> None:
    text = "The quick brown fox. " + "lorem ipsum " * 90_000
    added = memory.insert(text)
    assert memory.get(added.id).text == text
    assert memory.search("quick brown fox").ids == (added.id,)


words = st.lists(
    st.sampled_from(
        ["not", "5", "7", "Alice", "Bob", "port", "server", "cache", "is", "on", "the", "a"]
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(words, words)
def test_equal_fingerprints_mean_equal_words(first: list[str], second: list[str]) -> None:
    one, two = Draft(text=" ".join(first)), Draft(text=" ".join(second))
    same = text_keys(one)[0] == text_keys(two)[0]
    if same:
        assert words_in_order(one.text) == words_in_order(two.text)


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800", {1: {2}}])
def test_data_that_is_no_json_is_refused_and_nothing_is_stored(
    memory: VectorMemory, value: object
) -> None:
    with pytest.raises(RecordError, match="JSON values only"):
        memory.insert(Draft(text="with data", data={"value": value}))
    with pytest.raises(RecordError):
        memory.insert("text", idempotency_key="\ud800")
    with pytest.raises(RecordError, match="must be str, got bytes"):
        memory.insert(b"bytes")  # type: ignore[arg-type]
    assert memory.records() == []
