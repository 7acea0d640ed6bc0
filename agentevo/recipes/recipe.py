"""`Recipe`: the strategies of one evolution, stage by stage, with their numbers; checked when read.

A recipe is f of the survey (section 2): one choice for each of f_T, f_Y, f_F, f_R, f_U and f_E.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from agentevo.errors import RecipeError

TaskStrategy = Literal["pool", "split", "random", "failed", "diverse", "self_instruct", "rewrite"]
SolutionStrategy = Literal[
    "direct", "chain_of_thought", "react", "sample", "recall", "hint", "perturb"
]
FeedbackStrategy = Literal["environment", "match", "execution", "judge", "critique"]
RefinementStrategy = Literal["threshold", "majority_vote", "pairs", "retry", "revise"]
ReflectStrategy = Literal["none", "errors", "model"]
ForgetStrategy = Literal["decay", "ttl", "fifo", "lru", "utility", "capacity", "contradiction"]

STRATEGIES: Mapping[str, tuple[str, ...]] = {
    "tasks": get_args(TaskStrategy),
    "solutions": get_args(SolutionStrategy),
    "feedback": get_args(FeedbackStrategy),
    "refinement": get_args(RefinementStrategy),
    "reflect": get_args(ReflectStrategy),
    "forget": get_args(ForgetStrategy),
}
"""What exists, by stage."""


class Part(BaseModel):
    """A group of choices: frozen, without room for keys that do not exist."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


class TaskStage(Part):
    """f_T: which tasks a round works on."""

    strategy: TaskStrategy = "failed"
    """How they are chosen, rewritten or invented."""
    n: int = Field(default=20, ge=1, le=10_000)
    """Most tasks of one round."""
    real_share: float = Field(default=0.5, ge=0, le=1)
    """Least share of the environment's own tasks among those of a round, from 0 to 1."""


class SolutionStage(Part):
    """f_Y: how tasks are attempted."""

    strategies: tuple[SolutionStrategy, ...] = Field(default=("recall",), min_length=1)
    """Every task is attempted once by each."""
    samples: int = Field(default=4, ge=1, le=64)
    """Attempts per task of the strategy `sample`."""


class FeedbackStage(Part):
    """f_F: who judges attempts."""

    sources: tuple[FeedbackStrategy, ...] = Field(default=("environment",), min_length=1)
    """Every attempt gets the opinion of each; the environment's counts before any model's."""
    judge_floor: float = Field(default=0.6, ge=0, le=1)
    """Least share of attempts on which the judge must agree with the environment; below it the
    judge is not asked any more."""


class RefinementStage(Part):
    """f_R: what is filtered and corrected before it is learnt."""

    strategies: tuple[RefinementStrategy, ...] = ()
    """Applied in this order; empty keeps everything as it is."""
    least: float = Field(default=1.0, ge=0, le=1)
    """Least score that `threshold` keeps."""
    least_share: float = Field(default=0.5, ge=0, le=1)
    """Least share of equal answers that `majority_vote` keeps."""
    least_gap: float = Field(default=0.5, gt=0, le=1)
    """Least difference of scores of `pairs`."""
    tries: int = Field(default=1, ge=1, le=16)
    """Further attempts of `retry` and `revise`."""


class ForgetStep(Part):
    """One forgetting policy of the memory, applied at the end of every round."""

    policy: ForgetStrategy
    """Which policy."""
    keep: int = Field(default=1000, ge=0)
    """How many records stay, for `fifo`, `lru` and `capacity`."""
    below: float = Field(default=0.1, ge=0, le=1)
    """Threshold of `decay` and `utility`."""
    kinds: tuple[Literal["experience", "rule", "skill", "fact", "summary"], ...] = ()
    """Only records of these kinds; empty for all."""


class InContextStage(Part):
    """f_U in context: what the memory takes in and lets go."""

    insert: Literal["none", "kept", "all"] = "all"
    """Which experiences are stored: none, those that refinement kept, or all."""
    reflect: ReflectStrategy = "errors"
    """Who turns failures into rules: nobody, what errors state, or the model."""
    verify: bool = True
    """Whether the case of a new rule is done again with it, and the rule instructs if that went
    better. Rules from an environment's text inform only, until they are verified."""
    lessons: bool = False
    """Whether the model writes a lesson in words about every failure (Reflexion)."""
    resolve: bool = True
    """Whether a rule replaces an older one on the same matter, and contradictions are decided."""
    forget: tuple[ForgetStep, ...] = ()
    """Policies, in this order."""


