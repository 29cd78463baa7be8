"""The command ``dgex``: trains a model, evaluates it, calibrates it, shows its card, and infers whole profiles.

A command imports what it needs when it runs, so that its help is shown at once.
"""

from typing import Annotated

import typer

from dgex import __version__, console
from dgex.cli.evaluate import calibrate_command, evaluate_command
from dgex.cli.options import MODEL_HELP
from dgex.cli.predict import predict_command
from dgex.cli.train import train_command

app = console.command_line("Infer the expression of 9,520 target genes from landmark genes.")


def _version(requested: bool) -> None:
    """Prints the version and ends the command, if ``--version`` is given."""
    if requested:
        print(f"dgex {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Infer the expression of 9,520 target genes from landmark genes."""


def info_command(model: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None) -> None:
    """Print the card of a model, by default of the one that comes with dgex; its checksums are checked."""
    from dgex.model.directory import read_card

    console.say(read_card(model).removesuffix("\n"))


for _name, _command in (
    ("train", train_command),
    ("evaluate", evaluate_command),
    ("calibrate", calibrate_command),
    ("info", info_command),
    ("predict", predict_command),
):
    app.command(_name)(_command)


def main() -> None:
    """Runs the command ``dgex``."""
    console.main(app)
