"""What a result was measured with: machine, versions, command."""

import os
import platform
import shlex
import sys
from collections.abc import Iterable
from importlib import metadata
from typing import Any

PACKAGES = ("tensorflow", "tf-keras", "tf-agents", "gymnasium", "numpy", "popgym")


def provenance(packages: Iterable[str] = PACKAGES) -> dict[str, Any]:
    """The processor, its cores, versions of `packages` and the command line, as JSON values."""
    return {
        "command": shlex.join(["python", *sys.argv]),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "versions": {package: metadata.version(package) for package in packages},
    }


def _processor() -> str:
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()
