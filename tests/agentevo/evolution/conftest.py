"""An agent for `quirks` that believes the rules in its prompt and else the documentation."""

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolCall,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

from agentevo.acquisition.run_agent import RunAgent
from agentevo.config import Settings
from agentevo.distillation.registry import AdapterRegistry, Manifest, sha256_of
from agentevo.errors import AdapterError
from agentevo.evolution import evolve, list_evolutions, resume_evolution
from agentevo.evolution.parts import Parts
from agentevo.gate import Criterion
from agentevo.objective import Objective
from agentevo.prompts import REFLECTION_INSTRUCTIONS
from agentevo.recipes import Recipe, load_recipe, parse_recipe
from agentevo.runs.transcripts import read_transcripts
from agentevo.runs.worker import World
from agentevo.runtime import environment_of, model_of, tasks_of
from agentevo.updating.distiller import Distilled, Lesson, Probed
from agentevo.updating.in_context import InContextMemory
from agentevo_environments.packs.quirks import service
from agentevo_environments.packs.quirks.jobs import Job, commands
from agentevo_environments.task import Task
from agentevo_memory import VectorMemory

STATEMENT = re.compile(
    r"In (?P<world>\w+) (?P<key>\w+) (?P<relation>is|needs|takes) (?P<value>\w+)"
)
JOB = re.compile(r"In (?P<world>\w+): (?P<job>[^.]+)\.")


def slot_of(key: str, relation: str) -> str:
    if relation != "is":
        return f"{ {'needs': 'step', 'takes': 'flag'}[relation] } {key}"
    if key in service.ACTIONS:
        return f"command {key}"
    return f"key {key}" if key in service.KEYS else f"value {key}"


def job_of(text: str) -> Job:
    words = text.split()
    found: dict[str, Any] = {"place": None, "color": None, "number": None}
    for word in words[1:]:
        for name, known in (
            ("item", service.OBJECTS),
            ("place", service.PLACES),
            ("color", service.COLORS),
        ):
            if word in known:
                found[name] = word
        if word.isdecimal():
            found["number"] = int(word)
    return Job(action=words[0], **found)


def beliefs_of(text: str, world: str) -> Mapping[str, str]:
    """What a text states about a world, later statements winning."""
    return {
        slot_of(match["key"], match["relation"]): match["value"]
        for match in STATEMENT.finditer(text)
        if match["world"] == world
    }


class Believer(BaseChatModel):
    """Does what the rules, the hint and the documentation say; gives up at the first error."""

    reads_notes: bool = False
    """Whether notes from memory are believed as well."""
    corrects: bool = False
    """Whether the errors of its own episode are believed as well."""
    ignores: str = ""
    """A word that makes it ignore all rules when it stands in the prompt."""
    knows: str = ""
    """Statements that it believes without being told; what it is told counts more."""

    @property
    def _llm_type(self) -> str:
        return "believer"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind()

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        read = sum(len(message.text) for message in messages) // 4
        answer = self._answer(messages)
        written = 4 + len(str(answer.tool_calls) + answer.text) // 4
        answer.usage_metadata = {
            "input_tokens": read,
            "output_tokens": written,
            "total_tokens": read + written,
        }
        return ChatResult(generations=[ChatGeneration(message=answer)])

    def _answer(self, messages: Sequence[BaseMessage]) -> AIMessage:
        system, question = messages[0].text, messages[-1].text
        if system == REFLECTION_INSTRUCTIONS:
            rules = [match.group(0) for match in STATEMENT.finditer(question)]
            return AIMessage('{"rules": [' + ", ".join(f'"{rule}"' for rule in rules) + "]}")
        found = JOB.search(messages[1].text if len(messages) > 1 else system)
        if found is None or len(messages) == 1:
            return AIMessage("Read the errors.")
        told = [message.text for message in messages if isinstance(message, ToolMessage)]
        errors = [m.text for m in messages if isinstance(m, ToolMessage) and m.status == "error"]
        if errors and not self.corrects:
            return AIMessage("I give up.")
        told_rules = system.partition("Rules, later ones win:")[2]
        known = system if self.reads_notes else told_rules.partition("Notes from memory.")[0]
        if self.ignores and self.ignores in system:
            known = ""
        believed = "\n".join([self.knows, known, messages[1].text, *errors])
        plan = commands(job_of(found["job"]), beliefs_of(believed, found["world"]))
        done = sum(text == "ok" for text in told)
        if done >= len(plan):
            return AIMessage("Done.")
        call = ToolCall(
            name="run", args={"command": plan[done]}, id=f"c{len(messages)}", type="tool_call"
        )
        return AIMessage("", tool_calls=[call])