class InWeightStage(Part):
    """f_U in weight: when and how verified rules are distilled into an adapter."""

    when: Literal["never", "rounds", "rules", "command"] = "never"
    """Never; after every `every` rounds; once `every` verified rules are new since the last time;
    or only when somebody commands it (`agentevo evolve --distil`). A command is always obeyed,
    unless `when` is "never"."""
    every: int = Field(default=1, ge=1)
    """Rounds or rules, see `when`."""
    tasks: int = Field(default=200, ge=1, le=100_000)
    """Most practice tasks that are done once more, with every rule told, to learn from."""
    method: Literal["context", "sft", "on_policy", "dpo"] = "context"
    """How the adapter is trained; see `agentevo distill run --help`."""
    steps: int | None = Field(default=None, ge=1)
    """Training steps. Default: the distillation's own: 10 for each rule, at least 250."""
    rank: int | None = Field(default=None, ge=1)
    """Rank of the adapter. Default: the distillation's own."""
    margin: float = Field(default=0.15, gt=0, lt=1)
    """How much worse the weights may be on held-out tasks than the rules in the prompt were."""
    probe_margin: float = Field(default=0.1, gt=0, lt=1)
    """How much worse than the base the weights may be at what must not change: following rules,
    other scopes, conflicts, format. A margin of 0.1 takes 48 questions without any loss to show."""
    least_saving: float = Field(default=0.1, ge=0, lt=1)
    """Least share of its prompt tokens that a held-out task must save to count as a saving."""


class EvaluationStage(Part):
    """f_E: held-out tasks and the gate."""

    gate_share: float = Field(default=0.3, gt=0, lt=1)
    """Share of the tasks that the gate judges by; nothing is learnt from them."""
    exam_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the tasks on which the arms of the report are compared; used once, at the end."""
    gate_pairs: int = Field(default=64, ge=1)
    """Most pairs of one verdict."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Error rate of the gate."""
    retention_margin: float = Field(default=0.2, gt=0, lt=1)
    """How much worse a candidate may be on held-out tasks that the incumbent solves."""
    most_attempts: int = Field(default=16, ge=1, le=1000)
    """Most attempts per task of the control `best_of_n`; the report says if tokens pay for more."""


class StopStage(Part):
    """When an evolution ends before its rounds are used up, and what guards it."""

    patience: int = Field(default=2, ge=1)
    """Rounds in a row without an accepted candidate after which it stops."""
    diversity_floor: float = Field(default=0.05, ge=0, le=1)
    """Least share of distinct word pairs among the attempts of a round; below it, it stops."""


class Recipe(Part):
    """The choices of one evolution."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[a-z0-9_]+$")
    """Lower-case letters, digits and underscores."""
    description: str = ""
    """What it does, in one line."""
    source: str = ""
    """The paper that it follows, if any."""
    rounds: int = Field(default=3, ge=1, le=10_000)
    """Rounds at most."""
    tasks: TaskStage = TaskStage()
    """f_T."""
    solutions: SolutionStage = SolutionStage()
    """f_Y."""
    feedback: FeedbackStage = FeedbackStage()
    """f_F."""
    refinement: RefinementStage = RefinementStage()
    """f_R."""
    in_context: InContextStage = InContextStage()
    """f_U in context."""
    in_weight: InWeightStage = InWeightStage()
    """f_U in weight."""
    evaluation: EvaluationStage = EvaluationStage()
    """f_E."""
    stop: StopStage = StopStage()
    """When to end."""

    @property
    def learns(self) -> bool:
        """Whether a round can change the memory at all."""
        stage = self.in_context
        return bool(
            stage.insert != "none" or stage.reflect != "none" or stage.lessons or stage.forget
        )


def parse_recipe(values: Mapping[str, Any], *, origin: str = "recipe") -> Recipe:
    """Return the recipe that values describe.

    Args:
        values: As in a TOML file.
        origin: Where they come from, for the message.

    Raises:
        RecipeError: A key or strategy does not exist, or a number is out of range; the message
            names it and lists what exists.
    """
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        told = [_explain(details) for details in error.errors()]
        raise RecipeError(f"{origin}: " + "; ".join(dict.fromkeys(told))) from None
    shares = recipe.evaluation.gate_share + recipe.evaluation.exam_share
    if shares >= 1:
        raise RecipeError(
            f"{origin}: evaluation.gate_share and evaluation.exam_share take {shares:.0%} of the "
            "tasks and leave none to learn from; lower one of them"
        )
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """Return a recipe as TOML that `parse_recipe` reads back."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))


def _explain(details: ErrorDetails) -> str:
    path = ".".join(str(part) for part in details["loc"])
    given = details["input"]
    if details["type"] == "extra_forbidden":
        return f"unknown key {path!r}; allowed beside it: {', '.join(_beside(details['loc']))}"
    if details["type"] == "literal_error":
        expected = details.get("ctx", {}).get("expected", "")
        return f"unknown strategy {given!r} for {path!r}; there are: {expected}"
    if details["type"] == "missing":
        return f"{path!r} is missing: every recipe needs it"
    return f"{path!r} cannot be {given!r}: {details['msg']}"


def _beside(location: tuple[int | str, ...]) -> list[str]:
    part: type[BaseModel] = Recipe
    for name in location[:-1]:
        if isinstance(name, int):
            part = ForgetStep
        elif isinstance(annotation := part.model_fields[name].annotation, type):
            part = annotation
    return list(part.model_fields)
