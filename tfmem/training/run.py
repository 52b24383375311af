"""A training run: phases of acting and learning, each ending with an evaluation and a checkpoint.

A run is a sequence of phases of `checkpoint_interval` environment steps. A phase starts by resetting every
environment from a seed that depends on the run's seed and the steps so far, and ends with an evaluation and
a checkpoint of everything else: networks, optimiser, replay, random state, counters. So a run that was
killed goes on from its last checkpoint as the uninterrupted run did, for any environment that is
deterministic from its seed; what the reset costs is the unfinished episodes at the end of each phase.
"""

import contextlib
import dataclasses
import errno
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tfmem.agents import MemoryPolicy
from tfmem.agents.memory_dqn_agent import NOT_FINITE
from tfmem.environments import EnvironmentFailed
from tfmem.errors import TfmemError, require
from tfmem.serving import wire
from tfmem.training.best_policy import BestPolicy
from tfmem.training.board import Board
from tfmem.training.collector import Collector
from tfmem.training.config import TrainConfig
from tfmem.training.environment import load_environment
from tfmem.training.evaluation import EndlessEpisode, evaluate
from tfmem.training.learner import Learner
from tfmem.training.run_folder import RunFolder
from tfmem.training.stopwatch import Stopwatch
from tfmem.training.trained_run import load_run

# Evaluation during training plays episodes from these environment seeds on.
EVALUATION_SEED = 1_000_000
# Evaluations look into an episode while recording has taken no more than this share of the run's time; the
# last one does in any case.
RECORDING_SHARE = 0.01
# A loss above this, in units of the normalised reward's square, is divergence.
EXPLODED_LOSS = 1e6


class Interrupted(TfmemError):
    """Training was stopped from the keyboard after saving; the message says how to go on."""


class Diverged(TfmemError):
    """The loss or the weights are no longer finite or sane; the message names the last good checkpoint."""


class SavingFailed(TfmemError):
    """A checkpoint or a row could not be written, as on a full disk; the message names the last good one."""


@dataclass(frozen=True)
class Status:
    """Where a run is, for whoever watches it.

    Attributes:
      doing: what happens now, in a word or two.
      env_steps: steps taken.
      updates: updates made.
      recent_return: mean return of the latest training episodes, which explore; nan before the first ends.
      greedy_return: mean return of the latest evaluation; nan before the first.
    """

    doing: str
    env_steps: int
    updates: int
    recent_return: float
    greedy_return: float


@dataclass(frozen=True)
class Result:
    """What a finished run came to; `result.json`.

    Attributes:
      env: environment id.
      seed: the run's seed.
      env_steps: steps taken.
      updates: updates made.
      wall_s: seconds, interruptions not counted.
      final_return: mean greedy return of the last evaluation.
      best_return: the highest of all evaluations, the last included.
      time_shares: what share of `wall_s` went where: acting, stepping the environments, learning, compiling,
        evaluating, recording for TensorBoard, saving, and all else.
    """

    env: str
    seed: int
    env_steps: int
    updates: int
    wall_s: float
    final_return: float
    best_return: float
    time_shares: dict[str, float]


def train(
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    watch: Callable[[Status], None] | None = None,
) -> Result:
    """Trains a memory-augmented DQN and leaves everything about it in a folder.

    Args:
      config: the run.
      out: the run's folder; created, and must not hold a run unless `resume`.
      resume: go on with the run in `out` from its last checkpoint; `config` must be the run's own.
      watch: called with the `Status` after every round of updates.

    Returns:
      The run's result, also written to `out/result.json`.

    Raises:
      InvalidInput: when the folder, configuration or environment does not fit.
      Interrupted: after Ctrl-C, once everything has been saved.
      Diverged: when the loss is not finite or has exploded.
      EnvironmentFailed: when an environment raises or gives what is no finite number, or its worker has died.
      EndlessEpisode: when the greedy policy's episode does not end.
      SavingFailed: when the disk takes no more.
    """
    return TrainingRun(config, out, resume=resume).run(watch)


