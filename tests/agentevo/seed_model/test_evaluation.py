"""The measures: what any model can play, and what they make of a perfect and of a hopeless one."""

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI

from agentevo.models.scripted import ScriptedModel
from agentevo.seed_model.evaluation import evaluate, row
from agentevo.seed_model.measures import MEASURES, by_name, tasks_for
from agentevo.seed_model.player import play
from agentevo.seed_model.reflections import parse_rules
from agentevo.stages import NO_CHANGES
from agentevo_environments.packs.quirks import service
from agentevo_environments.packs.quirks.difficulty import SEEDS
from agentevo_environments.packs.quirks.jobs import Job, commands
from agentevo_environments.packs.quirks.tasks import job_of
from agentevo_environments.task import Task

KINDS = {"is": "command", "needs": "step", "takes": "flag", "adds": "offset"}
LEARNABLE = [measure for measure in MEASURES if "feedback" not in measure.name]


def slot_of(key: str, relation: str) -> str:
    if key in service.KEYS:
        return f"key {key}"
    valued = key in (*service.PLACES, *service.COLORS)
    return f"{'value' if valued else 'condition' if ' ' in key else KINDS[relation]} {key}"


class Reader(BaseChatModel):
    """A model that does exactly what the text tells it, the later of two rules first."""

    @property
    def _llm_type(self) -> str:
        return "reader"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        text = "\n".join(str(message.content) for message in messages)
        if "List the new rules as JSON." in text:
            rules = re.findall(r"^- (In .*)$", text.split("Errors:")[1], flags=re.MULTILINE)
            answer = AIMessage(json.dumps({"rules": rules}))
        elif text.startswith(("Task:", "Principle:")):
            answer = AIMessage(self.verdict(text))
        else:
            command = self.command(messages, text)
            call = {"name": "run", "args": {"command": command}, "id": "1"}
            answer = AIMessage("", tool_calls=[call])
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def command(self, messages: list[BaseMessage], text: str) -> str:
        world, words = re.findall(r"In (\w+): (.*)\.$", str(messages[1].content))[0]
        told = re.findall(rf"^- In {world} (.*) (is|needs|takes|adds) (\S+)$", text, re.MULTILINE)
        lines = commands(self.job(words), {slot_of(k, r): value for k, r, value in told})
        done = messages[-1].content == "ok"
        return lines[-1] if done else lines[0]

    def verdict(self, text: str) -> str:
        wanted = re.findall(r"Task:\nIn \w+: (.*)\.$", text, re.MULTILINE)[0]
        item, calls = self.job(wanted).item, re.findall(r'"command": "(.*)"', text)
        done = next((word for word in " ".join(calls).split() if word in service.OBJECTS), "")
        found = f"about the {done}." if done else "is empty."
        said = f"The task is about the {item}, the attempt {found}"
        if NO_CHANGES in text:
            return f"{said} {NO_CHANGES if done == item else f'Act on the {item}.'}"
        return f"{said}\nScore: {10 if done == item else 0}"

    def job(self, words: str) -> Job:
        action, *rest = words.replace(" the ", " ").split()
        colors = [word for word in rest if word in service.COLORS]
        places = [word for word in rest if word in service.PLACES]
        numbers = [int(word) for word in rest if word.isdigit()]
        item = next(word for word in rest if word in service.OBJECTS)
        return Job(
            action,
            item,
            place=places[0] if places else None,
            color=colors[0] if colors else None,
            number=numbers[0] if numbers else None,
        )


@pytest.fixture
def task() -> Task:
    return tasks_for(MEASURES[0], 1, 0)[0]


@pytest.mark.parametrize("measure", LEARNABLE, ids=lambda measure: measure.name)
def test_a_careful_reader_passes_every_measure_and_cannot_guess(measure: Any) -> None:
    measured = evaluate(Reader(), count=25, measures=[measure])
    expected = 0 if measure.name == "no memory, one attempt" else 25
    assert (measured.rows[0].hits, measured.rows[0].trials) == (expected, 25)
    assert measured.rows[-1].share == 1.0


def test_scripts_of_the_known_solutions_solve_every_task() -> None:
    for task in tasks_for(MEASURES[0], 200, 0):
        quirks: Any = task.data["world"]
        lines = commands(job_of(task), quirks["quirks"])
        calls = [[{"name": "run", "args": {"command": line}, "id": "1"}] for line in lines]
        model = ScriptedModel(responses=[AIMessage("", tool_calls=call) for call in calls])
        assert play(model, task, actions=5, errors=1).at_once


def test_an_answer_without_a_call_counts_as_invalid(task: Task) -> None:
    played = play(ScriptedModel(responses=["I would rather not."]), task, actions=5, errors=5)
    assert (played.solved, played.valid, played.answers) == (False, 0, 1)


@pytest.fixture
def openai_server() -> Iterator[Callable[[list[str]], str]]:
    servers: list[HTTPServer] = []

    def serve(lines: list[str]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                turn = sum(message["role"] == "assistant" for message in asked["messages"])
                function = {"name": "run", "arguments": json.dumps({"command": lines[turn]})}
                call = {"id": f"c{turn}", "type": "function", "function": function}
                message = {"role": "assistant", "content": None, "tool_calls": [call]}
                choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
                usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
                reply = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
                body = json.dumps({**reply, "choices": [choice], "usage": usage}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        servers.append(HTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/v1"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_model_behind_an_openai_server_plays_the_same_episode(
    task: Task, openai_server: Callable[[list[str]], str]
) -> None:
    quirks: Any = task.data["world"]
    lines = [*commands(job_of(task), {}), *commands(job_of(task), quirks["quirks"])]
    url = openai_server(lines)
    with ChatOpenAI(base_url=url, api_key="none", model="m").root_client as client:
        model = ChatOpenAI(base_url=url, api_key="none", model="m", root_client=client)
        played = play(model, task, actions=5, errors=5)
    assert played.solved
    assert played.turns[0].error


def test_measured_worlds_are_outside_the_training_range() -> None:
    for measure in MEASURES:
        for task in tasks_for(measure, 5, 0):
            assert int(task.id.split("/")[2]) in SEEDS["test"]


def test_rows_know_their_goal() -> None:
    assert row("x", ">= 0.95", 95, 100).met is True
    assert row("x", "<= 0.10", 11, 100).met is False
    assert row("x", "", 1, 2).met is None
    assert row("x", "", 50, 100).low == pytest.approx(0.404, abs=0.001)


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ('{"rules": ["a"]}', ["a"]),
        ('{"rules": []}', []),
        ('{"rules": "a"}', None),
        ('{"rules": [1]}', None),
        ("[]", None),
        ("no", None),
    ],
)
def test_reflections_are_read_strictly(text: str, rules: list[str] | None) -> None:
    assert parse_rules(text) == rules


def test_measures_have_names_of_their_own() -> None:
    assert len(by_name()) == len(MEASURES)