class TextDistiller:
    """Adapters that are texts: the rules that successful practice was told, known without telling.

    A training of `STEPS` steps keeps its place on disk, so that a kill does not start it anew.
    """

    STEPS = 20

    def __init__(self, home: Path, model: Believer, spoil: str = "") -> None:
        self.home, self.base, self.spoil = home, model, spoil
        self.registry = AdapterRegistry(home / "adapters")

    @property
    def active_id(self) -> str | None:
        return self.registry.active_id

    def holds(self, adapter_id: str) -> tuple[str, ...]:
        return self.registry.get(adapter_id).manifest.rule_ids

    def distil(self, lesson: Lesson) -> Distilled:
        told: dict[str, None] = {}
        for path in lesson.practice:
            for transcript in read_transcripts(path):
                if transcript.result.solved:
                    told |= dict.fromkeys(transcript.result.recalled)
        rules = {name: lesson.memory.store.get(name) for name in told}
        taught = {name: rule.text for name, rule in rules.items() if rule.may_instruct}
        if not taught:
            raise AdapterError("there is nothing to distil")
        self._train(lesson)
        text = self.spoil or "\n".join(sorted(taught.values()))
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / "adapter.gguf").write_text(text)
            manifest = Manifest(
                "text",
                sha256_of(Path(name) / "adapter.gguf"),
                "context",
                rule_ids=tuple(sorted(taught)),
            )
            return Distilled(self.registry.register(Path(name), manifest).id, manifest.rule_ids)

    def _train(self, lesson: Lesson) -> None:
        place = self.home / "distillations" / lesson.label
        place.parent.mkdir(exist_ok=True)
        done = int(place.read_text() or 0) if place.is_file() else 0
        for step in range(done + 1, self.STEPS + 1):
            place.write_text(str(step))
            lesson.on_step({"step": step, "steps": self.STEPS, "losses": {}})

    def model(self, adapter_id: str | None) -> Believer:
        if adapter_id is None:
            return self.base
        known = self.registry.get(adapter_id).gguf.read_text()
        return self.base.model_copy(update={"knows": known})

    def probes(self, adapter_id: str, memory: InContextMemory, episodes: Sequence[Path]) -> Probed:
        """Ask both about a world that nobody knows: they must say the same."""
        ours, theirs = self.model(adapter_id), self.model(None)

        def score(criterion: str, question: str) -> tuple[float, float]:
            asked = [SystemMessage("Rules, later ones win:"), HumanMessage(question)]
            answers = [model.invoke(asked).tool_calls[0]["args"] for model in (ours, theirs)]
            return float(answers[0] == answers[1]), 1.0

        names = [
            name for path in episodes for name in (t.task["prompt"] for t in read_transcripts(path))
        ]
        asked = [re.sub(r"^In \w+", f"In Nowhere{i}", name) for i, name in enumerate(names)]
        return Probed((Criterion("leak", 0.3),), {"leak": asked, "retention": asked}, score)

    def serve(self, adapter_id: str | None, *, reason: str) -> None:
        if self.active_id != adapter_id:
            self.registry.activate(adapter_id, reason)


TWO_WORLDS = {"n": 72, "options": {"tasks_per_world": 36, "quirks_per_world": 6}}


def weighing_recipe(rounds: int = 2, **in_weight: Any) -> Recipe:
    """The default recipe with a distillation after the last round."""
    recipe = load_recipe("default")
    changes = {"when": "rounds", "every": rounds, "margin": 0.3} | in_weight
    stage = recipe.in_weight.model_copy(update=changes)
    few = recipe.evaluation.model_copy(update={"most_attempts": 2})
    return recipe.model_copy(update={"in_weight": stage, "rounds": rounds, "evaluation": few})


def quirks_settings(home: Path, **env: Any) -> Settings:
    """Three worlds of twelve tasks, the service in this process."""
    options = {"tasks_per_world": 12, "quirks_per_world": 10}
    return Settings.model_validate(
        {
            "home": home,
            "env": {"name": "fast_quirks:FastQuirks", "n": 36, "options": options} | env,
            "run": {"concurrency": 2, "durability": "exit", "synchronous": "NORMAL"},
            "memory": {"k": 16},
        }
    )


