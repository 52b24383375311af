"""`tfmem export`."""

import dataclasses
import json
import sys
from pathlib import Path

import click

from tfmem.cli.common import JSON, reports_errors, show
from tfmem.cli.policies import BEST
from tfmem.errors import InvalidInput


@click.command()
@click.argument("run", required=False, type=click.Path(path_type=Path))
@click.argument("base", required=False, type=click.Path(path_type=Path))
@BEST
@click.option(
    "--serving-files", type=click.Path(path_type=Path), help="Write TF Serving's files to this folder."
)
@click.option(
    "--litert", type=click.Path(path_type=Path), help="Also write a LiteRT model of one actor to this file."
)
@click.option(
    "--litert-precision",
    type=click.Choice(["float32", "float16", "int8"]),
    help="What --litert's model holds its weights in; float32 by default.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="What the export holds its weights in.",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=1.0,
    show_default=True,
    help="Least share of steps in which a lower precision must act as the original.",
)
@click.option(
    "--check", type=click.Path(path_type=Path), help="Only look at the SavedModel in a version folder."
)
@JSON
@reports_errors
def export(
    run: Path | None,
    base: Path | None,
    best: bool,
    serving_files: Path | None,
    litert: Path | None,
    litert_precision: str | None,
    precision: str,
    min_agreement: float,
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

    if litert_precision and litert is None:
        raise InvalidInput("--litert-precision is of a LiteRT model; give its file by --litert FILE too")

    from tfmem.export import export_litert, export_policy, write_serving_files
    from tfmem.training import load_run

    with working("loading"):
        trained = load_run(run, best=best)
    with working("exporting, and comparing the export with the policy"):
        exported = export_policy(
            trained.policy,
            base,
            environment=trained.environment,
            run=trained.provenance,
            precision=precision,
            min_agreement=min_agreement,
        )
    if serving_files:
        write_serving_files(exported.path, serving_files)
    result = {
        "path": str(exported.path),
        "version": exported.version,
        "fingerprint": exported.fingerprint,
    }
    if exported.agreement:
        result |= dataclasses.asdict(exported.agreement)
    if litert:
        with working("converting to LiteRT, and comparing the two"):
            converted = export_litert(
                exported.path,
                litert,
                precision=litert_precision or "float32",
                min_agreement=min_agreement,
            )
        result |= {
            "litert_bytes": converted.size,
            "litert_agreement": converted.agreement,
            "litert_q_difference": converted.worst_q_difference,
        }
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
