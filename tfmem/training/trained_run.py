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
      policy: the greedy policy of its last checkpoint, or of its best evaluation.
      env_steps: environment steps that the policy has learned from.
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
        # A run that was interrupted has learned on since its latest evaluation.
        evaluation = next((row for row in self.metrics if row["env_steps"] == self.env_steps), {})
        return {
            "config": json.loads(self.config.to_json()),
            "env_steps": self.env_steps,
            "updates": evaluation.get("updates"),
            "greedy_return": evaluation.get("greedy_return"),
            "eval_episodes": self.config.eval_episodes,
        }


def load_run(path: str | os.PathLike[str], *, best: bool = False) -> TrainedRun:
    """Reads a run's configuration and a policy of its last checkpoint.

    Args:
      path: the run's folder.
      best: the policy that did best in the run's own evaluations, in place of the last.

    Raises:
      InvalidInput: when there is no run or no checkpoint in `path`, the two do not fit, or the best is asked
        for before the first evaluation.
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
    if best:
        weights = {"weights": list(network.variables)}
    else:
        weights = {"answering" if config.averaging else "network": network}
    parts = tf.train.Checkpoint(
        **weights,
        reward_scale=tf.Variable(1.0),
        env_steps=tf.Variable(0, dtype=tf.int64),
    )
    with folder.reading(latest):
        whole = tf.train.Checkpoint(**{"best" if best else "learner": parts})
        whole.restore(latest).assert_existing_objects_matched().expect_partial()
    if best and not int(parts.env_steps):
        raise InvalidInput(f"{path} made no evaluation yet, so no policy is its best; go on with --resume")
    return TrainedRun(
        config=config,
        policy=MemoryPolicy(network, parts.reward_scale, value_rescaling=config.value_rescaling),
        env_steps=int(parts.env_steps),
        metrics=folder.metrics(),
    )
