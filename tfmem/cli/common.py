"""What commands share: errors as one line, results as text or JSON, settings as `key=value`."""

import functools
import json
import warnings
from collections.abc import Callable
from typing import Any

import click

from tfmem.errors import InvalidInput, TfmemError

JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def reports_errors(command: Callable) -> Callable:
    """Turns tfmem's own errors into one line on standard error and a non-zero exit; quiets TensorFlow."""

    @functools.wraps(command)
    def wrapped(*args, **kwargs):
        import tfmem.quiet  # noqa: F401

        # A worker's traceback, of which our error has the gist.
        warnings.filterwarnings("ignore", category=UserWarning, module="gymnasium.vector")
        try:
            return command(*args, **kwargs)
        except TfmemError as error:
            raise click.ClickException(str(error)) from error
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}") from error
        except ImportError as error:
            if "tfmem" not in str(error):  # tfmem's own say what to do
                raise
            raise click.ClickException(str(error)) from error

    return wrapped


def show(result: dict[str, Any], as_json: bool) -> None:
    """Prints a result on standard output: as one JSON object, or a line for each value."""
    if as_json:
        click.echo(json.dumps(result))
        return
    for key, value in result.items():
        click.echo(f"{key:16} {_text(value)}")


def _text(value: Any) -> Any:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(part)}" for key, part in value.items())
    if not isinstance(value, float):
        return value
    # A small difference is not none.
    return f"{value:.1e}" if 0 < abs(value) < 1e-3 else f"{value:.3f}"


def parse_settings(settings: tuple[str, ...]) -> dict[str, Any]:
    """Options of the form `key=value` by key; a value is read as JSON, and is text where it is none.

    Raises:
      InvalidInput: when one has no `=`.
    """
    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            raise InvalidInput(f"expected key=value, not {setting!r}")
        try:
            overrides[key] = json.loads(text)
        except json.JSONDecodeError:
            overrides[key] = text
    return overrides
