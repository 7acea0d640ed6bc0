"""A tiny random llama base with a byte-level tokenizer and a ChatML template, made on the spot."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agentevo.distillation.base_model import BaseModel, load_base
from agentevo.distillation.rows import Lineage, Row, RowKind

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("base")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({symbol: i for i, symbol in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|pad|>",
        additional_special_tokens=["<|im_start|>"],
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        initializer_range=0.2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def base(base_folder: Path) -> BaseModel:
    return load_base(base_folder)


@pytest.fixture
def make_row() -> Callable[..., Row]:
    def make(
        kind: RowKind = "target",
        *,
        word: str = "zabo",
        task: str = "move the box",
        rules: str = "Rules:\n- move is zabo.",
        pair: str = "",
    ) -> Row:
        teacher = "" if kind in ("replay", "scope") else rules
        student = teacher if kind in ("with_rules", "conflict") else ""
        messages = ({"role": "user", "content": task}, {"role": "assistant", "content": word})
        return Row(kind, "Moki", teacher, student, messages, Lineage(("r1",), "run"), pair=pair)

    return make
