"""What the memory holds: frozen records with provenance, outcome, trust and a life of their own.

A record is an experience or a rationale (rule, skill, fact, summary) of the survey's section 6.
`Draft` is what a caller offers; the memory answers with a `Record`, to which it adds everything
that it alone decides: id, trust, status, strength, times.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from agentevo_memory.acceptance import LABEL_CHARS, check_choice, check_namespace, check_text
from agentevo_memory.errors import RecordError

Kind = Literal["experience", "rule", "skill", "fact", "summary"]
Status = Literal[
    "candidate", "active", "dormant", "superseded", "quarantined", "distilled", "erased"
]
Origin = Literal["human", "user", "model", "import", "environment", "tool"]

KINDS: tuple[Kind, ...] = get_args(Kind)
STATUSES: tuple[Status, ...] = get_args(Status)
RECALLABLE: frozenset[Status] = frozenset({"candidate", "active"})

ORIGIN_TRUST: Mapping[Origin, float] = {
    "human": 1.0,
    "user": 0.8,
    "model": 0.6,
    "import": 0.4,
    "environment": 0.2,
    "tool": 0.2,
}
"""Trust of text by who wrote it. Text that programs produced is data: it never instructs."""

INSTRUCTING_TRUST = 0.6
"""From this trust on, a record's text may become an instruction without being verified."""

GIST_CHARS = 600

