"""What an adapter leaves as it was: whether rules of other scopes are still followed when told.

The exam's tasks that the base solved with its rules are asked again under the names of other scopes,
the rules in the prompt renamed with them. Whoever has kept the skill does what solved the task.
"""

from collections.abc import Mapping
from typing import Any

from agentevo.evolution.exam import MEMORY_RUN, all_told
from agentevo.graph.context import EvolutionContext
from agentevo.runs.directory import create_run
from agentevo.runs.report import wilson_interval

COLUMN = "retention"


def ask_elsewhere(context: EvolutionContext) -> Mapping[str, Any]:
    """Return how the served adapter and the bare base did; empty without either or without questions.

    Returns:
        `questions`; `adapter` and `base`: shares of right answers; `lost` and `gained`: ids of the
        questions that only the base, or only the adapter, got right; `lost_interval`: 95 % Wilson
        interval of the share that was lost.
    """
    distiller, adapter = context.distiller, context.served_adapter
    if distiller is None or adapter is None:
        return {}
    taken = create_run(context.agent.settings, MEMORY_RUN)
    with all_told(context) as memory:
        probed = distiller.probes(adapter, memory, [taken.checkpoints])
        pairs = {name: probed.score(COLUMN, name) for name in probed.tasks.get(COLUMN, ())}
    if not pairs:
        return {}
    lost = [name for name, (ours, base) in pairs.items() if ours < base]
    return {
        "questions": len(pairs),
        "adapter": sum(ours for ours, _ in pairs.values()) / len(pairs),
        "base": sum(base for _, base in pairs.values()) / len(pairs),
        "lost": lost,
        "gained": [name for name, (ours, base) in pairs.items() if ours > base],
        "lost_interval": list(wilson_interval(len(lost), len(pairs))),
    }
