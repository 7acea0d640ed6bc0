import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from agentevo.config import Settings, dump_settings

texts = st.text(st.characters(codec="utf-8"), max_size=20)
leaves = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
option_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)
)
options = st.dictionaries(texts.filter(lambda key: "key" not in key.lower()), option_values)


def fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        yield prefix + name, field
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from fields(field.annotation, f"{prefix}{name}.")


ALL_FIELDS = dict(fields(Settings))


@pytest.mark.parametrize("name", ALL_FIELDS)
def test_every_setting_says_what_it_means(name: str) -> None:
    assert len(ALL_FIELDS[name].description or "") > 15


@pytest.mark.parametrize("name", ALL_FIELDS)
def test_a_setting_that_may_be_absent_is_absent_by_default(name: str) -> None:
    field = ALL_FIELDS[name]
    if type(None) in getattr(field.annotation, "__args__", ()):
        assert field.default is None


@given(
    st.builds(
        dict,
        env=st.fixed_dictionaries(
            {"options": options},
            optional={
                "name": texts.filter(bool),
                "n": st.none() | st.integers(1, 2**40),
                "seed": st.integers(0, 2**63 - 1),
                "tasks": st.sampled_from(["/a/b.jsonl", "/ä/c.jsonl.gz"]),
            },
        ),
        run=st.fixed_dictionaries(
            {},
            optional={
                "wall_s": st.none() | st.floats(1e-9, 1e12),
                "concurrency": st.integers(1, 256),
                "durability": st.sampled_from(["sync", "async", "exit"]),
            },
        ),
    )
)
def test_settings_written_as_toml_read_back_equal(values: dict[str, Any]) -> None:
    settings = Settings(**values)
    assert Settings(**tomllib.loads(dump_settings(settings))) == settings


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Settings().env.n = 3


def test_constructing_settings_reads_no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTEVO_ENV__NAME", "quirks")
    assert Settings().env.name == "code"


@pytest.mark.parametrize(
    "key", ["api_key", "apikey", "OPENAI_API_KEY", "token", "auth_token", "password"]
)
def test_secrets_are_refused_because_settings_are_written_down(key: str) -> None:
    with pytest.raises(ValidationError, match="environment variable"):
        Settings(model={"options": {key: "sk-1"}})


@pytest.mark.parametrize("key", ["max_tokens", "keyboard", "n_ctx", "tokenizer"])
def test_options_that_are_no_secrets_are_taken(key: str) -> None:
    assert Settings(model={"options": {key: 1}}).model.options == {key: 1}


def test_relative_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(env={"tasks": "tasks.jsonl"})
    assert settings.env.tasks == tmp_path / "tasks.jsonl"
    assert settings.home == tmp_path / ".agentevo"


def test_the_schema_carries_the_meaning_of_each_setting() -> None:
    schema = Settings.model_json_schema()
    assert schema["$defs"]["RunSettings"]["properties"]["concurrency"]["description"]
