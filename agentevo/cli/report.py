"""`agentevo report`: what an evolution achieved, as a table, JSON, or one HTML file."""

from pathlib import Path
from typing import Annotated

import typer

from agentevo.cli.context import settings_of
from agentevo.cli.output import JsonFlag, emit
from agentevo.errors import RunError

app = typer.Typer()


@app.command()
def report(
    ctx: typer.Context,
    evolution: Annotated[str, typer.Argument(metavar="RUN", help="Id, or last.")] = "last",
    html: Annotated[
        Path | None, typer.Option(help="File to write. Default: report.html beside report.json.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what an evolution achieved, and write it as one HTML file.

    Example: agentevo report last --html evolution.html
    """
    from agentevo.cli.evolve import ending
    from agentevo.evolution import open_evolution
    from agentevo.evolution.directory import write_whole
    from agentevo.evolution.page import render_page

    directory = open_evolution(settings_of(ctx).home, evolution)
    found = directory.read_report()
    if found is None:
        raise RunError(
            f"the evolution {directory.id!r} has no report yet; finish it with: "
            f"agentevo evolve --resume {directory.id}"
        )
    path = html or directory.path / "report.html"
    write_whole(path, render_page(found))
    data = {**found.to_json(), "html": str(path)}
    emit(ctx, data, as_json=as_json, human=[*ending(found), f"written: {path}"])
