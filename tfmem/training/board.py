"""What TensorBoard shows of a run."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from tfmem.agents import MemoryPolicy
from tfmem.inspection import Trace, trace
from tfmem.inspection.summaries import Summaries, memory_summaries, write_hyperparameters
from tfmem.training.config import TrainConfig
from tfmem.training.environment import load_environment

# The scalar that TensorBoard shows beside the hyper-parameters.
METRIC = "final_return"
# The episode that is looked into is cut after so many steps.
LONGEST_EPISODE = 128


class Board:
    """Writes what TensorBoard shows of a run, and plays the episodes that are looked into.

    Args:
      config: the run.
      events: the folder of TensorBoard's files; a resumed run goes on in the same.
      policy: what is looked into.
      seed: of the episode, the same at each look, so that pictures can be compared.
    """

    def __init__(self, config: TrainConfig, events: Path, policy: MemoryPolicy, *, seed: int):
        self._config, self._policy, self._seed = config, policy, seed
        self._environment = load_environment(config, num_envs=1)
        # A default writer only while writing: the agent's own summaries cannot be compiled by XLA.
        self._writer = tf.summary.create_file_writer(str(events))
        with self._writer.as_default(step=0):
            write_hyperparameters(dataclasses.asdict(config), metric=METRIC)

    def play(self) -> Trace:
        """The greedy episode, cut after `LONGEST_EPISODE` steps."""
        return trace(
            self._policy,
            self._environment,
            seed=self._seed,
            gamma=self._config.gamma,
            max_steps=LONGEST_EPISODE,
        )

    def write(self, scalars: Mapping[str, float], *, step: int, episode: Trace | None = None) -> None:
        """Writes scalars, and what an episode shows of the policy's memory."""
        with self._writer.as_default():
            Summaries(scalars).write(step=step)
            if episode is not None:
                memory_summaries(episode, self._policy.network).write(step=step)

    def finish(self, final_return: float, *, step: int) -> None:
        """Writes how the run ended, for the table of hyper-parameters."""
        self.write({METRIC: final_return}, step=step)

    def close(self) -> None:
        """Ends the environment and flushes what was written."""
        self._environment.close()
        self._writer.close()
