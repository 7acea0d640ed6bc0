"""The checkpoint of a training: adapter, optimiser, history and losses, or a refusal to continue.

The file begins with the SHA-256 of the rest, so that a torn or foreign file is told from a whole one
before anything reads it.
"""

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agentevo.errors import AdapterError

if TYPE_CHECKING:
    from peft import PeftModel

_DIGEST_BYTES = 32


class Checkpoint:
    """One file that a training continues from.

    Args:
        path: Where it is; None saves and loads nothing.
        identity: Hash of base, rows and settings; a checkpoint of another training is refused.
    """

    def __init__(self, path: Path | None, identity: str) -> None:
        self._path = path
        self._identity = identity

    def load(
        self, model: "PeftModel", optimiser: Any
    ) -> tuple[list[dict[str, Any]], dict[int, float]]:
        """Restore adapter and optimiser in place; return history and losses, empty without a file.

        Raises:
            AdapterError: The file is damaged or belongs to another training.
        """
        import torch
        from peft import set_peft_model_state_dict

        if self._path is None or not self._path.is_file():
            return [], {}
        content = self._path.read_bytes()
        digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != digest:
            raise AdapterError(f"checkpoint {self._path} is damaged; delete it to start anew")
        state = torch.load(io.BytesIO(payload), weights_only=True)
        if state["identity"] != self._identity:
            raise AdapterError(
                f"checkpoint {self._path} belongs to another training (other base, rows or "
                "settings); delete it to start anew"
            )
        set_peft_model_state_dict(model, state["adapter"])
        optimiser.load_state_dict(state["optimiser"])
        return state["history"], state["losses"]

    def save(
        self,
        model: "PeftModel",
        optimiser: Any,
        history: Sequence[dict[str, Any]],
        losses: Mapping[int, float],
    ) -> None:
        """Write the state beside the file and put it in place in one step."""
        import torch
        from peft import get_peft_model_state_dict

        if self._path is None:
            return
        buffer = io.BytesIO()
        torch.save(
            {
                "identity": self._identity,
                "adapter": get_peft_model_state_dict(model),
                "optimiser": optimiser.state_dict(),
                "history": list(history),
                "losses": dict(losses),
            },
            buffer,
        )
        payload = buffer.getvalue()
        staged = self._path.with_suffix(".tmp")
        staged.write_bytes(hashlib.sha256(payload).digest() + payload)
        staged.replace(self._path)
