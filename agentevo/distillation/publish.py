"""From a PEFT model in memory to a registered adapter: files, parity check, manifest.

Nothing is registered unless llama.cpp, with the written file, gives the answers that torch gives.
"""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentevo.distillation.base_model import BaseModel
from agentevo.distillation.export import AdapterHeader, LoraPair, write_adapter
from agentevo.distillation.parity import Parity, check_parity
from agentevo.distillation.registry import Adapter, AdapterRegistry, Manifest, sha256_of
from agentevo.distillation.rows import Row, write_rows
from agentevo.errors import AdapterError

if TYPE_CHECKING:
    from peft import PeftModel

_PACKAGES = ("agentevo", "torch", "peft", "transformers", "gguf", "llama-cpp-python")


@dataclass(frozen=True, slots=True)
class Origin:
    """What the manifest says about how an adapter came to be; see `Manifest`."""

    method: str
    rule_ids: tuple[str, ...] = ()
    record_ids: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)


def publish(
    model: "PeftModel",
    base: BaseModel,
    registry: AdapterRegistry,
    origin: Origin,
    rows: Sequence[Row] = (),
) -> Adapter:
    """Write, check and register the active adapter of a PEFT model.

    Args:
        model: The trained or merged model.
        base: Its base.
        registry: Where the adapter goes.
        origin: How it came to be.
        rows: The exact training rows; their tokens are also what parity is checked on.

    Raises:
        AdapterError: The weights are not finite, or llama.cpp answers differently.
    """
    with tempfile.TemporaryDirectory(prefix="agentevo-adapter-") as name:
        folder = Path(name)
        write_adapter(folder / "adapter.gguf", lora_layers(model), _header(model, base))
        model.save_pretrained(
            folder / "peft",
            selected_adapters=[model.active_adapter],
            save_embedding_layers=False,
        )
        _flatten(folder / "peft", model.active_adapter)
        write_rows(folder / "rows.jsonl", rows)
        parity = _parity(model, base, folder / "adapter.gguf", rows)
        manifest = Manifest(
            base_sha256=base.sha256,
            adapter_sha256=sha256_of(folder / "adapter.gguf"),
            method=origin.method,
            rule_ids=origin.rule_ids,
            record_ids=origin.record_ids,
            rows_sha256=sha256_of(folder / "rows.jsonl"),
            parents=origin.parents,
            settings=origin.settings,
            metrics=origin.metrics | parity,
            versions={name: version(name) for name in _PACKAGES},
            created=time.time(),
        )
        return registry.register(folder, manifest)


def lora_layers(model: "PeftModel") -> dict[str, LoraPair]:
    """Return the matrices of the active adapter by Hugging Face module name, scaling baked in."""
    adapter = model.active_adapter
    layers = {}
    for name, module in model.get_base_model().named_modules():
        if adapter in getattr(module, "lora_A", {}):
            a = module.lora_A[adapter].weight.detach().float().cpu().numpy()
            b = module.lora_B[adapter].weight.detach().float().cpu().numpy()
            layers[name] = LoraPair(a, b * module.scaling[adapter])
    return layers


def _header(model: "PeftModel", base: BaseModel) -> AdapterHeader:
    config = model.config
    heads = int(config.num_attention_heads)
    return AdapterHeader(
        architecture=base.architecture,
        heads=heads,
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        base_sha256=base.sha256 if base.path.is_file() else "",
    )


def _flatten(folder: Path, adapter: str) -> None:
    """Move the files of a named adapter to where PEFT users expect them."""
    nested = folder / adapter
    if nested.is_dir():
        for path in nested.iterdir():
            path.rename(folder / path.name)
        nested.rmdir()


def _parity(
    model: "PeftModel", base: BaseModel, adapter: Path, rows: Sequence[Row]
) -> dict[str, Any]:
    """Return what parity measured; a base that is no GGUF file has nothing to compare with."""
    if not base.path.is_file() or not rows:
        return {}
    parity: Parity = check_parity(model, base, adapter, rows)
    if not parity.ok:
        raise AdapterError(
            f"llama.cpp and torch disagree with this adapter (same first choice on "
            f"{parity.agreement:.1%} of {parity.tokens} tokens, largest difference "
            f"{parity.largest:.2f}); nothing was registered"
        )
    return {"parity_agreement": parity.agreement, "parity_largest": parity.largest}
