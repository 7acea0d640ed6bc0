"""The wiring of an evolution: objective, tasks, solutions, refinement, update, evaluation, again.

Memory comes first: only rules that were served are distilled, as a candidate of their own.
"""

from typing import TypeAlias

from langgraph.graph import START, StateGraph

from agentevo.graph.context import EvolutionContext
from agentevo.graph.nodes import (
    after_evaluation,
    after_objective,
    after_solutions,
    evaluate,
    evolve_solutions,
    evolve_tasks,
    refine,
    set_objective,
    update_in_context,
    update_in_weight,
)
from agentevo.graph.state import EvolutionState

EvolutionBuilder: TypeAlias = StateGraph[
    EvolutionState, EvolutionContext, EvolutionState, EvolutionState
]


def build_evolution_graph() -> EvolutionBuilder:
    """Return the uncompiled graph of an evolution.

    Compile it with a checkpointer and invoke it with `initial_state()` and an `EvolutionContext`.
    """
    builder = StateGraph(EvolutionState, context_schema=EvolutionContext)
    builder.add_node("set_objective", set_objective)
    builder.add_node("evolve_tasks", evolve_tasks)
    builder.add_node("evolve_solutions", evolve_solutions)
    builder.add_node("refine", refine)
    builder.add_node("update_in_context", update_in_context)
    builder.add_node("update_in_weight", update_in_weight)
    builder.add_node("evaluate", evaluate)
    builder.add_edge(START, "set_objective")
    builder.add_conditional_edges(
        "set_objective", after_objective, ["evolve_tasks", "update_in_weight", "__end__"]
    )
    builder.add_edge("evolve_tasks", "evolve_solutions")
    builder.add_conditional_edges("evolve_solutions", after_solutions, ["refine", "__end__"])
    builder.add_edge("refine", "update_in_context")
    builder.add_edge("update_in_context", "evaluate")
    builder.add_conditional_edges(
        "evaluate", after_evaluation, ["update_in_weight", "set_objective"]
    )
    builder.add_edge("update_in_weight", "evaluate")
    return builder
