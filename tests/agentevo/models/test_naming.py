"""A model's name finds the model, or an error that says what to do."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel

from agentevo.errors import ModelError, UnknownModelError
from agentevo.models import init_model, model_for_episode
from agentevo_environments import Action, Environment, Grade, Observation, Task, TaskId, ToolSpec

TASK = Task(TaskId("t1"), "Do it.")


class Door(Environment):
    """Known solutions for every task but `unknown`."""

    name = "door"

    def tasks(self, split: str = "test", n: int | None = None, seed: int = 0) -> Sequence[Task]:
        return [TASK]

    def reset(self, task: Task) -> Observation:
        return Observation("")

    def step(self, action: Action) -> Observation:
        return Observation("", done=True)

    def grade(self) -> Grade:
        return Grade(1.0, solved=True)

    def tools(self) -> Sequence[ToolSpec]:
        return []

    def oracle(self, task: Task) -> Sequence[Action] | None:
        return None if task.id == "unknown" else [Action("open", {"how": "gently"}), Action("go")]

    def decoy(self, task: Task) -> Sequence[Action]:
        return [Action("knock")]


def act(spec: str, task: Task = TASK) -> Any:
    return model_for_episode(init_model(spec), Door(), task).invoke("hi")


def test_the_oracle_replays_the_known_solution_and_then_stops() -> None:
    source = init_model("scripted:oracle")
    model = model_for_episode(source, Door(), TASK)
    conversation: list[Any] = [("human", "hi")]
    said = []
    for _ in range(4):
        conversation.append(model.invoke(conversation))
        said.append([(c["name"], c["args"]) for c in conversation[-1].tool_calls])
    assert said == [[("open", {"how": "gently"})], [("go", {})], [], []]


def test_wrong_replays_the_decoy() -> None:
    assert act("scripted:wrong").tool_calls[0]["name"] == "knock"


def test_a_task_without_a_known_solution_is_a_model_error() -> None:
    with pytest.raises(ModelError, match="'door' has no oracle for task 'unknown'"):
        act("scripted:oracle", Task(TaskId("unknown"), ""))


def test_a_script_file_answers_per_task(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    answers = {
        "*": ["hi", {"content": "", "tool_calls": [{"name": "go", "args": {}}]}],
        "t1": [{"error": "no"}],
    }
    script.write_text(json.dumps(answers))
    assert act(f"scripted:{script}", Task(TaskId("other"), "")).text == "hi"
    with pytest.raises(ModelError, match="no"):
        act(f"scripted:{script}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("3", "must be a list of answers"),
        ('[{"text": "x"}]', r"\*\[0\] is not an answer \(unknown keys \['text'\]\)"),
        ('[{"tool_calls": [{"name": "x"}]}]', "is not an answer"),
        ('["ok", 5]', r"\*\[1\] is not an answer"),
    ],
)
def test_a_bad_script_file_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    script = tmp_path / "script.json"
    script.write_text(text)
    with pytest.raises(UnknownModelError, match=message):
        init_model(f"scripted:{script}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("scripted:orcle", "did you mean 'scripted:oracle'"),
        ("scriptd:oracle", "did you mean 'scripted:oracle'"),
        ("nobody:model", "Known forms: scripted:oracle"),
        ("", "unknown model ''"),
        ("scripted:missing.json", "cannot read the script 'missing.json'"),
    ],
)
def test_an_unknown_model_lists_the_forms(spec: str, message: str) -> None:
    with pytest.raises(UnknownModelError, match=message):
        init_model(spec)


def test_a_scripted_model_refuses_options_that_mean_nothing() -> None:
    init_model("scripted:oracle", temperature=0.5, max_tokens=None)
    with pytest.raises(ModelError, match="takes no option 'n_ctx'"):
        init_model("scripted:oracle", n_ctx=3)


def test_other_names_go_to_langchain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    model = init_model("openai:gpt-5-mini", temperature=0.5)
    assert isinstance(model, BaseChatModel)
    assert model_for_episode(model, Door(), TASK) is model


def test_a_missing_key_is_found_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        init_model("openai:gpt-5-mini")


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ModelError, match="langchain-fireworks"):
        init_model("fireworks:some-model")
