"""What distillation learns from: the episodes of runs, with the verified rules that were recalled."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import convert_to_messages, convert_to_openai_messages

from agentevo.distillation.dataset import Answer, Practice, Tools
from agentevo.distillation.rows import Message
from agentevo.prompts import render_system
from agentevo.recall import Recalled
from agentevo.runs.transcripts import read_transcripts


@dataclass(frozen=True, slots=True)
class Teachable:
    """A rule that may be taught.

    Attributes:
        text: What it says.
        trust: From 0 to 1.
    """

    text: str
    trust: float = 1.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What the episodes of one environment have in common.

    Attributes:
        instructions: The environment's system prompt.
        tools: Its tools, in the OpenAI form.
        rules: The verified, active rules by record id; other records are not taught.
    """

    instructions: str
    tools: Tools = ()
    rules: Mapping[str, Teachable] = field(default_factory=dict)

    def system(self, recalled: Sequence[str] = ()) -> str:
        """Return the system prompt with those of the recalled records that may be taught."""
        told = [
            Recalled(name, "rule", self.rules[name].text, self.rules[name].trust, trusted=True)
            for name in recalled
            if name in self.rules
        ]
        return render_system(self.instructions, told)


def practice_of(checkpoints: Iterable[Path], setting: Setting) -> Iterator[Practice]:
    """Yield the finished episodes of some runs as practice.

    Args:
        checkpoints: The runs' `checkpoints.sqlite` files, all of one environment.
        setting: What the episodes have in common.
    """
    for path in checkpoints:
        for transcript in read_transcripts(path):
            result = transcript.result
            rules = tuple(name for name in result.recalled if name in setting.rules)
            told = setting.system(result.recalled)
            yield Practice(
                run_id=result.episode_id.partition(":")[0],
                episode_id=result.episode_id,
                scope=str(transcript.task["scope"]),
                prompt=str(transcript.task["prompt"]),
                system=told,
                bare_system=setting.system(),
                rule_ids=rules,
                trust=min((setting.rules[name].trust for name in rules), default=0.0),
                messages=transcript.messages,
                solved=result.solved,
                errors=transcript.errors,
                tools=setting.tools,
                told_more=told != transcript.system,
                rules=tuple(setting.rules[name].text for name in rules),
            )


def answer_of(model: BaseChatModel) -> Answer:
    """Return the frozen base as `build_dataset` asks it; `model` must run without an adapter."""

    def answer(system: str, messages: Iterable[Message], tools: Tools) -> Message:
        chat = [{"role": "system", "content": system}] if system else []
        bound = model.bind_tools([dict(tool) for tool in tools]) if tools else model
        said = bound.invoke(convert_to_messages([*chat, *(dict(m) for m in messages)]))
        [message] = convert_to_openai_messages([said])
        return message

    return answer
