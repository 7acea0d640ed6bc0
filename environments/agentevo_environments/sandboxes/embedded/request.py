"""Request: what the client sends to a slot."""

from collections.abc import Mapping
from dataclasses import asdict

from agentevo_environments.errors import LimitsError
from agentevo_environments.sandboxes.base import Limits, Program
from agentevo_environments.sandboxes.protocol import encode
from agentevo_environments.sandboxes.workspace import with_files


def encode_request(
    program: Program, workspace: Mapping[str, bytes], limits: Limits, *, keep_files: bool
) -> bytes:
    """Return the request as a frame.

    Raises:
        LimitsError: The files are more or larger than the limits allow.
        ValueError: A path is not valid.
    """
    files = with_files(workspace, program.files)
    size = sum(len(data) for data in files.values())
    largest = max((len(data) for data in files.values()), default=0)
    if size > limits.disk_bytes or len(files) > limits.files or largest > limits.file_bytes:
        raise LimitsError(
            f"{len(files)} files of {size} bytes, the largest {largest}, are more than the limits"
            f" allow (files={limits.files}, disk_bytes={limits.disk_bytes},"
            f" file_bytes={limits.file_bytes}): raise these limits or place less"
        )
    header = {
        "argv": list(program.argv) if program.argv is not None else None,
        "limits": asdict(limits),
        "files": list(files),
        "keep": keep_files,
    }
    code = (program.code or "").encode("utf-8", "surrogatepass")
    return encode(header, (code, program.stdin, *files.values()))
