"""The `tfmem` command.

Every command prints one clear line and exits non-zero on bad input, shows progress on a terminal (on standard
error, so that standard output stays for results), and imports TensorFlow only when it runs.
"""

import click

import tfmem
from tfmem.cli.doctor import doctor
from tfmem.cli.exporting import export
from tfmem.cli.playing import evaluate, play
from tfmem.cli.recipes import recipes
from tfmem.cli.reporting import report
from tfmem.cli.serving import gateway, serve
from tfmem.cli.training import train

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(tfmem.__version__, prog_name="tfmem")
def main() -> None:
    """Attention and external memory for deep Q-networks: train, look, export, serve.

    Example: tfmem train popgym-RepeatPreviousEasy-v0 --out runs/recall
    """


for command in (doctor, train, evaluate, export, serve, gateway, play, report, recipes):
    main.add_command(command)
