"""`python -m tfmem` is the `tfmem` command."""

from tfmem.cli import main

main(prog_name="tfmem")
