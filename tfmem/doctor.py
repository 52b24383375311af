"""Examines whether tfmem can work where it is installed."""

import importlib
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: its name, whether it is fit for use, and what was found."""

    name: str
    ok: bool
    found: str


def examine() -> list[Finding]:
    """Looks at Python, TensorFlow, Keras, TensorBoard, devices and the extras."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", _python),
        ("tensorflow", _tensorflow),
        ("keras", _keras),
        ("tf-agents", lambda: _imported("tf_agents", "tf-agents")),
        ("tensorboard", lambda: _imported("tensorboard", "tensorboard")),
        ("gymnasium", lambda: _imported("gymnasium", "gymnasium")),
        ("devices", _devices),
    ]
    findings = [_finding(name, check) for name, check in checks]
    extras = (
        ("popgym", "popgym", "popgym"),
        ("atari", "minatar", "minatar"),
        ("serve", "grpcio-health-checking", "grpc_health"),
        ("gateway", "redis", "redis"),
        ("report", "bokeh", "bokeh"),
    )
    return findings + [_extra(*extra) for extra in extras]


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except Exception as error:  # whatever is broken is what the doctor is asked about
        return Finding(name, False, str(error).splitlines()[0] if str(error) else repr(error))


def _extra(name: str, package: str, module: str) -> Finding:
    """An extra is optional: missing is fine, broken is not."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return Finding(f"[{name}]", True, f"not installed; pip install 'tfmem[{name}]'")
    return _finding(f"[{name}]", lambda: f"{package} {_imported(module, package)}")


def _python() -> str:
    version = platform.python_version()
    if not (3, 10) <= sys.version_info[:2] <= (3, 11):
        raise RuntimeError(f"{version}; tfmem needs Python 3.10 or 3.11")
    return version


def _tensorflow() -> str:
    import tensorflow as tf

    if not tf.__version__.startswith("2.21."):
        raise RuntimeError(f"{tf.__version__}; tfmem needs 2.21: pip install 'tensorflow~=2.21.0'")
    return tf.__version__


def _keras() -> str:
    importlib.import_module("tfmem._keras")
    return f"Keras 2 (tf-keras {metadata.version('tf-keras')})"


def _imported(module: str, package: str) -> str:
    importlib.import_module(module)
    return metadata.version(package)


def _devices() -> str:
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    return f"{len(gpus)} GPU" if gpus else "CPU only"
