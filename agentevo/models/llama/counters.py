"""What an engine has done so far, in numbers."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counters:
    """What a worker has done so far; the meaning of each field is its name."""

    finished: int = 0
    failed: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    steps: int = 0
    preempted: int = 0