Made = TypeVar("Made")

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id(now_s: float | None = None) -> str:
    """Return a ULID: 48 bits of milliseconds, 80 random bits, sortable by creation time."""
    milliseconds = int((time.time() if now_s is None else now_s) * 1000) & ((1 << 48) - 1)
    number = (milliseconds << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a task ended, and who says so.

    Attributes:
        success: The verdict, or None where there is none.
        score: From 0 to 1, or None.
        verifier: Who judged: an environment, a test, a person.
    """

    success: bool | None = None
    score: float | None = None
    verifier: str = ""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a record comes from.

    Attributes:
        origin: The class of its author; decides the trust.
        source: The author's name within the class: a tool, a user, a model, a file.
        actor: Who carried out the write.
        run_id: The run it was written in, or "".
        step: The step of that run.
        parents: Ids of the records it was derived from.
    """

    origin: Origin = "user"
    source: str = ""
    actor: str = ""
    run_id: str = ""
    step: int = 0
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A record as its author offers it.

    Attributes:
        text: What is shown to a reader; at most 4 Mi characters.
        namespace: Whose memory: one to eight labels. Namespaces never see each other.
        kind: What it is.
        gist: What is indexed; "" takes the first 600 characters of `text`.
        body: The full material (a trajectory), kept but not indexed.
        key: What the record is about; a new record with the key of an older one supersedes it.
        ability, environment, scope, task_id: Where it was learnt and where it applies.
        outcome: How it ended.
        provenance: Where it comes from.
        entities: Names it concerns; they boost matches and stay out of the embedded text.
        tags: Free labels.
        session, sequence: Place in a conversation; neighbours give each other context.
        data: Free JSON values.
        ttl_s: Seconds to live, or None for ever.
        valid_from, valid_to: When the statement holds, seconds since the epoch.
        pinned: Never forgotten by a policy.
    """

    text: str
    namespace: tuple[str, ...] = ("default",)
    kind: Kind = "fact"
    gist: str = ""
    body: str = ""
    key: str = ""
    ability: str = ""
    environment: str = ""
    scope: str = ""
    task_id: str = ""
    outcome: Outcome = field(default_factory=Outcome)
    provenance: Provenance = field(default_factory=Provenance)
    entities: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    session: str = ""
    sequence: int = 0
    data: Mapping[str, Any] = field(default_factory=dict)
    ttl_s: float | None = None
    valid_from: float | None = None
    valid_to: float | None = None
    pinned: bool = False

    def __post_init__(self) -> None:
        check_draft(self)

    @property
    def indexed_text(self) -> str:
        """The text that is embedded and searched by words."""
        return (self.gist or self.text)[:GIST_CHARS]


@dataclass(frozen=True, kw_only=True)
class Record(Draft):
    """A record of the memory: a draft plus what the memory decides.

    Attributes:
        id: ULID.
        trust: From 0 to 1, the minimum over its origin and its whole lineage.
        status: Where it is in its life; only candidate and active records are recalled.
        strength: Ebbinghaus strength S; 1 at birth, grows by helping.
        uses, helped, harmed: Outcomes it took part in, and how they ended.
        created_at, updated_at, last_used: Seconds since the epoch.
        verified_by: The evidence that made a candidate active, or "".
        distilled_in: Adapters whose weights hold it.
        revision: Counts the changes.
    """

    id: str
    trust: float = 0.0
    status: Status = "active"
    strength: float = 1.0
    uses: int = 0
    helped: int = 0
    harmed: int = 0
    created_at: float = 0.0
    updated_at: float = 0.0
    last_used: float = 0.0
    verified_by: str = ""
    distilled_in: tuple[str, ...] = ()
    revision: int = 0

    @property
    def expires_at(self) -> float | None:
        """When its time to live ends; use and change start it again."""
        if self.ttl_s is None:
            return None
        return max(self.updated_at, self.last_used) + self.ttl_s

    @property
    def may_instruct(self) -> bool:
        """Whether its text may stand in a prompt as an instruction."""
        return self.status == "active" and (
            bool(self.verified_by) or self.trust >= INSTRUCTING_TRUST
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        values = {name: getattr(self, name) for name in _RECORD_FIELDS}
        values["outcome"] = {name: getattr(self.outcome, name) for name in _OUTCOME_FIELDS}
        values["provenance"] = {name: getattr(self.provenance, name) for name in _ORIGIN_FIELDS}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Record":
        """Return the record that `to_dict` gave.

        Raises:
            RecordError: For unknown or missing fields, or values out of range.
        """
        unknown = sorted(values.keys() - set(_RECORD_FIELDS))
        if unknown:
            raise RecordError(f"unknown record fields {unknown}; allowed: {list(_RECORD_FIELDS)}")
        try:
            return cls(**_nested(values, _checked))
        except (TypeError, AttributeError) as error:
            raise RecordError(f"{values!r:.200} is not a record: {error}") from error

    @classmethod
    def restore(cls, values: Mapping[str, Any]) -> "Record":
        """Return the record that the journal holds; it was checked when it was written."""
        return _made(cls, _nested(values, _made))


_RECORD_FIELDS = tuple(entry.name for entry in fields(Record))
_TUPLES = ("namespace", "entities", "tags", "distilled_in")
_OUTCOME_FIELDS = tuple(entry.name for entry in fields(Outcome))
_ORIGIN_FIELDS = tuple(entry.name for entry in fields(Provenance))


def _nested(
    values: Mapping[str, Any], make: Callable[[type[Any], Mapping[str, Any]], Any]
) -> dict[str, Any]:
    given = dict(values)
    for name in _TUPLES:
        given[name] = tuple(given.get(name, ()))
    given["outcome"] = make(Outcome, given.get("outcome", {}))
    origin = dict(given.get("provenance", {}))
    origin["parents"] = tuple(origin.get("parents", ()))
    given["provenance"] = make(Provenance, origin)
    return given


def _checked(cls: type[Made], values: Mapping[str, Any]) -> Made:
    return cls(**values)


def _made(cls: type[Made], values: Mapping[str, Any]) -> Made:
    """Return an instance with these values, unchecked; what is missing has its default."""
    made = object.__new__(cls)
    made.__dict__.update(values)
    return made


def check_draft(draft: Draft) -> None:
    """Raise RecordError at the first field of `draft` that cannot be stored."""
    check_namespace(draft.namespace)
    check_choice("kind", draft.kind, KINDS)
    check_choice("origin", draft.provenance.origin, tuple(ORIGIN_TRUST))
    if isinstance(draft, Record):
        check_choice("status", draft.status, STATUSES)
    if not check_text("text", draft.text).strip() and not _is_erased(draft):
        raise RecordError("text is empty; a record needs something to remember")
    check_text("gist", draft.gist)
    check_text("body", draft.body)
    for name in ("key", "ability", "environment", "scope", "task_id", "session"):
        check_text(name, getattr(draft, name), 1000)
    for label in (*draft.entities, *draft.tags):
        check_text("entities and tags", label, LABEL_CHARS)
    if draft.ttl_s is not None and not draft.ttl_s > 0:
        raise RecordError(f"ttl_s must be positive seconds or None, got {draft.ttl_s!r}")
    score = draft.outcome.score
    if score is not None and not 0 <= score <= 1:
        raise RecordError(f"outcome.score must be in [0, 1], got {score!r}")


def _is_erased(draft: Draft) -> bool:
    return isinstance(draft, Record) and draft.status == "erased"
