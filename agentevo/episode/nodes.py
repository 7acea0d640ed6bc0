"""The four steps of an episode: recall, act, execute, grade.

Each reads the state, calls one part and returns the update. A part that breaks is recorded as a
failure and leads to `grade`, so an episode always ends with a verdict.
"""

import time

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.runnables import Runnable
from langgraph.runtime import Runtime, get_runtime

from agentevo.episode.calls import calls_of, do_calls, tool_message
from agentevo.episode.context import EpisodeContext
from agentevo.episode.failure import failure, is_broken, recorded_failures
from agentevo.episode.outcome import outcome_of
from agentevo.episode.state import EpisodeState, GradeState, Usage, task_of
from agentevo.episode.step import Update
from agentevo.episode.stream import stream_acted, stream_executed, stream_graded, stream_started
from agentevo.prompts import render_system

NUDGE = "Use one of your tools: text alone does nothing here."
_UNUSED = Usage(
    input_tokens=0, output_tokens=0, model_s=0.0, environment_s=0.0, active_s=0.0, graph_steps=0
)


def recall(state: EpisodeState) -> Update:
    """Start the episode: reset the environment, recall from memory, open the conversation."""
    runtime = get_runtime(EpisodeContext)
    context, task, started = runtime.context, task_of(state), time.perf_counter()
    update: Update = {"actions": 0, "done": False, "nudged": False, "recalled": []}
    with recorded_failures(update, "environment"):
        first = context.environment.reset(task)
        context.entered(state["episode_id"])
        update |= {"done": first.done, "snapshot": context.snapshot()}
    environment_s = time.perf_counter() - started
    if "failure" not in update:
        with recorded_failures(update, "memory"):
            records = context.recall(task)
            update["recalled"] = [
                {"id": each.id, "kind": each.kind, "score": float(each.score)} for each in records
            ]
            system = render_system(context.environment.instructions, records)
            prompt = "\n\n".join(filter(None, (task.prompt, first.text)))
            update["messages"] = [SystemMessage(system), HumanMessage(prompt)]
    update["usage"] = _used(state, context, environment_s=environment_s)
    stream_started(runtime, state, update)
    return update


def act(state: EpisodeState) -> Update:
    """Call the model once; remind it of its tools when it answers without using one."""
    context = get_runtime(EpisodeContext).context
    update, answer, started = _check_budget(state, context), None, time.perf_counter()
    if not update:
        with recorded_failures(update, "environment"):
            model = _ready_model(state, context)
            with recorded_failures(update, "model"):
                answer = model.invoke(state["messages"])
    return _acted(state, update, answer, time.perf_counter() - started)


async def aact(state: EpisodeState) -> Update:
    """Do what `act` does without blocking the event loop in the model."""
    context = get_runtime(EpisodeContext).context
    update, answer, started = _check_budget(state, context), None, time.perf_counter()
    if not update:
        with recorded_failures(update, "environment"):
            model = _ready_model(state, context)
            with recorded_failures(update, "model"):
                answer = await model.ainvoke(state["messages"])
    return _acted(state, update, answer, time.perf_counter() - started)


def execute(state: EpisodeState) -> Update:
    """Do the tool calls of the last answer in the environment, in order."""
    runtime, started, update = get_runtime(EpisodeContext), time.perf_counter(), Update()
    context = runtime.context
    calls = calls_of(state["messages"][-1], f"{state['episode_id']}/{state['actions']}")
    results = []
    with recorded_failures(update, "environment"):
        context.ensure_live(state["episode_id"], task_of(state), state.get("snapshot"))
        left = context.step_limit() - state["actions"]
        results = do_calls(context.environment, calls, left)
        update |= {
            "messages": [tool_message(result) for result in results],
            "actions": state["actions"] + sum(result.counted for result in results),
            "done": any(result.observation.done for result in results),
            "snapshot": context.snapshot(),
        }
        if not update["done"] and update["actions"] >= context.step_limit():
            message = f"all {context.step_limit()} actions are used up"
            update["failure"] = failure("budget", message)
    seconds = time.perf_counter() - started
    update["usage"] = _used(state, context, environment_s=seconds)
    stream_executed(runtime, state, results, seconds)
    return update


def grade(state: EpisodeState, runtime: Runtime[EpisodeContext]) -> Update:
    """Let the environment judge the episode, and the memory learn of it."""
    context, started = runtime.context, time.perf_counter()
    update: Update = {"grade": GradeState(score=0.0, solved=False, detail="not graded")}
    previous = state.get("failure")
    if not is_broken(previous):
        with recorded_failures(update, "environment"):
            context.ensure_live(state["episode_id"], task_of(state), state.get("snapshot"))
            verdict = context.environment.grade()
            update["grade"] = GradeState(
                score=verdict.score, solved=verdict.solved, detail=verdict.detail
            )
            if verdict.solved:
                update["failure"] = None
    environment_s = time.perf_counter() - started
    if context.memory is not None and not is_broken(update.get("failure", previous)):
        with recorded_failures(update, "memory"):
            context.memory.observe(outcome_of(state, update["grade"], context))
    update["usage"] = _used(state, context, environment_s=environment_s)
    stream_graded(runtime, state, update)
    return update


def _check_budget(state: EpisodeState, context: EpisodeContext) -> Update:
    exhausted = context.budgets.exhausted(state["usage"])
    return {"failure": failure("budget", exhausted)} if exhausted else {}


def _ready_model(
    state: EpisodeState, context: EpisodeContext
) -> Runnable[LanguageModelInput, AIMessage]:
    context.ensure_live(state["episode_id"], task_of(state), state.get("snapshot"))
    return context.bound_model()


def _acted(state: EpisodeState, update: Update, answer: AIMessage | None, seconds: float) -> Update:
    runtime = get_runtime(EpisodeContext)
    if answer is not None:
        update["messages"] = [answer]
        if not (answer.tool_calls or answer.invalid_tool_calls) and not state["nudged"]:
            update |= {"messages": [answer, HumanMessage(NUDGE)], "nudged": True}
    spent = answer.usage_metadata if answer else None
    update["usage"] = _used(state, runtime.context, model_s=seconds, spent=spent)
    stream_acted(runtime, state, update, seconds)
    return update


def _used(
    state: EpisodeState,
    context: EpisodeContext,
    *,
    model_s: float = 0.0,
    environment_s: float = 0.0,
    spent: UsageMetadata | None = None,
) -> Usage:
    used = state.get("usage", _UNUSED)
    return Usage(
        input_tokens=used["input_tokens"] + (spent["input_tokens"] if spent else 0),
        output_tokens=used["output_tokens"] + (spent["output_tokens"] if spent else 0),
        model_s=used["model_s"] + model_s,
        environment_s=used["environment_s"] + environment_s,
        active_s=used["active_s"] + context.lap_s(),
        graph_steps=used["graph_steps"] + 1,
    )
