"""Request: what the client sends to a slot."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache

from agentevo_environments.sandboxes.base import Limits, Program
from agentevo_environments.sandboxes.protocol import encode
from agentevo_environments.sandboxes.workspace import files_within


def encode_request(
    program: Program, workspace: Mapping[str, bytes], limits: Limits, *, keep_files: bool
) -> bytes:
    """Return the request as a frame.

    Raises:
        LimitsError: The files are more or larger than the limits allow.
        ValueError: A path is not valid.
    """
    files = files_within(limits, workspace, program.files)
    header = {
        "argv": list(program.argv) if program.argv is not None else None,
        "limits": _as_dict(limits),
        "files": list(files),
        "keep": keep_files,
    }
    code = (program.code or "").encode("utf-8", "surrogatepass")
    return encode(header, (code, program.stdin, *files.values()))


@lru_cache(maxsize=64)
def _as_dict(limits: Limits) -> Mapping[str, float]:
    return asdict(limits)
