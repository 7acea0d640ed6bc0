"""How many rounds a budget of episodes pays for, counted before anything is started."""

from collections.abc import Sequence

from agentevo.errors import ConfigError
from agentevo.evaluation.splits import Splits, split_tasks
from agentevo.recipes import Recipe
from agentevo_environments.task import Task


def affordable_rounds(
    recipe: Recipe, tasks: Sequence[Task], seed: int, *, rounds: int | None, budget: int | None
) -> int:
    """Return how many rounds the budget pays for, at most those that are wanted.

    Args:
        recipe: How a round goes.
        tasks: All tasks of the evolution.
        seed: Seed of their division.
        rounds: Rounds wanted; None for the recipe's.
        budget: Episodes of learning; None for no limit.

    Raises:
        ConfigError: Nothing can be held out, or one round does not fit into the budget.
    """
    stage = recipe.evaluation
    splits = split_tasks(tasks, gate_share=stage.gate_share, exam_share=stage.exam_share, seed=seed)
    wanted = rounds or recipe.rounds
    if budget is None:
        return wanted
    practice, told = _round(recipe, splits)
    weights = _distillation(recipe, splits)

    def price(count: int) -> int:
        return count * practice + _distillations(recipe, count) * weights

    if budget < price(1):
        more = f", {weights} for a distillation" if weights else ""
        raise ConfigError(
            f"a budget of {budget} episodes is too small for one round, which may take {price(1)} "
            f"({told}{more}); raise it, or lower tasks.n of the recipe or env.n"
        )
    return max(count for count in range(1, wanted + 1) if price(count) <= budget)


def _round(recipe: Recipe, splits: Splits) -> tuple[int, str]:
    """Return the most episodes that a round may take, and what for."""
    attempts = sum(
        recipe.solutions.samples if name == "sample" else 1 for name in recipe.solutions.strategies
    )
    practice = min(recipe.tasks.n, len(splits.practice)) * attempts
    # each practised task may be done again to verify its rule, each gate task is done twice
    price = practice * (2 if recipe.in_context.verify else 1) + 2 * len(splits.gate)
    told = (
        f"{practice} attempts at {len(splits.practice)} tasks, {len(splits.gate)} gate tasks twice"
    )
    return price, told


def _distillation(recipe: Recipe, splits: Splits) -> int:
    """Return the most episodes of one distillation: practice, and the gate tasks by four agents."""
    if recipe.in_weight.when == "never":
        return 0
    return min(recipe.in_weight.tasks, len(splits.practice)) + 4 * len(splits.gate)


def _distillations(recipe: Recipe, rounds: int) -> int:
    """Return how many distillations some rounds may come to; a last one follows the last round."""
    every = recipe.in_weight.every if recipe.in_weight.when == "rounds" else 1
    return -(-rounds // every)
