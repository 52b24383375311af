"""The files of a run, each written so that a kill leaves the old or the new content."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfmem.errors import InvalidInput, require
from tfmem.training.config import TrainConfig


class RunFolder:
    """The files of a run.

    | file | holds |
    | --- | --- |
    | config.json | the `TrainConfig` |
    | checkpoints/ | everything that changes, the latest two |
    | events/ | TensorBoard's scalars |
    | metrics.jsonl | a row for every evaluation |
    | result.json | the `Result`, once the run is finished |

    Args:
      path: the folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.events = path / "events"
        self._config = path / "config.json"
        self._metrics = path / "metrics.jsonl"
        self._result = path / "result.json"

    def check(self, config: TrainConfig, *, resume: bool) -> None:
        """Raises `InvalidInput` where the folder holds what does not fit a new run, or a resumed one."""
        if resume:
            require(
                config == self.config(),
                f"the configuration given with resume for {self.path}",
                _difference(config, self.config()),
                "the run's own",
            )
        elif self.path.exists() and not self.path.is_dir():
            raise InvalidInput(f"{self.path} is a file; name a folder for the run")
        elif self._config.exists():
            raise InvalidInput(f"{self.path} already holds a run; go on with --resume or name another folder")

    def claim(self, config: TrainConfig) -> None:
        """Makes the folder that of the run with `config`."""
        self.path.mkdir(parents=True, exist_ok=True)
        _write_whole(self._config, config.to_json())

    def config(self) -> TrainConfig:
        """The run's configuration."""
        if not self._config.exists():
            raise InvalidInput(f"{self.path} holds no run: there is no {self._config.name}")
        try:
            values = json.loads(self._config.read_text())
        except ValueError as error:  # no JSON, or no text at all
            raise InvalidInput(f"{self._config} is not JSON: {error}") from error
        return TrainConfig.from_dict(values)

    def has_checkpoint(self, number: int) -> bool:
        """Whether a checkpoint of this number is kept; a save that was killed has left none."""
        return any(path.endswith(f"-{number}") for path in self._kept_checkpoints())

    def latest_checkpoint(self) -> str | None:
        """The path of the newest checkpoint whose files are there; None before the first."""
        kept = self._kept_checkpoints()
        return kept[-1] if kept else None

    def _kept_checkpoints(self) -> list[str]:
        """Oldest first."""
        state = tf.train.get_checkpoint_state(str(self.checkpoints))
        known = state.all_model_checkpoint_paths if state else []
        return [path for path in known if Path(path + ".index").exists()]

    def require_listed(self) -> None:
        """Raises `InvalidInput` where there are checkpoints that TensorFlow's list of them does not name."""
        if self.latest_checkpoint() is None and any(self.checkpoints.glob("ckpt-*.index")):
            raise InvalidInput(
                f"{self.checkpoints} holds checkpoints, but its file 'checkpoint', which lists them, is "
                "damaged or gone; restore it from a copy"
            )

    @contextmanager
    def reading(self, checkpoint: str) -> Iterator[None]:
        """Raises `InvalidInput` where its body finds that `checkpoint` is damaged or is not this run's."""
        try:
            yield
        except (AssertionError, ValueError) as error:
            raise InvalidInput(
                f"the checkpoint {checkpoint} does not fit the configuration beside it; was config.json "
                "edited, or the run made by another version of tfmem?"
            ) from error
        except tf.errors.OpError as error:
            others = [path for path in self._kept_checkpoints() if path != checkpoint]
            mend = f"delete {checkpoint}.* to go back to {others[-1]}" if others else "there is no other"
            raise InvalidInput(f"the checkpoint {checkpoint} is damaged; {mend}") from error

    def metrics(self) -> list[dict[str, Any]]:
        """The recorded rows, oldest first; a kill may have cut the last line off, which then is no row.

        Raises:
          InvalidInput: where another line is no JSON.
        """
        if not self._metrics.exists():
            return []
        rows = []
        for number, line in enumerate(self._metrics.read_bytes().splitlines(keepends=True), start=1):
            if line.endswith(b"\n"):
                try:
                    rows.append(json.loads(line))
                except ValueError as error:
                    raise InvalidInput(
                        f"{self._metrics} is damaged: line {number} is not JSON; delete that line"
                    ) from error
        return rows

    def add_metrics(self, row: dict[str, Any]) -> None:
        """Appends a row."""
        with self._metrics.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def forget_metrics_after(self, env_steps: int) -> list[dict[str, Any]]:
        """Drops rows that a killed run wrote after its last checkpoint; returns the others."""
        rows = [row for row in self.metrics() if row["env_steps"] <= env_steps]
        _write_whole(self._metrics, "".join(json.dumps(row) + "\n" for row in rows))
        return rows

    def write_result(self, result: dict[str, Any]) -> None:
        """Writes result.json."""
        _write_whole(self._result, json.dumps(result, indent=2) + "\n")


def _difference(given: TrainConfig, own: TrainConfig) -> str:
    changed = [
        field.name
        for field in dataclasses.fields(own)
        if getattr(given, field.name) != getattr(own, field.name)
    ]
    return f"another {', '.join(changed)}"


def _write_whole(path: Path, text: str) -> None:
    """Writes a file so that a kill leaves the old or the new content, never a part."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)
