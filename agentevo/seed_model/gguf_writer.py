"""Writing the seed model as a GGUF file that llama.cpp and transformers load.

llama.cpp rotates neighbouring dimensions of queries and keys, the network rotates split halves,
so the rows of both are interleaved on the way.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentevo.seed_model.chat_template import CHAT_TEMPLATE
from agentevo.seed_model.shape import Shape
from agentevo.seed_model.tokenizer import CONTROL, TOOL_TAGS, Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

NAME = "agentevo seed model"
CARD_KEY = "agentevo.card"
SERVED_CONTEXT = 2048
"""Tokens that may be served; positions are rotations, so there is no table that ends."""
Precision = Literal["q8_0", "f32"]
_NORMAL, _CONTROL, _USER_DEFINED = 1, 3, 4
_FILE_TYPES = {"f32": 0, "q8_0": 7}


def write_gguf(  # noqa: PLR0913 (the parts of one file)
    path: Path,
    weights: "Mapping[str, Tensor]",
    shape: Shape,
    *,
    vocabulary: Vocabulary,
    card: Mapping[str, Any],
    precision: Precision = "q8_0",
) -> None:
    """Write one file, whole or not at all.

    Args:
        path: Where to.
        weights: Float tensors under their GGUF names.
        shape: Dimensions of the network.
        vocabulary: Tokens and merges that the weights were trained with.
        card: What the model is and how it was made; stored as JSON under `agentevo.card`.
        precision: Of the matrices; norms are always f32.
    """
    import gguf
    import numpy as np

    fresh = path.with_suffix(".new")
    writer = gguf.GGUFWriter(str(fresh), "llama")
    _write_shape(writer, shape)
    writer.add_name(NAME)
    writer.add_description(str(card.get("summary", "")))
    writer.add_string(CARD_KEY, json.dumps(card))
    writer.add_file_type(_FILE_TYPES[precision])
    _write_vocabulary(writer, vocabulary)
    for name, tensor in weights.items():
        values = tensor.detach().float().cpu()
        if name.endswith((".attn_q.weight", ".attn_k.weight")):
            values = interleave(values, shape.heads)
        array = np.ascontiguousarray(values.numpy())
        if array.ndim > 1 and precision == "q8_0":
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    fresh.replace(path)


def interleave(rows: "Tensor", heads: int) -> "Tensor":
    """Reorder the rows of a query or key matrix from split halves to neighbouring pairs."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, -1).swapaxes(1, 2).reshape(rows.shape)


def _write_shape(writer: Any, shape: Shape) -> None:
    writer.add_context_length(SERVED_CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_vocab_size(shape.vocabulary)


def _write_vocabulary(writer: Any, vocabulary: Vocabulary) -> None:
    kinds = {**dict.fromkeys(CONTROL, _CONTROL), **dict.fromkeys(TOOL_TAGS, _USER_DEFINED)}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types([kinds.get(token, _NORMAL) for token in vocabulary.tokens])
    writer.add_token_merges([" ".join(pair) for pair in vocabulary.merges])
    writer.add_bos_token_id(vocabulary.tokens.index("<|endoftext|>"))
    writer.add_eos_token_id(vocabulary.tokens.index("<|im_end|>"))
    writer.add_pad_token_id(vocabulary.tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
