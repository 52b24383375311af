"""`tfmem doctor`."""

import json
import sys

import click

from tfmem.cli.common import JSON, reports_errors


@click.command()
@JSON
@reports_errors
def doctor(as_json: bool) -> None:
    """Check Python, TensorFlow, Keras, devices and extras.

    Example: tfmem doctor --json
    """
    from tfmem.doctor import examine

    findings = examine()
    ok = all(finding.ok for finding in findings)
    if as_json:
        parts = {f.name: {"ok": f.ok, "found": f.found} for f in findings}
        click.echo(json.dumps({"ok": ok, **parts}))
    else:
        for finding in findings:
            click.echo(f"{'ok ' if finding.ok else 'BAD'}  {finding.name:12} {finding.found}")
    sys.exit(0 if ok else 1)
