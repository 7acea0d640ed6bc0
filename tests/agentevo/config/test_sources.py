import itertools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agentevo.config import Settings, load_settings, origin_of, read_layers
from agentevo.errors import ConfigError

SOURCES = ("command line", "--set", "environment", "file")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load_from(sources: dict[str, int], folder: Path) -> tuple[Settings, str]:
    """Set run.concurrency in each source given, and return the settings with its origin."""
    file = folder / "settings.toml"
    text = f"[run]\nconcurrency = {sources['file']}\n" if "file" in sources else ""
    file.write_text(text)
    arguments: dict[str, Any] = {"file": file, "environ": {}}
    if "environment" in sources:
        arguments["environ"] = {"AGENTEVO_RUN__CONCURRENCY": str(sources["environment"])}
    if "--set" in sources:
        arguments["sets"] = [f"run.concurrency={sources['--set']}"]
    if "command line" in sources:
        arguments["overrides"] = {"run": {"concurrency": sources["command line"]}}
    layers = read_layers(**arguments)
    return load_settings(**arguments), origin_of("run.concurrency", layers)


@pytest.mark.parametrize(
    "present", [some for k in range(5) for some in itertools.combinations(SOURCES, k)]
)
def test_the_strongest_source_wins(present: tuple[str, ...], tmp_path: Path) -> None:
    sources = {source: 10 + SOURCES.index(source) for source in present}
    loaded, origin = load_from(sources, tmp_path)
    if not present:
        assert (loaded.run.concurrency, origin) == (4, "default")
    else:
        assert loaded.run.concurrency == sources[present[0]]
        wanted = str(tmp_path / "settings.toml") if present[0] == "file" else present[0]
        assert origin == wanted


def test_sources_are_merged_key_by_key(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('[env]\nname = "quirks"\nn = 5\n[env.options]\ndays = 3\nworld = 1\n')
    loaded = load_settings(
        {"env": {"n": 2}},
        sets=["env.options.world=9"],
        file=file,
        environ={"AGENTEVO_ENV__SEED": "7"},
    )
    assert (loaded.env.name, loaded.env.n, loaded.env.seed) == ("quirks", 2, 7)
    assert loaded.env.options == {"days": 3, "world": 9}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_a_set_text_arrives_unchanged(text: str) -> None:
    if text != "none":
        assert load_settings(sets=[f"env.name={text}"], environ={}).env.name == text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 10**12))
def test_a_set_number_arrives_as_number(n: int) -> None:
    assert load_settings(sets=[f"env.n={n}"], environ={}).env.n == n


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("true", True), ("[1, 2]", [1, 2]), ("de", "de"), ('"3"', "3"), ("1e3", 1000.0)],
)
def test_free_options_are_read_as_json_where_they_are_json(text: str, value: object) -> None:
    loaded = load_settings(sets=[f"env.options.x={text}"], environ={})
    assert loaded.env.options == {"x": value}


def test_none_takes_back_what_a_weaker_source_set(tmp_path: Path) -> None:
    (tmp_path / "agentevo.toml").write_text("[env]\nn = 5\n")
    assert load_settings(environ={}).env.n == 5
    assert load_settings(sets=["env.n=none"], environ={}).env.n is None


def test_agentevo_toml_goes_before_pyproject(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool.agentevo.env]\nn = 1\n")
    assert load_settings(environ={}).env.n == 1
    (tmp_path / "agentevo.toml").write_text("[env]\nn = 2\n")
    assert load_settings(environ={}).env.n == 2


def test_a_pyproject_without_our_table_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert load_settings(environ={}) == Settings()


def test_foreign_variables_are_left_alone() -> None:
    environ = {"AGENTEVO_SHARED_DATA": "x", "AGENTEVO": "y", "ENV__NAME": "z"}
    assert load_settings(environ=environ) == Settings()


@pytest.mark.parametrize(
    ("sets", "parts"),
    [
        (["env.naem=x"], ["'env.naem'", "did you mean 'env.name'", "env.tasks"]),
        (["enw.name=x"], ["'enw'", "did you mean 'env'", "sandbox"]),
        (["env.n=0"], ["'env.n'", "'0'", "--set", "greater than or equal to 1"]),
        (["run.durability=often"], ["'often'", "'sync', 'async' or 'exit'"]),
        (["sandbox.backnd=1"], ["'sandbox.backnd'", "sandbox.backend"]),
        (["env.n"], ["'env.n'", "section.key=value"]),
        (["=3"], ["'=3'", "section.key=value"]),
        (["env=3"], ["'env'"]),
        (["env.name.first=3"], ["'env.name'"]),
        (["run={"], ["JSON object"]),
        (["env.options.a=null"], ["'env.options.a'", "a finite number, a text"]),
        (["run.wall_s=inf"], ["'run.wall_s'", "finite"]),
        (["home=~nobody-of-this-name/x"], ["'home'", "without '~'"]),
    ],
)
def test_a_bad_setting_is_named_with_what_is_allowed(sets: list[str], parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(sets=sets, environ={})
    assert [part for part in parts if part not in str(caught.value)] == []


def test_all_bad_settings_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(sets=["env.n=0", "run.concurrency=0"], environ={})
    assert len(str(caught.value).splitlines()) == 2


def test_a_secret_is_never_repeated_in_the_message() -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(sets=["model.options.api_key=sk-very-secret"], environ={})
    assert "sk-very-secret" not in str(caught.value)


@pytest.mark.parametrize("content", [b"[env\n", b"\xff\xfe", b"env = 1"])
def test_a_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "agentevo.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"agentevo\.toml"):
        load_settings(environ={})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_settings(file=tmp_path / "nowhere.toml", environ={})
