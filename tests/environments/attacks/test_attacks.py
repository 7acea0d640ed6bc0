import pytest

from agentevo_environments.conformance.attacks import ATTACKS, Attack, run_attack
from agentevo_environments.conformance.attacks.attack import ATTACK_LIMITS
from agentevo_environments.sandboxes.docker import DockerSandbox
from agentevo_environments.sandboxes.embedded import EmbeddedSandbox
from agentevo_environments.sandboxes.embedded.tiers import TierChoice

BY_NAME = pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
QUICK_KINDS = {"files", "secrets", "network", "processes", "kernel"}
# What an attack reaches on a tier, and which of the tier's stated gaps says so.
GAPS = {
    "T3": {"disk_fill": "number and total size", "inode_fill": "number and total size"},
    "T2": {},
}
QUICK = [one for one in ATTACKS if one.kind in QUICK_KINDS and one.name != "daemon_after_timeout"]


def test_the_suite_has_every_class_and_no_name_twice() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(set(names)) == len(names) >= 60
    assert QUICK_KINDS | {"resources", "leftovers", "copying", "protocol", "reward"} == {
        attack.kind for attack in ATTACKS
    }


@pytest.mark.slow
@pytest.mark.docker
@BY_NAME
def test_docker_stops(docker_daemon: None, attack: Attack) -> None:
    result = run_attack(attack, lambda: DockerSandbox(limits=ATTACK_LIMITS))
    assert result.stopped, result.detail


@pytest.mark.slow
@BY_NAME
def test_the_embedded_sandbox_stops(attack: Attack) -> None:
    result = run_attack(attack, lambda: EmbeddedSandbox(tier="T1"))
    assert result.stopped, result.detail


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["T2", "T3"])
def test_a_weaker_tier_stops_what_it_does_not_name(tier: TierChoice) -> None:
    with EmbeddedSandbox(tier=tier) as sandbox:
        stated = sandbox.containment.not_contained
    gaps = GAPS[tier]
    tried = [one for one in ATTACKS if one in QUICK or one.name in gaps]
    reached = {
        one.name for one in tried if not run_attack(one, lambda: EmbeddedSandbox(tier=tier)).stopped
    }
    assert reached <= set(gaps)
    assert all(any(line.startswith(gap) for line in stated) for gap in gaps.values())


@pytest.mark.slow
def test_most_attacks_reach_their_goal_where_nothing_is_contained(plain: type) -> None:
    reached = [attack.name for attack in QUICK if not run_attack(attack, plain).stopped]
    assert len(reached) >= len(QUICK) * 2 // 3, f"only {reached} of {len(QUICK)}"
