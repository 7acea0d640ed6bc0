"""The stages as nodes: read the state, call one stage, return the update.

A node that is done again after a kill finds its episodes done and its branch made anew, so that it
comes to the same update.
"""

from collections.abc import Mapping
from typing import Any

from langgraph.runtime import Runtime

from agentevo.acquisition.run_agent import RecallOnly
from agentevo.evaluation.guards import Agreement, distinct_pairs, keep_real
from agentevo.graph.context import EvolutionContext
from agentevo.graph.distilling import distil_round, is_due
from agentevo.graph.judgement import judge_round, memory_branch
from agentevo.graph.state import (
    EvolutionState,
    pack_experience,
    pack_task,
    unpack_all,
    unpack_task,
)
from agentevo.graph.weighing import weigh_adapter
from agentevo.objective import next_objective
from agentevo.stages import Experience, Round
from agentevo_environments.task import Task

Update = dict[str, Any]
EvolutionRuntime = Runtime[EvolutionContext]


def set_objective(state: EvolutionState, runtime: EvolutionRuntime) -> Update:
    """E_t: take the leaf with the largest deficit, or end."""
    context, number = runtime.context, state["round"] + 1
    measured = state["measured"]
    leaf = (
        next_objective(context.objective, measured)
        if measured
        else next(context.objective.leaves())
    )
    ended = ""
    if leaf is None:
        ended = "every target is met"
    elif state["round"] >= context.rounds:
        ended = f"all {context.rounds} rounds are done"
    elif state["idle"] >= context.recipe.stop.patience:
        ended = f"no candidate was accepted in {state['idle']} rounds"
    if ended or leaf is None:
        return {"ended": ended, "due": is_due(state, context, last=True)}
    context.tell("round_started", number, ability=leaf.ability, rounds=context.rounds)
    return {"round": number, "ability": leaf.ability}


def evolve_tasks(state: EvolutionState, runtime: EvolutionRuntime) -> Update:
    """f_T: choose or make the tasks of this round."""
    context, now = runtime.context, _now(state, runtime)
    pool = tasks_of_ability(state["ability"], context)
    stage = context.recipe.tasks
    chosen = context.stages.tasks.evolve(pool, min(stage.n, len(pool)), now)
    if context.stages.makes_tasks:
        chosen = keep_real(chosen, pool, least_share=stage.real_share, n=stage.n)
    return {"tasks": [pack_task(task) for task in chosen]}


def evolve_solutions(state: EvolutionState, runtime: EvolutionRuntime) -> Update:
    """f_Y and f_F: attempt every task with what is served, and judge every attempt."""
    context, now = runtime.context, _now(state, runtime)
    tasks = [unpack_task(task) for task in state["tasks"]]
    with context.line.open() as memory:
        context.agent.memory = RecallOnly(memory)
        solutions = [s for strategy in context.stages.solutions for s in strategy.solve(tasks, now)]
        context.agent.memory = None
    agreement = Agreement(*state["agreement"])
    givers = context.stages.givers(judge=not agreement.too_low(context.recipe.feedback.judge_floor))
    experiences = [
        Experience(solution, tuple(giver.assess(solution) for giver in givers))
        for solution in solutions
    ]
    agreement = agreement.with_all(experiences)
    history = {entry.task.id: entry.score for entry in experiences}
    solved = sum(entry.solved for entry in experiences)
    context.tell("practised", now.number, attempts=len(experiences), solved=solved)
    return {
        "experiences": [pack_experience(entry) for entry in experiences],
        "history": {**state["history"], **history},
        "agreement": [agreement.agreed, agreement.judged],
        "ended": _uniform(context, experiences),
    }


def refine(state: EvolutionState, runtime: EvolutionRuntime) -> Update:
    """f_R: correct and filter what was attempted."""
    context, now = runtime.context, _now(state, runtime)
    with context.line.open() as memory:
        context.agent.memory = RecallOnly(memory)
        refined = context.stages.refiner.refine(unpack_all(state["experiences"]), now)
        context.agent.memory = None
    learnt = list(refined.kept)
    if context.recipe.in_context.insert == "all":
        learnt += [dropped.experience for dropped in refined.dropped]
    context.tell("refined", now.number, kept=len(refined.kept), dropped=len(refined.dropped))
    return {"kept": [pack_experience(entry) for entry in learnt]}


def update_in_context(state: EvolutionState, runtime: EvolutionRuntime) -> Update:
    """f_U in context: change a branch of the served memory; what is served stays as it is."""
    context, now = runtime.context, _now(state, runtime)
    experiences = unpack_all([*state["pending"], *state["kept"]])
    branch = memory_branch(now.number)
    start = context.line.fork(branch)
    counts: dict[str, int] = {}
    with context.line.open(branch) as memory:
        for _, updater in context.stages.updaters(memory, now.number):
            for name, count in updater.update(experiences, now).counts.items():
                counts[name] = counts.get(name, 0) + count
    end = context.line.position(branch)
    context.tell("memory_updated", now.number, **counts)
    return {"candidate": {"kind": "memory", "changed": end != start, "counts": counts}}


def update_in_weight(state: EvolutionState, runtime: EvolutionRuntime) -> Update:
    """f_U in weight: distil the rules that are served into an adapter; it is not served yet."""
    return distil_round(state, runtime.context)


def evaluate(state: EvolutionState, runtime: EvolutionRuntime) -> Update:
    """f_E: judge the candidate on held-out tasks, and serve it or leave it."""
    judge = weigh_adapter if state["candidate"]["kind"] == "weights" else judge_round
    return judge(state, runtime.context)


def tasks_of_ability(ability: str, context: EvolutionContext) -> list[Task]:
    """Return the tasks to practise for an ability: a scope's, or all for the whole environment."""
    practice = context.splits.practice
    return [task for task in practice if task.scope == ability] or list(practice)


def _now(state: EvolutionState, runtime: EvolutionRuntime) -> Round:
    return runtime.context.now(state["round"], state["ability"], dict(state["history"]))


def _uniform(context: EvolutionContext, experiences: list[Experience]) -> str:
    """Return why to end when all attempts say the same; "" when they differ."""
    found = distinct_pairs(entry.solution.text for entry in experiences)
    floor = context.recipe.stop.diversity_floor
    if found >= floor:
        return ""
    return f"the attempts became uniform: distinct-2 is {found:.2f}, below {floor:.2f}"


def after_objective(state: Mapping[str, Any]) -> str:
    """Return where to go once the objective is set."""
    if state["ended"]:
        return "update_in_weight" if state["due"] else "__end__"
    return "evolve_tasks"


def after_solutions(state: Mapping[str, Any]) -> str:
    """Return where to go after the attempts."""
    return "__end__" if state["ended"] else "refine"


def after_evaluation(state: Mapping[str, Any]) -> str:
    """Return where to go after a verdict."""
    return "update_in_weight" if state["due"] else "set_objective"
