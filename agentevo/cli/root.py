"""The root command: global options, the list of commands, the exit codes."""

import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from agentevo import __version__
from agentevo.cli.lazy import LazyGroup
from agentevo.cli.output import start_clock

_EPILOG = """Exit codes: 0 done, 1 failed, 2 wrong usage or bad input, 3 stopped and resumable.

Example: agentevo run --env code --model scripted:oracle --n 3"""

app = typer.Typer(
    name="agentevo",
    cls=LazyGroup,
    no_args_is_help=True,
    epilog=_EPILOG,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"agentevo {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    home: Annotated[
        Path | None,
        typer.Option(help="Data folder, also AGENTEVO_HOME. Default: .agentevo"),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Run agents, remember, reflect, forget, and distil what was learnt into weights.

    Every command takes --help, and --json for one JSON document on stdout.
    """
    del debug, version
    start_clock(ctx)
    ctx.obj = home


def main() -> None:
    """Run the command line of this process and exit.

    Modules in the working directory can be named (`--env my_module:MyEnvironment`); they come
    last, so that no file there hides an installed package.
    """
    if "--debug" not in sys.argv:
        _hush_libraries()
    sys.path.append(os.getcwd())  # noqa: PTH109 (a text, and no error when the folder is gone)
    typer.main.get_command(app).main()


def _hush_libraries() -> None:
    """Keep progress bars and warnings of the libraries underneath off the screen."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
