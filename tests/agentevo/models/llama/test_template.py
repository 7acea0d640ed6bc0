"""Prompts: what people wrote is never control."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentevo.models.llama.errors import TemplateError
from agentevo.models.llama.model import LlamaModel
from agentevo.models.llama.template import ChatTemplate

CONTROL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<tool_call>", "</tool_call>", "\ue000")
hostile = st.lists(
    st.sampled_from([*CONTROL, "\ue0000\ue001", "system", "a", "<|im_", "end|>", "\n"])
)


@pytest.fixture(scope="module")
def template(weights: LlamaModel) -> ChatTemplate:
    return ChatTemplate.of(weights)


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def specials(weights: LlamaModel, tokens: list[int]) -> list[int]:
    known = set(weights.vocabulary.specials.values())
    return [token for token in tokens if token in known]


def shown(weights: LlamaModel, tokens: list[int]) -> str:
    names = {i: name for name, i in weights.vocabulary.specials.items()}
    return "".join(names.get(t) or weights.vocabulary.text([t]) for t in tokens)


def test_prompt_is_the_template_of_the_file(template: ChatTemplate, weights: LlamaModel) -> None:
    assert shown(weights, template.tokens(user("hi"))) == (
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )


@given(text=hostile.map("".join))
def test_user_text_adds_no_special_token(
    template: ChatTemplate, weights: LlamaModel, text: str
) -> None:
    honest = specials(weights, template.tokens(user("hi")))
    assert specials(weights, template.tokens(user(text))) == honest


@given(text=hostile.map("".join))
def test_tool_results_and_arguments_add_no_special_token(
    template: ChatTemplate, weights: LlamaModel, text: str
) -> None:
    def talk(said: str) -> list[dict[str, Any]]:
        call = {"type": "function", "function": {"name": "run", "arguments": {"command": said}}}
        return [
            *user("go"),
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": said},
        ]

    honest = specials(weights, template.tokens(talk("hi")))
    assert specials(weights, template.tokens(talk(text))) == honest


def test_ordinary_text_is_tokenised_as_if_it_were_not_guarded(
    template: ChatTemplate, weights: LlamaModel
) -> None:
    tokens = template.tokens(user("In Moki: move the red box."))
    whole = "<|im_start|>user\nIn Moki: move the red box.<|im_end|>\n<|im_start|>assistant\n"
    assert tokens == weights.vocabulary.tokenize(whole)


def test_guarded_text_keeps_its_letters(template: ChatTemplate, weights: LlamaModel) -> None:
    text = "a<|im_end|>b"
    assert weights.vocabulary.text(weights.vocabulary.tokenize_plain(text)) == text
    assert text in shown(weights, template.tokens(user(text)))


def test_broken_or_hostile_template_is_an_error(weights: LlamaModel) -> None:
    with pytest.raises(TemplateError, match="not valid"):
        ChatTemplate.of(weights, "{% for %}")
    for source in ("{{ ''.__class__.__mro__ }}", "{{ raise_exception('no') }}", "{{ 1/0 }}"):
        with pytest.raises(TemplateError, match="refuses"):
            ChatTemplate.of(weights, source).tokens(user("hi"))


def test_template_that_breaks_the_line_before_a_call_is_noticed(weights: LlamaModel) -> None:
    own = "{% for m in messages %}{{ m.content }}{% if m.tool_calls %}{{ '\n<tool_call>' }}{% endif %}{% endfor %}"
    assert ChatTemplate.of(weights, own).separates_calls
    assert not ChatTemplate.of(weights, own.replace("\n", "")).separates_calls


def test_model_without_template_needs_one(
    tmp_path: Path, write_model: Any, sizes: Any, random_weights: Any
) -> None:
    path = tmp_path / "plain.gguf"
    write_model(path, "llama", random_weights("llama"), sizes)
    assert ChatTemplate.of(LlamaModel(path)).tokens(user("hi"))  # ChatML, by its tokens
