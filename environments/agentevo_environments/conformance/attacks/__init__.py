"""Attacks that a sandbox must stop, as data, and the function that tries them.

`run_attacks(factory)` tries all of them; with pytest, parametrise over `ATTACKS` and call
`run_attack`. An attack is stopped when its program did not reach its goal, nothing of it shows on
the host, and the sandbox works afterwards. Every program is capped, so that it does no lasting
harm where it succeeds.
"""

from agentevo_environments.conformance.attacks.attack import Attack, AttackResult, Step
from agentevo_environments.conformance.attacks.catalogue import ATTACKS
from agentevo_environments.conformance.attacks.trial import run_attack, run_attacks

__all__ = ["ATTACKS", "Attack", "AttackResult", "Step", "run_attack", "run_attacks"]
