"""Which adapters hold what the memory gives up, and what to do about it."""

from collections.abc import Collection
from typing import Any

import typer

from agentevo.cli.context import settings_of


def holders_of(ctx: typer.Context, record_ids: Collection[str]) -> list[dict[str, Any]]:
    """Return the adapters whose training rows descend from some records, the active one marked."""
    folder = settings_of(ctx).home / "adapters"
    if not record_ids or not folder.is_dir():
        return []
    from agentevo.distillation.registry import AdapterRegistry

    registry = AdapterRegistry(folder)
    return [
        {"adapter_id": name, "records": list(held), "active": name == registry.active_id}
        for name, held in registry.holding(record_ids).items()
    ]


def advice(holders: Collection[dict[str, Any]]) -> str:
    """Return what to do about adapters that hold records which are out of use now; "" for none."""
    if not holders:
        return ""
    named = ", ".join(f"{h['adapter_id']}{' (active)' if h['active'] else ''}" for h in holders)
    return (
        f"held by the adapters {named}: distil again without it (agentevo distill run), and until "
        "then serve another one (agentevo adapters rollback, or agentevo adapters activate base)"
    )
