"""The steps of the curriculum and the source that episodes are drawn from."""

from dataclasses import dataclass
from random import Random

from agentevo_environments.packs.quirks import names


@dataclass(frozen=True, slots=True)
class Level:
    """One step of the curriculum; shares are between 0 and 1.

    Attributes:
        rules: Largest number of rules of the same world in a prompt.
        foreign: Share of prompts that hold rules of other worlds as well.
        conflict: Share of prompts in which an older rule contradicts a newer one.
        copy: Share of episodes that say words again.
        probe: Share of episodes that ask for single slots.
        recover: Share of episodes with missing or outdated rules.
        reflect: Share of episodes that ask for rules.
        chat: Share of small talk.
        judge: Share of marks and critiques of attempts; all other episodes act with rules.
    """

    rules: int
    foreign: float
    conflict: float
    copy: float
    probe: float
    recover: float
    reflect: float
    chat: float = 0.01
    judge: float = 0.0


LEVELS = (
    Level(1, 0.0, 0.0, copy=0.6, probe=0.38, recover=0.0, reflect=0.0),
    Level(2, 0.4, 0.3, copy=0.2, probe=0.5, recover=0.05, reflect=0.05),
    Level(4, 0.5, 0.4, copy=0.08, probe=0.4, recover=0.15, reflect=0.1),
    Level(6, 0.6, 0.5, copy=0.04, probe=0.3, recover=0.25, reflect=0.12),
    Level(9, 0.7, 0.5, copy=0.02, probe=0.3, recover=0.25, reflect=0.11),
    Level(11, 0.8, 0.5, copy=0.01, probe=0.33, recover=0.22, reflect=0.09, judge=0.05),
)
HARDEST = len(LEVELS) - 1


@dataclass(frozen=True, slots=True)
class Source:
    """What an episode is drawn from.

    Attributes:
        random: The only source of chance.
        level: How hard.
        reserved: Whether names are of the reserved fifth, for evaluation.
    """

    random: Random
    level: Level
    reserved: bool = False

    def chance(self, share: float) -> bool:
        """Return True in a `share` of cases."""
        return self.random.random() < share

    def name(self) -> str:
        """Draw an invented name."""
        return names.draw_name(self.random, reserved=self.reserved)
