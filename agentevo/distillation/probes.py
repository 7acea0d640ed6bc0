"""What the gate asks of an adapter: prompts, the right actions, and the scores of adapter and base.

Everything is made from held-out episodes that were solved with rules in the prompt, so that no
environment is needed: what solved the task is what has to be done, turn by turn. Other scopes are
the same episodes under other names. Scores are 1 (as it should be) or 0.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from agentevo.distillation.actions import action_of, has_call
from agentevo.distillation.counterfactuals import near_names, rename, renamed
from agentevo.distillation.dataset import Answer, Practice, Tools
from agentevo.distillation.rows import Message
from agentevo.gate.criteria import Criterion, Pair

Column = Literal["gain", "leak", "override", "retention", "with_memory", "format"]
COLUMNS: tuple[Column, ...] = get_args(Column)

_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Question:
    """One prompt with what is right.

    Attributes:
        id: Unique within its column; begins with the episode's id.
        system: The system prompt.
        messages: The conversation with the right actions of the assistant; for `leak` and
            `format` it ends before the first, and the base's answer is right.
        tools: The tools that the prompt declares.
        scope: The scope that the prompt names.
    """

    id: str
    system: str
    messages: tuple[Message, ...]
    tools: Tools = ()
    scope: str = ""


@dataclass(frozen=True, slots=True)
class AdapterProbes:
    """The questions of all columns, and who answers them.

    Attributes:
        questions: The questions by column.
        candidate: The base with the adapter.
        base: The base alone.
    """

    questions: Mapping[Column, Sequence[Question]]
    candidate: Answer
    base: Answer
    _known: dict[tuple[str, str], Pair] = field(default_factory=dict, init=False, repr=False)

    @property
    def tasks(self) -> Mapping[str, Sequence[str]]:
        """The ids of the questions by column, as `Gate.judge` takes them."""
        return {column: [each.id for each in asked] for column, asked in self.questions.items()}

    def score(self, column: str, name: str) -> Pair:
        """Return the scores of candidate and base on one question; asked once.

        Raises:
            KeyError: There is no such question.
        """
        key = (column, name)
        if key not in self._known:
            chosen: Column = next(each for each in COLUMNS if each == column)
            question = next(each for each in self.questions[chosen] if each.id == name)
            self._known[key] = self._ask(chosen, question)
        return self._known[key]

    def measure(self) -> Mapping[str, Sequence[Pair]]:
        """Return the scores of every question, in order."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return {
                column: list(pool.map(self.score, [column] * len(names), names))
                for column, names in self.tasks.items()
            }

    def summary(self) -> dict[str, Any]:
        """Return the shares of right answers by column, and of the gain by scope, as plain data."""
        measured = self.measure()
        gained: dict[str, list[Pair]] = {}
        for question, pair in zip(self.questions["gain"], measured["gain"], strict=True):
            gained.setdefault(question.scope, []).append(pair)
        return {
            "columns": {column: _shares(pairs) for column, pairs in measured.items() if pairs},
            "scopes": {scope: _shares(pairs) for scope, pairs in sorted(gained.items())},
        }

    def _ask(self, column: Column, question: Question) -> Pair:
        if column in ("leak", "format"):
            asked = (question.system, question.messages, question.tools)
            ours, theirs = self.candidate(*asked), self.base(*asked)
            if column == "format":
                return float(has_call(ours)), float(has_call(theirs))
            return float(action_of(ours) == action_of(theirs)), 1.0
        return _does(self.candidate, question), _does(self.base, question)


def _shares(pairs: Sequence[Pair]) -> dict[str, float]:
    return {
        "adapter": sum(ours for ours, _ in pairs) / len(pairs),
        "base": sum(theirs for _, theirs in pairs) / len(pairs),
        "n": len(pairs),
    }


def _does(answer: Answer, question: Question) -> float:
    """Return 1.0 if every answer along the conversation acts as is right, else 0.0."""
    return float(
        all(
            action_of(answer(question.system, question.messages[:i], question.tools))
            == action_of(message)
            for i, message in enumerate(question.messages)
            if message["role"] == "assistant"
        )
    )


def adapter_questions(
    practice: Sequence[Practice], fresh_scopes: Sequence[str], *, names: int = 4, seed: int = 0
) -> Mapping[Column, Sequence[Question]]:
    """Return the questions that held-out episodes give.

    Args:
        practice: Held-out episodes; only those that were solved with rules count.
        fresh_scopes: Names that neither practice nor training uses; without any, and without two
            scopes to mix, the columns of other scopes stay empty.
        names: How many other names each episode is asked under, half of them mixed from those of the
            practice and so hard to tell apart.
        seed: Seed of the choice of names and of the order.
    """
    usable = [episode for episode in practice if episode.solved and episode.rule_ids]
    scopes = sorted({episode.scope for episode in usable if episode.scope})
    near = near_names(scopes, fresh_scopes)
    source = random.Random(seed)
    asked: dict[Column, list[Question]] = {column: [] for column in COLUMNS}
    for episode in usable:
        for column, question in _own(episode):
            asked[column].append(question)
        if not episode.scope:
            continue
        close = _some(source, near, names // 2)
        for name in [*close, *_some(source, fresh_scopes, names - len(close))]:
            asked["leak"].append(_under(episode, name, told=False))
            asked["retention"].append(_under(episode, name, told=True))
        others = [scope for scope in scopes if scope != episode.scope]
        for name in _some(source, others, names):
            asked["override"].append(_under(episode, name, told=True))
    for questions in asked.values():
        source.shuffle(questions)
    return asked


def _some(source: random.Random, names: Sequence[str], count: int) -> list[str]:
    return source.sample(names, min(count, len(names)))


def _own(episode: Practice) -> Iterator[tuple[Column, Question]]:
    name, tools, scope = episode.episode_id, episode.tools, episode.scope
    asked = _until_answer(episode.messages)
    yield "gain", Question(name, episode.bare_system, episode.messages, tools, scope)
    yield "with_memory", Question(name, episode.system, episode.messages, tools, scope)
    yield "format", Question(name, episode.bare_system, asked, tools, scope)


def _under(episode: Practice, scope: str, *, told: bool) -> Question:
    """Return an episode under another scope, with its rules renamed or with no rules."""
    system = episode.system if told else episode.bare_system
    messages = renamed(episode.messages, episode.scope, scope)
    return Question(
        f"{episode.episode_id}@{scope}",
        rename(system, episode.scope, scope),
        messages if told else _until_answer(messages),
        episode.tools,
        scope,
    )


def _until_answer(messages: Sequence[Message]) -> tuple[Message, ...]:
    roles = [message["role"] for message in messages]
    return tuple(messages[: roles.index("assistant") if "assistant" in roles else len(roles)])


def weight_criteria(
    *, margin: float = 0.05, alpha: float = 0.05, budget: int = 256
) -> tuple[Criterion, ...]:
    """Return what an adapter must show: a gain, and nothing else worse than `margin`.

    Args:
        margin: How much worse than the base the adapter may be on everything but the gain.
        alpha: Error rate of the verdict.
        budget: Most questions of one column.
    """
    kept = [column for column in COLUMNS if column != "gain"]
    return (
        Criterion("gain", 0.0, alpha, budget),
        *(Criterion(column, margin, alpha, budget) for column in kept),
    )
