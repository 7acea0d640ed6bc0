"""`ScriptedModel` is a real chat model: LangChain's public suite, and replay from any thread."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolCall
from langchain_tests.unit_tests import ChatModelUnitTests

from agentevo.errors import ModelError
from agentevo.models.scripted import ScriptedModel


class TestScriptedModelStandard(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[ScriptedModel]:
        return ScriptedModel

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"responses": ["hello"]}


def conversation(turns: int) -> list[Any]:
    return [HumanMessage("hi")] + [AIMessage("."), HumanMessage(".")] * turns


def test_the_turn_of_the_conversation_chooses_the_answer() -> None:
    model = ScriptedModel(responses=["one", "two"])
    assert [model.invoke(conversation(turn)).text for turn in (1, 0, 1)] == ["two", "one", "two"]


def test_an_error_in_the_script_is_raised() -> None:
    model = ScriptedModel(responses=[TimeoutError("slow")])
    with pytest.raises(TimeoutError, match="slow"):
        model.invoke("hi")


def test_a_conversation_beyond_the_script_says_so() -> None:
    model = ScriptedModel(responses=["one"])
    with pytest.raises(ModelError, match="has 1 answers, and the conversation asks for number 2"):
        model.invoke(conversation(1))
    assert ScriptedModel(responses=["one"], repeat_last=True).invoke(conversation(5)).text == "one"


def test_something_that_is_no_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="is no answer"):
        ScriptedModel(responses=[3])


def test_streamed_chunks_add_up_to_the_answer() -> None:
    call = ToolCall(name="add", args={"amount": 2}, id="c1", type="tool_call")
    model = ScriptedModel(responses=[AIMessage("line one\nline two", tool_calls=[call])])
    chunks = list(model.stream("hi"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    plain = model.invoke("hi")
    assert len(chunks) == 3
    assert (whole.text, whole.tool_calls) == (plain.text, plain.tool_calls)
    assert whole.usage_metadata == plain.usage_metadata


def test_usage_counts_a_token_per_four_characters() -> None:
    usage = ScriptedModel(responses=["12345678"]).invoke("1234").usage_metadata
    assert usage == {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


def test_stop_sequences_end_the_text() -> None:
    assert ScriptedModel(responses=["a b END c"]).invoke("hi", stop=["END"]).text == "a b "


def test_many_threads_share_one_model() -> None:
    model = ScriptedModel(responses=[str(turn) for turn in range(50)])
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda turn: model.invoke(conversation(turn)).text, range(50)))
    assert answers == [str(turn) for turn in range(50)]


async def test_the_async_twins_give_the_same() -> None:
    model = ScriptedModel(responses=["one\ntwo"])
    assert (await model.ainvoke("hi")).text == "one\ntwo"
    assert "".join([chunk.text async for chunk in model.astream("hi")]) == "one\ntwo"
