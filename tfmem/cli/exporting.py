"""`tfmem export`."""

import dataclasses
import json
import sys
from pathlib import Path

import click

from tfmem.cli.common import JSON, reports_errors, show
from tfmem.errors import InvalidInput


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.argument("base", required=False, type=click.Path(path_type=Path))
@click.option(
    "--serving-files", type=click.Path(path_type=Path), help="Write TF Serving's files to this folder."
)
@click.option(
    "--litert", type=click.Path(path_type=Path), help="Also write a LiteRT model of one actor to this file."
)
@click.option(
    "--check", type=click.Path(path_type=Path), help="Only look at the SavedModel in a version folder."
)
@JSON
@reports_errors
def export(
    run: Path | None,
    base: Path | None,
    serving_files: Path | None,
    litert: Path | None,
    check: Path | None,
    as_json: bool,
) -> None:
    """Export RUN's policy as the next version of the served model BASE, a folder …/NAME.

    With --check PATH instead, say what in any SavedModel a stock TF Serving does not take; exits with 1 if
    there is something.

    Example: tfmem export runs/recall saved_models/repeat_previous
    """
    from tfmem.progress import working

    if check is not None:
        if run or serving_files or litert:
            raise InvalidInput("--check exports nothing; leave RUN, BASE, --serving-files and --litert out")
        _check(check, as_json)
        return
    if run is None or base is None:
        raise InvalidInput("give RUN and BASE to export, or --check PATH to look at a SavedModel")

    from tfmem.export import export_litert, export_policy, write_serving_files
    from tfmem.training import load_run

    with working("loading"):
        trained = load_run(run)
    with working("exporting, and comparing the export with the policy"):
        exported = export_policy(
            trained.policy,
            base,
            environment=trained.environment,
            run=trained.provenance,
        )
    if serving_files:
        write_serving_files(exported.path, serving_files)
    result = {
        "path": str(exported.path),
        "version": exported.version,
        "fingerprint": exported.fingerprint,
    }
    if litert:
        with working("converting to LiteRT, and comparing the two"):
            converted = export_litert(exported.path, litert)
        result |= {"litert_bytes": converted.size, "litert_q_difference": converted.worst_q_difference}
    show(result, as_json)


def _check(path: Path, as_json: bool) -> None:
    """Prints what `lint` finds and exits with 1 if there is anything."""
    from tfmem.export import lint
    from tfmem.progress import working

    with working("reading"):
        findings = lint(path)
    if as_json:
        click.echo(json.dumps({"ok": not findings, "findings": list(map(dataclasses.asdict, findings))}))
    else:
        lines = list(map(str, findings)) or [f"ok  {path}: nothing that a stock server does not take"]
        click.echo("\n".join(lines))
    sys.exit(1 if findings else 0)