STEPS = 20
MIX: Any = {"target": 5}
RATE = 1e-2
TRAINED_WORLD = {"n": 36, "options": {"tasks_per_world": 36, "quirks_per_world": 4, "attempts": 1}}
TRAINED_RECIPE: dict[str, Any] = {
    "name": "trained",
    "rounds": 1,
    "tasks": {"strategy": "split", "n": 12},
    "in_weight": {"when": "rounds", "tasks": 12, "margin": 0.9, "probe_margin": 0.9},
    "evaluation": {"gate_share": 0.3, "exam_share": 0.15, "most_attempts": 2},
}


def seed_model_plan(home: Path) -> tuple[Settings, Recipe, Parts]:
    """One world with four quirks, and a training of the seed model that takes seconds."""
    from agentevo.distillation.settings import TrainSettings
    from agentevo.models.llama.chat import ChatLlamaEngine
    from agentevo.updating.distiller import LocalDistiller

    changes = {"model": {"spec": "seed", "max_tokens": 128}, "memory": {"k": 8, "notes": 0}}
    run = {"concurrency": 8, "durability": "exit", "synchronous": "NORMAL"}
    settings = Settings.model_validate(
        {**quirks_settings(home, **TRAINED_WORLD).model_dump(), **changes, "run": run}
    )
    chat = model_of(settings)
    assert isinstance(chat, ChatLlamaEngine)
    train = TrainSettings(steps=STEPS, checkpoint_every=5, warmup=2, mix=MIX, learning_rate=RATE)
    made = LocalDistiller(home, chat, lambda: environment_of(settings), (), train, 0.9)
    return settings, parse_recipe(TRAINED_RECIPE), Parts(chat, "hashing", made)


def text_plan(home: Path) -> tuple[Settings, Recipe, Parts]:
    """Two worlds, and adapters that are texts."""
    model = Believer()
    parts = Parts(model, "hashing", TextDistiller(home, model))
    return quirks_settings(home, **TWO_WORLDS), weighing_recipe(), parts


PLANS = {"texts": text_plan, "training": seed_model_plan}


def warm_up(kind: str) -> None:
    """Import what an evolution of a kind imports later."""
    if kind == "training":
        import peft  # noqa: F401
        from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401
        from transformers.models.llama import modeling_llama  # noqa: F401

        import agentevo.distillation.distiller
        import agentevo.distillation.probes
        import agentevo.models.llama.chat  # noqa: F401


def go_on(kind: str, home: Path, on_event: Callable[[Any], None] | None = None) -> Any:
    """Start an evolution in a home, or continue it; returns its report."""
    warm_up(kind)
    settings, recipe, parts = PLANS[kind](home)
    parts = replace(parts, on_event=on_event)
    if list_evolutions(home):
        return resume_evolution(home, "last", parts=parts)
    return evolve(settings, objective=Objective("quirks"), recipe=recipe, parts=parts)


@pytest.fixture(scope="session")
def evolving() -> Callable[..., Any]:
    """Starts an evolution of a kind in a home, or continues it."""
    return go_on


@pytest.fixture(autouse=True)
def _find_fast_quirks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def believer() -> type[Believer]:
    return Believer


@pytest.fixture(scope="session")
def text_distiller() -> type[TextDistiller]:
    return TextDistiller


@pytest.fixture(scope="session")
def make_parts() -> Callable[[Path], Parts]:
    """Makes a believer and its distiller for a home."""

    def make(home: Path) -> Parts:
        model = Believer()
        return Parts(model, "hashing", TextDistiller(home, model))

    return make


@pytest.fixture(scope="session")
def weighing() -> Callable[..., Recipe]:
    return weighing_recipe


@pytest.fixture(scope="session")
def two_worlds() -> dict[str, Any]:
    return TWO_WORLDS


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return quirks_settings(tmp_path / "home")


@pytest.fixture(scope="session")
def make_settings() -> Callable[..., Settings]:
    return quirks_settings


@pytest.fixture
def tasks(settings: Settings) -> Sequence[Task]:
    return tasks_of(settings)


def world_of(settings: Settings) -> World:
    return World(environment_of(settings))


@pytest.fixture
def agent(settings: Settings, tasks: Sequence[Task]) -> RunAgent:
    return RunAgent(
        settings,
        Believer(),
        lambda: world_of(settings),
        pool=frozenset(task.id for task in tasks),
        environment="quirks",
    )


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[InContextMemory]:
    store = VectorMemory(tmp_path / "memory", embedder="hashing")
    yield InContextMemory(store, ("default",), k=16)
    store.close()
