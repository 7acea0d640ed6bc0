"""What distillation learns from: the episodes of runs, with the verified rules that were recalled."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import convert_to_messages, convert_to_openai_messages

from agentevo.distillation.dataset import Answer, Practice, Tools
from agentevo.distillation.rows import Message
from agentevo.prompts import render_system
from agentevo.runs.transcripts import read_transcripts


@dataclass(frozen=True, slots=True)
class Setting:
    """What the episodes of one environment have in common.

    Attributes:
        instructions: The environment's system prompt.
        tools: Its tools, in the OpenAI form.
        rules: Trust of each verified, active rule, by record id; other records are not taught.
    """

    instructions: str
    tools: Tools = ()
    rules: Mapping[str, float] = field(default_factory=dict)


def practice_of(checkpoints: Iterable[Path], setting: Setting) -> Iterator[Practice]:
    """Yield the finished episodes of some runs as practice.

    Args:
        checkpoints: The runs' `checkpoints.sqlite` files, all of one environment.
        setting: What the episodes have in common.
    """
    bare = render_system(setting.instructions)
    for path in checkpoints:
        for transcript in read_transcripts(path):
            result = transcript.result
            rules = tuple(name for name in result.recalled if name in setting.rules)
            yield Practice(
                run_id=result.episode_id.partition(":")[0],
                episode_id=result.episode_id,
                scope=str(transcript.task["scope"]),
                prompt=str(transcript.task["prompt"]),
                system=transcript.system,
                bare_system=bare,
                rule_ids=rules,
                trust=min((setting.rules[name] for name in rules), default=0.0),
                messages=transcript.messages,
                solved=result.solved,
                errors=transcript.errors,
                tools=setting.tools,
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
