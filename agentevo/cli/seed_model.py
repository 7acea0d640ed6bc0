"""`agentevo seed-model`: train, export, measure and describe the shipped small model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agentevo.cli.output import JsonFlag, emit, stderr_console, table

if TYPE_CHECKING:
    from agentevo.seed_model.evaluation import Row
    from agentevo.seed_model.settings import Report

app = typer.Typer(help="Train and check the shipped small model.", no_args_is_help=True)

ModelFile = Annotated[
    Path | None, typer.Option("--file", help="A seed model; else the shipped one.")
]
_COLUMNS = ["measure", "goal", "measured", "95 % interval", ""]


@app.command()
def path(ctx: typer.Context, as_json: JsonFlag = False) -> None:
    """Print where the shipped model is.

    Example: agentevo seed-model path
    """
    from agentevo.seed_model.shipped import seed_model_path

    found = str(seed_model_path())
    emit(ctx, {"path": found}, as_json=as_json, human=found)


@app.command()
def card(ctx: typer.Context, file: ModelFile = None, as_json: JsonFlag = False) -> None:
    """Print what a seed model is, how it was made, and what was measured.

    Example: agentevo seed-model card
    """
    from agentevo.seed_model.card import table_rows
    from agentevo.seed_model.shipped import read_card, seed_model_path

    found = read_card(file or seed_model_path())
    facts = [
        [name, json.dumps(value) if isinstance(value, dict | list) else value]
        for name, value in found.items()
        if name not in ("summary", "measured")
    ]
    human: list[Any] = [found["summary"], table(["", ""], facts)]
    if found["measured"]:
        human.append(table(_COLUMNS, table_rows(found["measured"])))
    emit(ctx, found, as_json=as_json, human=human)


@app.command("eval")
def evaluate(
    ctx: typer.Context,
    file: ModelFile = None,
    count: Annotated[int, typer.Option(min=1, help="Worlds per measure.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Which worlds of the split.")] = 0,
    split: Annotated[str, typer.Option(help="test, validation or demo.")] = "test",
    as_json: JsonFlag = False,
) -> None:
    """Measure a seed model on worlds that its training never saw.

    Example: agentevo seed-model eval --count 50
    """
    from agentevo.seed_model.card import table_rows
    from agentevo.seed_model.evaluation import evaluate, load_model
    from agentevo.seed_model.shipped import seed_model_path

    console = stderr_console()
    found = file or seed_model_path()
    model, load_s = load_model(found)

    def show(row: "Row") -> None:
        console.print(f"{row.name}: {row.hits}/{row.trials}")

    measured = evaluate(model, count=count, seed=seed, split=split, load_s=load_s, on_row=show)
    data = {"path": str(found), **measured.as_json()}
    title = (
        f"{found.name}, {count} {split} worlds each: {measured.seconds:.0f} s, "
        f"{measured.output_tokens / measured.seconds:.0f} tokens/s written, loaded in {load_s:.2f} s"
    )
    emit(ctx, data, as_json=as_json, human=table(_COLUMNS, table_rows(data), title))


@app.command()
def train(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="GGUF file to write.")],
    minutes: Annotated[float, typer.Option(min=0.0, help="Wall-clock budget.")] = 0.0,
    tokens: Annotated[int, typer.Option(min=0, help="Token budget; resumes bit-exactly.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and episodes.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    rate: Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")] = 1e-3,
    plateau: Annotated[
        float, typer.Option(min=0.0, max=0.99, help="Share of the budget at the peak rate.")
    ] = 0.3,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the checkpoint.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a seed model from scratch; the checkpoint is kept beside the file.

    With --resume and a larger budget the training goes on as a further stage.

    Example: agentevo seed-model train --minutes 1 --out seed.gguf
    """
    from agentevo.seed_model.export import export
    from agentevo.seed_model.settings import TrainingSettings
    from agentevo.seed_model.trainer import train as run_training

    settings = TrainingSettings(
        minutes=minutes,
        tokens=tokens,
        seed=seed,
        device=device,
        rate=rate,
        embedding_rate=rate,
        plateau=plateau,
    )
    checkpoint = out.with_suffix(".checkpoint")
    with _Progress() as progress:
        training = run_training(settings, checkpoint, on_report=progress, resume=resume)
    made = export(checkpoint, out)
    data = {
        "path": str(out),
        "checkpoint": str(checkpoint),
        "tokens": made["tokens"],
        "departures": training.departures,
    }
    emit(ctx, data, as_json=as_json, human=f"{out}: {made['tokens']:,} tokens of training")


@app.command()
def export(
    ctx: typer.Context,
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of a training.")],
    out: Annotated[Path, typer.Argument(help="GGUF file to write.")],
    measured: Annotated[
        Path | None, typer.Option(help="Output of `eval --json`, for the card.")
    ] = None,
    note: Annotated[str, typer.Option(help="A remark for the card.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Write the model of a checkpoint as GGUF, with what was measured in its card.

    Example: agentevo seed-model export seed.checkpoint seed.gguf
    """
    from agentevo.seed_model.export import export as write

    table_data = json.loads(measured.read_text(encoding="utf-8"))["data"] if measured else None
    made = write(checkpoint, out, measured=table_data, note=note)
    emit(ctx, {"path": str(out), "card": made}, as_json=as_json, human=str(out))


class _Progress:
    """Shows a training on stderr: a bar on a terminal, else a line per report."""

    def __init__(self) -> None:
        self._console = stderr_console()
        self._bar: Any = None
        self._task: Any = None
        self._told = False

    def __enter__(self) -> "_Progress":
        if self._console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task("training", total=1.0)
            self._bar.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, report: "Report") -> None:
        """Show one report."""
        if report.departures and not self._told:
            self._told = True
            self._console.print("Resumed, not bit for bit: " + "; ".join(report.departures) + ".")
        line = f"level {report.level}, {report.tokens / 1e6:.2f}M tokens, loss {report.loss:.3f}"
        if self._bar is not None:
            self._bar.update(self._task, description=line, completed=report.progress)
        accuracies = report.held_out or ({} if self._bar is not None else report.running)
        if accuracies or self._bar is None:
            shown = " ".join(f"{role} {share:.3f}" for role, share in accuracies.items())
            held = "held out: " if report.held_out else ""
            self._console.print(f"{report.progress:4.0%} {line}; {held}{shown}")