class TrainingRun:
    """A run that can be started or gone on with; see `train`."""

    def __init__(self, config: TrainConfig, out: str | os.PathLike[str], *, resume: bool = False):
        self.config = config
        self.folder = RunFolder(Path(out))
        self.folder.check(config, resume=resume)
        self.environment = load_environment(config, config.num_envs, vectorization=config.vectorization)
        size = self.environment.batch_size
        require(config.num_envs == size, "num_envs", config.num_envs, f"{size}, to fill the last game")
        self.evaluation_environment = load_environment(config, config.eval_episodes)
        wire.flatten_observation(self.environment.observation_spec())  # refuses what has no export
        self.learner = Learner(self.environment, config)
        if config.pretrained and not (resume and self.folder.latest_checkpoint()):
            self.learner.start_from(load_run(config.pretrained).policy.network)
        # Only what could be built claims its folder.
        with self._writing():
            self.folder.claim(config)
        self.policy = MemoryPolicy(
            self.learner.answering, self.learner.reward_scale, value_rescaling=config.value_rescaling
        )
        self._best = BestPolicy(self.learner.answering)
        self._wall_s = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self._stopwatch = Stopwatch()
        self.collector = Collector(
            self.learner, self.environment, self._stopwatch, steps=config.collect_steps
        )
        self._manager = tf.train.CheckpointManager(
            tf.train.Checkpoint(
                learner=self.learner, best=self._best, wall_s=self._wall_s, stopwatch=self._stopwatch
            ),
            str(self.folder.checkpoints),
            max_to_keep=2,
        )
        self._metrics: list[dict[str, Any]] = []
        self._saved: tuple[int, int] | None = None
        if resume:
            self.folder.require_listed()
            latest = self.folder.latest_checkpoint()
            if latest:  # a run may be killed before its first
                with self.folder.reading(latest):
                    self._manager.checkpoint.restore(latest).assert_consumed()
                self._saved = self._savable
            with self._writing():
                self._metrics = self.folder.forget_metrics_after(int(self.learner.env_steps))
        with self._writing():
            self._board = Board(config, self.folder.events, self.policy, seed=EVALUATION_SEED)
        self._started = time.monotonic()

    def run(self, watch: Callable[[Status], None] | None = None) -> Result:
        """Trains until the budget is spent; see `train`."""
        watch = watch or (lambda status: None)
        self._started = time.monotonic()
        try:
            while self._evaluated_steps < self.config.env_steps:
                self._phase(watch)
            return self._finish()
        except KeyboardInterrupt as stop:
            self._save()
            raise Interrupted(
                f"stopped at environment step {self._env_steps} and saved; go on with --resume"
            ) from stop
        except EndlessEpisode as error:
            # Resumed it would play the same episode again.
            self._save()
            raise EndlessEpisode(
                f"{error}, at environment step {self._env_steps}; {self._kept}; start a new run with, say, "
                """--set 'env_kwargs={"max_episode_steps": 1000}'"""
            ) from error
        except EnvironmentFailed as error:
            raise EnvironmentFailed(
                f"{error}, at environment step {self._env_steps}; {self._kept}; "
                "mend it and go on with --resume"
            ) from error
        finally:
            self.environment.close()
            self.evaluation_environment.close()
            # What could not be written has been told already.
            with contextlib.suppress(OSError, tf.errors.OpError):
                self._board.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Raises `SavingFailed` where its body cannot write."""
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            raise SavingFailed(
                f"cannot write to {self.folder.path}: {_reason(error)}, at environment step "
                f"{self._env_steps}; {self._kept}; mend that and go on with --resume"
            ) from error

    @property
    def _env_steps(self) -> int:
        return int(self.learner.env_steps)

    @property
    def _evaluated_steps(self) -> int:
        """Environment steps at the latest evaluation; a run may have been interrupted after it or before."""
        return self._metrics[-1]["env_steps"] if self._metrics else 0

    def _phase(self, watch: Callable[[Status], None]) -> None:
        interval = self.config.checkpoint_interval
        target = min((self._evaluated_steps // interval + 1) * interval, self.config.env_steps)
        losses = []
        for loss in self._learn_until(target, watch):
            if loss is not None:
                losses.append(loss)
            watch(self._status("training"))
        watch(self._status("evaluating"))
        with self._stopwatch.measure("evaluating"):
            greedy_return = evaluate(
                self.policy,
                self.evaluation_environment,
                episodes=self.config.eval_episodes,
                seed=EVALUATION_SEED,
            ).mean_return
        if not math.isfinite(greedy_return):
            raise self._diverged(f"the greedy return is {greedy_return:g}")
        self._best.offer(
            self.learner.answering,
            reward_scale=float(self.learner.reward_scale),
            greedy_return=greedy_return,
            env_steps=self._env_steps,
        )
        with self._stopwatch.measure("recording"):
            self._record(float(np.mean(losses)) if losses else math.nan, greedy_return)
        watch(self._status("saving"))
        with self._stopwatch.measure("saving"):
            self._save()

    def _learn_until(self, target: int, watch: Callable[[Status], None]) -> Iterator[float | None]:
        """Collects and learns to `target` environment steps; yields each round's loss, None without one."""
        learner = self.learner
        seeds = np.random.SeedSequence([self.config.seed, self._env_steps])
        self.collector.restart(int(seeds.generate_state(1)[0]) >> 1)
        while self._env_steps < target:
            if not self.collector.compiled:
                watch(self._status("compiling"))
            with self._stopwatch.measure("acting" if self.collector.compiled else "compiling"):
                self.collector.collect()
            loss = None
            if learner.ready():
                compiled = learner.learn.experimental_get_tracing_count() > 0
                if not compiled:
                    watch(self._status("compiling"))  # takes seconds
                with self._stopwatch.measure("learning" if compiled else "compiling"):
                    try:
                        loss = float(learner.learn())
                    except tf.errors.InvalidArgumentError as error:  # where XLA does not leave the check out
                        if NOT_FINITE not in error.message:
                            raise
                        loss = math.nan
                if not abs(loss) < EXPLODED_LOSS:
                    raise self._diverged(f"the loss is {loss:g}")
            yield loss

    def _status(self, doing: str) -> Status:
        return Status(
            doing=doing,
            env_steps=self._env_steps,
            updates=int(self.learner.updates),
            recent_return=self.collector.recent_return,
            greedy_return=self._metrics[-1]["greedy_return"] if self._metrics else math.nan,
        )

    def _record(self, loss: float, greedy_return: float) -> None:
        status = self._status("recording")
        scalars = {
            "loss": loss,
            "epsilon": float(tf.reduce_mean(self.learner.epsilon())),
            "train_return": status.recent_return,
            "greedy_return": greedy_return,
        }
        norms = self.learner.gradient_norms if status.updates else {}
        norms = {f"gradients/{name}": float(norm) for name, norm in norms.items()}
        last = status.env_steps >= self.config.env_steps
        affordable = self._stopwatch.seconds("recording") <= RECORDING_SHARE * self._wall()
        episode = self._board.play() if last or affordable else None
        row = {
            "env_steps": status.env_steps,
            "updates": status.updates,
            "wall_s": round(self._wall(), 2),
            **{name: value if math.isfinite(value) else None for name, value in scalars.items()},
        }
        with self._writing():
            self._board.write(scalars | norms, step=status.env_steps, episode=episode)
            self._metrics.append(row)
            self.folder.add_metrics(row)

    def _wall(self) -> float:
        return float(self._wall_s) + time.monotonic() - self._started

    @property
    def _savable(self) -> tuple[int, int]:
        """What tells two checkpoints apart; an evaluation that is made up for takes no steps."""
        return self._env_steps, int(self._best.env_steps)

    def _save(self) -> None:
        if not self.learner.weights_are_finite():
            raise self._diverged("a weight is not finite")
        if self._saved == self._savable:
            return
        number = self._env_steps
        while self.folder.has_checkpoint(number):  # a kill while overwriting it would leave none
            number += 1
        self._wall_s.assign(self._wall())
        self._started = time.monotonic()
        self._stopwatch.save()
        with self._writing():
            self._manager.save(checkpoint_number=number)
        self._saved = self._savable

    @property
    def _kept(self) -> str:
        last = self.folder.latest_checkpoint()
        return f"the last good checkpoint is {last}" if last else "no checkpoint was saved yet"

    def _diverged(self, what: str) -> Diverged:
        return Diverged(
            f"{what} at environment step {self._env_steps}; {self._kept}; "
            "try a lower learning_rate or gradient_clip"
        )

    def _finish(self) -> Result:
        evaluations = [row["greedy_return"] for row in self._metrics]
        result = Result(
            env=self.config.env_id,
            seed=self.config.seed,
            env_steps=self._env_steps,
            updates=int(self.learner.updates),
            wall_s=round(self._wall(), 2),
            final_return=evaluations[-1],
            best_return=max(evaluations),
            time_shares={k: round(v, 3) for k, v in self._stopwatch.shares(self._wall()).items()},
        )
        with self._writing():
            self._board.finish(result.final_return, step=result.env_steps)
            self.folder.write_result(dataclasses.asdict(result))
        return result


def _reason(error: OSError | tf.errors.OpError) -> str:
    """Why a file could not be written: by the system's own words, where TensorFlow's message holds them."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = str(error)
    return next((text for text in map(os.strerror, errno.errorcode) if text in said), said.splitlines()[0])
