"""Taking experiences into the candidate memory, and letting go of what a policy names."""

from collections.abc import Sequence
from dataclasses import dataclass

from agentevo.stages import Experience, Round, Solution, UpdateReceipt
from agentevo.updating.in_context import InContextMemory, clean
from agentevo_memory import Draft, Policy, Provenance
from agentevo_memory.record import Outcome as Verdict


@dataclass(frozen=True, slots=True)
class Insert:
    """Stores experiences; an episode also credits or blames what it had recalled, once.

    Attributes:
        memory: The candidate memory.
        environment: Name of the environment, for attempts that it never ran.
    """

    memory: InContextMemory
    environment: str

    def update(self, experiences: Sequence[Experience], now: Round) -> UpdateReceipt:
        """Store every experience, and the worse attempt beside it where there is one."""
        del now
        solutions = [
            (solution, entry.score)
            for entry in experiences
            for solution in (entry.rejected, entry.solution)
            if solution is not None
        ]
        for solution, score in solutions:
            if solution.outcome is not None:
                self.memory.observe(solution.outcome)
            else:
                self._store_answer(solution, score)
        return UpdateReceipt({"inserted": len(solutions)})

    def _store_answer(self, solution: Solution, score: float) -> None:
        task = solution.task
        draft = Draft(
            text=clean(f"Task: {task.prompt} Answer: {solution.text}"),
            kind="experience",
            namespace=self.memory.namespace,
            environment=self.environment,
            scope=task.scope,
            task_id=task.id,
            outcome=Verdict(success=score >= 1.0, score=score, verifier="feedback"),
            provenance=Provenance(origin="model", source=solution.strategy),
        )
        self.memory.store.insert(draft)


@dataclass(frozen=True, slots=True)
class Forget:
    """Lets records go by a policy of the memory; pinned records and last supports stay.

    Attributes:
        memory: The candidate memory.
        policy: Which records.
    """

    memory: InContextMemory
    policy: Policy

    def update(self, experiences: Sequence[Experience], now: Round) -> UpdateReceipt:
        """Carry out the policy in the memory's namespace."""
        del experiences, now
        done = self.memory.store.forget(self.policy, namespace=self.memory.namespace)
        ids = tuple(record_id for record_id, _ in done.forgotten)
        return UpdateReceipt({"forgotten": len(ids)}, ids, self.policy.name)


@dataclass(frozen=True, slots=True)
class Resolve:
    """Decides between records that contradict each other: the weaker one is superseded.

    Rules on the same matter replace each other when they are written; this is for texts that deny
    each other.

    Attributes:
        memory: The candidate memory.
    """

    memory: InContextMemory

    def update(self, experiences: Sequence[Experience], now: Round) -> UpdateReceipt:
        """Supersede the weaker record of every contradiction."""
        done = Forget(self.memory, Policy(name="contradiction")).update(experiences, now)
        return UpdateReceipt({"resolved": done.counts["forgotten"]}, done.ids)
