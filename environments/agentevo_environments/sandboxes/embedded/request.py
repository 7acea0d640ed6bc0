"""Request: what the client sends to a slot."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache

from agentevo_environments.sandboxes.base import Limits, Program
from agentevo_environments.sandboxes.embedded.guest.request import Request, pack
from agentevo_environments.sandboxes.workspace import files_within


def encode_request(
    program: Program,
    workspace: Mapping[str, bytes],
    limits: Limits,
    *,
    keep_files: bool = False,
) -> bytes:
    """Return the request as bytes.

    Raises:
        LimitsError: The files are more or larger than the limits allow.
        ValueError: A path is not valid.
        ProtocolError: All together is larger than any slot accepts.
    """
    files = files_within(limits, workspace, program.files)
    code = (program.code or "").encode("utf-8", "surrogatepass")
    names, contents = tuple(files), tuple(files.values())
    argv = None if program.argv is None else tuple(map(str, program.argv))
    stdin = bytes(program.stdin)
    return pack(Request(argv, code, stdin, _as_dict(limits), names, contents, keep_files))


@lru_cache(maxsize=64)
def _as_dict(limits: Limits) -> dict[str, float]:
    values = {name: int(value) for name, value in asdict(limits).items()}
    return {**values, "timeout_s": float(limits.timeout_s)}
