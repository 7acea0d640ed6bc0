"""`quirks` with its service called in this process: the same worlds and answers, no sandbox."""

from typing import Any, ClassVar

from agentevo_environments import Action, Observation, Task
from agentevo_environments.packs.quirks import service
from agentevo_environments.packs.quirks.difficulty import Tier
from agentevo_environments.packs.quirks.environment import QuirksEnvironment


class Nowhere:
    """In the place of a sandbox that is never used."""

    def start(self) -> None: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...


class FastQuirks(QuirksEnvironment):
    needs_sandbox: ClassVar[bool] = False

    def __init__(
        self,
        *,
        tasks_per_world: int = 12,
        quirks_per_world: int = 10,
        fewest_per_task: int = 1,
        tier: Tier = "basic",
        attempts: int = 0,
    ) -> None:
        nowhere: Any = Nowhere()
        super().__init__(
            sandbox=nowhere,
            tasks_per_world=tasks_per_world,
            quirks_per_world=quirks_per_world,
            fewest_per_task=fewest_per_task,
            tier=tier,
            attempts=attempts,
        )

    def _run(self, task: Task, action: Action) -> Observation:
        world: Any = task.data["world"]
        text, error = service.answer(world, self._state, str(action.arguments.get("command")))
        return Observation(text, done=self.grade().solved, error=error)
