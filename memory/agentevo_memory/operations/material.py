"""The material of a reflection: experiences in scope by task, successes beside failures, and the rules."""

from dataclasses import dataclass

from agentevo_memory.journal import Journal, Selection
from agentevo_memory.record import Record

MAX_EXPERIENCES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """Which experiences to reflect on.

    Attributes:
        namespace: Whose.
        environment, scope: Only of these; "" for all.
        run_id: Only of this run; "" for all.
        limit: At most so many, the newest.
    """

    namespace: tuple[str, ...] = ("default",)
    environment: str = ""
    scope: str = ""
    run_id: str = ""
    limit: int = MAX_EXPERIENCES


@dataclass(frozen=True, slots=True)
class Contrast:
    """The experiences with one task, oldest first."""

    environment: str
    scope: str
    task_id: str
    successes: tuple[Record, ...]
    failures: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Material:
    """What a reflector reads.

    `contrasts` are the experiences by task, `rules` the present rules of the same scopes.
    """

    contrasts: tuple[Contrast, ...]
    rules: tuple[Record, ...]


def gather(journal: Journal, scope: Scope) -> Material:
    """Return the experiences in scope, grouped by task, and the rules that apply to them."""
    found = journal.records(
        Selection(
            namespace=scope.namespace,
            kinds=("experience",),
            statuses=("active",),
            run_id=scope.run_id,
            newest=True,
        )
    )
    found = [record for record in found if _inside(scope, record)][: scope.limit]
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in reversed(found):
        groups.setdefault((record.environment, record.scope, record.task_id), []).append(record)
    contrasts = tuple(
        Contrast(
            *place,
            tuple(record for record in group if record.outcome.success),
            tuple(record for record in group if not record.outcome.success),
        )
        for place, group in groups.items()
    )
    rules = journal.records(
        Selection(namespace=scope.namespace, kinds=("rule",), statuses=("active", "candidate"))
    )
    return Material(contrasts, tuple(rule for rule in rules if _inside(scope, rule)))


def experience_ids(material: Material) -> tuple[str, ...]:
    """Return the ids of all experiences in the material."""
    return tuple(
        record.id
        for contrast in material.contrasts
        for record in (*contrast.successes, *contrast.failures)
    )


def _inside(scope: Scope, record: Record) -> bool:
    return scope.environment in ("", record.environment) and scope.scope in ("", record.scope)
