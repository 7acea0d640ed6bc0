"""`agentevo gate`: measure how often the gate errs."""

from dataclasses import asdict
from typing import Annotated

import typer

from agentevo.cli.output import JsonFlag, emit, table

app = typer.Typer(help="Test a candidate against the incumbent.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `simulate` a subcommand although it is the only one."""


@app.command()
def simulate(
    ctx: typer.Context,
    candidates: Annotated[int, typer.Option(min=1, help="Candidates of each kind.")] = 2000,
    pairs: Annotated[int, typer.Option(min=1, help="Paired tasks at most.")] = 64,
    alpha: Annotated[float, typer.Option(min=0.001, max=0.5, help="Error rate.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Seed of the outcomes.")] = 0,
    as_json: JsonFlag = False,
) -> None:
    """Measure false accepts of candidates without a gain, and power for those 20 points better.

    Example: agentevo gate simulate --candidates 500
    """
    from agentevo.gate.criteria import Criterion
    from agentevo.gate.simulate import GAIN_SCENARIOS, NULL_SCENARIOS, simulate

    criterion = Criterion("gain", alpha=alpha, budget=pairs)
    rates = simulate(
        [*NULL_SCENARIOS, *GAIN_SCENARIOS], criterion, candidates=candidates, seed=seed
    )
    rows = [
        (
            rate.scenario.name,
            f"{rate.scenario.gain:+.0%}",
            f"{rate.accepted:.1%}",
            f"{rate.mean_pairs:.0f}",
        )
        for rate in rates
    ]
    title = f"{candidates} candidates of each kind, alpha {alpha:g}, at most {pairs} pairs"
    human = table(["candidate", "true gain", "accepted", "mean pairs"], rows, title)
    data = {"rates": [asdict(rate) | {"gain": rate.scenario.gain} for rate in rates]}
    emit(ctx, data, as_json=as_json, human=human)
