"""The base model as torch modules, loaded from the very GGUF that is served or a Hugging Face folder.

Only architectures whose weights transformers restores exactly can be trained; the others can be
served. The weights are dequantised to float32 (4 bytes a parameter), so that the adapter also
compensates for the quantisation of that file.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentevo.distillation.registry import sha256_of
from agentevo.errors import AdapterError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

TRAINABLE_ARCHITECTURES = ("llama", "qwen2", "qwen3")
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class ServeOnlyError(AdapterError):
    """The model's architecture can be served but not trained here."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A frozen base.

    Attributes:
        model: Its weights, float32, in evaluation mode, no gradients.
        tokenizer: Its fast tokenizer, with the chat template of the file.
        architecture: One of `TRAINABLE_ARCHITECTURES`.
        sha256: Hash of the GGUF file, or of the folder's weight files.
        path: Where it was loaded from.
    """

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerFast"
    architecture: str
    sha256: str
    path: Path

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def device(self) -> "torch.device":
        """Where the weights are."""
        weight: torch.Tensor = next(self.model.parameters())
        return weight.device


def load_base(path: Path, *, device: str = "cpu") -> BaseModel:
    """Load a base model for training.

    Args:
        path: A `.gguf` file or a Hugging Face model folder.
        device: A torch device, such as "cpu" or "cuda:0"; "auto" is the first GPU if there is one.

    Raises:
        ServeOnlyError: The architecture is not one of `TRAINABLE_ARCHITECTURES`.
        AdapterError: The path holds no model, or a damaged one, or there is no such device.
    """
    device = _device(device)
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any]
    if path.is_file():
        architecture, options = _gguf_options(path)
        folder, sha256, file = path.parent, sha256_of(path), {"gguf_file": path.name}
    elif (path / "config.json").is_file():
        architecture, options, folder, file = _folder_architecture(path), {}, path, {}
        sha256 = _folder_sha256(path)
    else:
        raise AdapterError(f"no base model at {str(path)!r}: give a .gguf file or a model folder")
    if architecture not in TRAINABLE_ARCHITECTURES:
        raise ServeOnlyError(
            f"a {architecture!r} model can be served but not distilled into; trainable are "
            + ", ".join(TRAINABLE_ARCHITECTURES)
        )
    import torch

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **file, **options)
    tokenizer = AutoTokenizer.from_pretrained(folder, **file)
    if not tokenizer.chat_template:
        raise AdapterError(f"{path} has no chat template, so its prompts cannot be rendered")
    model.requires_grad_(False)
    return BaseModel(model.to(device).eval(), tokenizer, architecture, sha256, path)


def _device(wanted: str) -> str:
    import torch

    there = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if wanted == "auto":
        return there[1] if len(there) > 1 else "cpu"
    if (f"{wanted}:0" if wanted == "cuda" else wanted) not in there:
        raise AdapterError(
            f"there is no device {wanted!r} to train on; available: auto, {', '.join(there)}"
        )
    return wanted


def _gguf_options(path: Path) -> tuple[str, dict[str, Any]]:
    """Return the architecture and what transformers must be told to load the file faithfully."""
    import gguf
    from transformers import AutoConfig, GgufConfig

    try:
        fields = gguf.GGUFReader(path).fields
        architecture = str(fields["general.architecture"].contents())
    except (ValueError, KeyError, OSError) as error:
        raise AdapterError(f"{path} is not a GGUF model: {error}") from error
    options: dict[str, Any] = {"quantization_config": GgufConfig(dequantize=True)}
    key_length = fields.get(f"{architecture}.attention.key_length")
    if architecture == "qwen3" and key_length is not None:
        # transformers assumes 128 for qwen3 whatever the file says
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
        config.head_dim = int(key_length.contents())
        options["config"] = config
    return architecture, options


def _folder_architecture(folder: Path) -> str:
    import json

    return str(json.loads((folder / "config.json").read_text()).get("model_type"))


def _folder_sha256(folder: Path) -> str:
    import hashlib

    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise AdapterError(f"{folder} holds no .safetensors weights")
    return hashlib.sha256("".join(sha256_of(path) for path in weights).encode()).hexdigest()
