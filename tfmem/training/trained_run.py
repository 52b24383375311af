"""A run read back from its folder."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfmem.agents import MemoryPolicy
from tfmem.errors import InvalidInput
from tfmem.training.config import TrainConfig
from tfmem.training.environment import environment_description, load_environment
from tfmem.training.learner import make_network
from tfmem.training.run_folder import RunFolder


@dataclass(frozen=True)
class TrainedRun:
    """A run read back from its folder.

    Attributes:
      config: the run's configuration.
      policy: the greedy policy of its last checkpoint.
      env_steps: environment steps at that checkpoint.
      metrics: the rows of metrics.jsonl.
    """

    config: TrainConfig
    policy: MemoryPolicy
    env_steps: int
    metrics: list[dict[str, Any]]

    @property
    def environment(self) -> dict[str, Any]:
        """Where the policy belongs, as an export's manifest tells it."""
        return environment_description(self.config)

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the policy comes from and how well it did, as an export's manifest tells it."""
        evaluation = self.metrics[-1] if self.metrics else {}
        return {
            "config": json.loads(self.config.to_json()),
            "env_steps": self.env_steps,
            "updates": evaluation.get("updates"),
            "greedy_return": evaluation.get("greedy_return"),
            "eval_episodes": self.config.eval_episodes,
        }


def load_run(path: str | os.PathLike[str]) -> TrainedRun:
    """Reads a run's configuration and the policy of its last checkpoint.

    Raises:
      InvalidInput: when there is no run or no checkpoint in `path`, or the two do not fit.
    """
    folder = RunFolder(Path(path))
    config = folder.config()
    folder.require_listed()
    latest = folder.latest_checkpoint()
    if latest is None:
        raise InvalidInput(f"{path} holds no checkpoint yet; go on with --resume")
    environment = load_environment(config, num_envs=1)
    network = make_network(environment, config)
    environment.close()
    parts = tf.train.Checkpoint(
        **{"answering" if config.averaging else "network": network},
        reward_scale=tf.Variable(1.0),
        env_steps=tf.Variable(0, dtype=tf.int64),
    )
    with folder.reading(latest):
        restored = tf.train.Checkpoint(learner=parts).restore(latest)
        restored.assert_existing_objects_matched().expect_partial()
    return TrainedRun(
        config=config,
        policy=MemoryPolicy(network, parts.reward_scale, value_rescaling=config.value_rescaling),
        env_steps=int(parts.env_steps),
        metrics=folder.metrics(),
    )
