"""`agentevo doctor`: is this machine fit, and if not, what to do next."""

from dataclasses import asdict

import typer

from agentevo.cli.context import SetOption, settings_of
from agentevo.cli.failures import ExitCode
from agentevo.cli.output import JsonFlag, emit, table

app = typer.Typer()


@app.command()
def doctor(ctx: typer.Context, sets: SetOption = None, as_json: JsonFlag = False) -> None:
    """Check this machine and say what to do next. Exit code 1 when something needed is missing.

    Example: agentevo doctor --set sandbox.backend=docker
    """
    from agentevo.cli.checks import run_checks

    checks = run_checks(settings_of(ctx, sets=sets))
    rows = [(check.status, check.id, check.detail, check.next_step) for check in checks]
    human = table(["", "check", "found", "next step"], rows)
    emit(ctx, {"checks": [asdict(check) for check in checks]}, as_json=as_json, human=human)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(ExitCode.FAILED)
