"""The examples that draw a picture run from the command line."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.parametrize(
    "command",
    [
        "attention.py hard PICTURE --epochs 1",
        "attention.py attentive_memory PICTURE --epochs 1",
        "algorithmic_task.py priority_sort scan_ntm PICTURE --batches 1",
        "algorithmic_task.py associative_recall ntm_cell PICTURE --batches 1",
        "memory_heat_map.py saved_models/repeat_previous/1 PICTURE",
    ],
)
def test_it_runs_and_draws(tmp_path, command):
    picture = tmp_path / "picture.png"
    script, *arguments = command.replace("PICTURE", str(picture)).split()
    subprocess.run([sys.executable, EXAMPLES / script, *arguments], check=True, capture_output=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
