"""One compact tape of frames for each environment, sampled as windows that need no padding."""

import numpy as np
import psutil
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory

from tfmem.errors import InvalidInput, require


def _storage_dtype(spec: tf.TypeSpec) -> tf.DType:
    """The smallest integer type that holds a bounded integer; anything else as it is."""
    if not (isinstance(spec, tensor_spec.BoundedTensorSpec) and spec.dtype.is_integer):
        return spec.dtype
    low, high = np.min(spec.minimum), np.max(spec.maximum)
    for dtype in (tf.uint8, tf.int8, tf.int16, tf.int32):
        if dtype.min <= low and high <= dtype.max:
            return dtype if dtype.size < spec.dtype.size else spec.dtype
    return spec.dtype


def _frame_specs(time_step_spec: ts.TimeStep, action_spec) -> dict:
    """What a frame is made of: the spec that is given and returned, for every part that is stored."""
    return {
        "observation": time_step_spec.observation,
        "action": action_spec,
        "reward": tf.TensorSpec([], tf.float32),
        "discount": tf.TensorSpec([], tf.float32),
        "step_type": tensor_spec.BoundedTensorSpec([], tf.int32, 0, 2),
        "age": tf.TensorSpec([], tf.int32),
    }


def estimate_bytes(time_step_spec: ts.TimeStep, action_spec, capacity: int) -> int:
    """The bytes that a replay of `capacity` frames takes."""
    specs = tf.nest.flatten(_frame_specs(time_step_spec, action_spec))
    frame = sum(int(np.prod(spec.shape.as_list())) * _storage_dtype(spec).size for spec in specs)
    return frame * capacity


class SequenceReplay(tf.Module):
    """The most recent frames of E environments, sampled as windows `[B, T]` of consecutive frames.

    Each environment has a tape, a ring of `capacity // E` rows, and each `add` writes one row of all tapes. A
    row holds a frame: observation, step type and action, with the reward and discount that *came with* the
    observation; integers are stored in the smallest type that holds their bounds. Episodes follow one
    another on a tape, so a window may hold the end of one and the start of the next: every frame is
    experience, none is padding, and the step types say where memory has to be reset.

    `sample` draws a frame uniformly and returns the window that holds it. Windows are laid over each
    episode from its first frame on, `stride` apart, so that with T − 1 ≥ the episode's length a window
    holds the whole episode from its true initial state. With `stride=1` windows start anywhere.

    Everything runs inside `tf.function`; variables hold the contents, so checkpoints include them.

    Args:
      time_step_spec: spec of one environment's time step.
      action_spec: spec of one action.
      num_envs: E.
      capacity: frames in all.

    Raises:
      InvalidInput: when the replay would not fit into the memory that is free.
    """

    def __init__(self, time_step_spec: ts.TimeStep, action_spec, *, num_envs: int, capacity: int):
        super().__init__(name="sequence_replay")
        require(capacity >= num_envs, "replay capacity", capacity, f"at least num_envs = {num_envs}")
        needed = estimate_bytes(time_step_spec, action_spec, capacity)
        free = psutil.virtual_memory().available
        if needed > free:
            raise InvalidInput(
                f"a replay of {capacity} frames takes {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
                f"free; set replay_capacity to at most {int(capacity * free / needed * 0.9)}"
            )
        self._specs = _frame_specs(time_step_spec, action_spec)
        self._num_envs = num_envs
        self._rows = capacity // num_envs
        with tf.device("/cpu:0"):
            self._tape = tf.nest.map_structure(
                lambda spec: tf.Variable(
                    tf.zeros([self._rows, num_envs, *spec.shape], _storage_dtype(spec)),
                    trainable=False,
                ),
                self._specs,
            )
            self._age = tf.Variable(tf.zeros([num_envs], tf.int32), trainable=False)
            self._longest = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._added = tf.Variable(0, dtype=tf.int64, trainable=False)

    def add(self, time_step: ts.TimeStep, action: tf.Tensor) -> None:
        """Writes one frame of every environment.

        Args:
          time_step: parts `[E, ...]`.
          action: `[E]`, what was chosen on it; of no account on LAST frames.
        """
        self._age.assign(tf.where(time_step.is_first(), tf.zeros_like(self._age), self._age + 1))
        self._longest.assign(tf.maximum(self._longest, tf.cast(tf.reduce_max(self._age), tf.int64) + 1))
        frame = {
            "observation": time_step.observation,
            "action": action,
            "reward": time_step.reward,
            "discount": time_step.discount,
            "step_type": time_step.step_type,
            "age": self._age,
        }
        row = self._added % self._rows
        for variable, value in zip(tf.nest.flatten(self._tape), tf.nest.flatten(frame), strict=True):
            stored = tf.cast(value, variable.dtype)[tf.newaxis]
            variable.scatter_update(tf.IndexedSlices(stored, row[tf.newaxis]))
        self._added.assign_add(1)

    def sample(
        self, batch_size: int, length: int, *, stride: int, generator: tf.random.Generator
    ) -> trajectory.Trajectory:
        """Draws `batch_size` windows of `length` consecutive frames.

        At least `length` rows must have been added, and each tape be at least twice `length` long.

        Args:
          batch_size: B.
          length: T, at least 2.
          stride: frames between the starts of an episode's windows; at most `length − 1`, so that the
            windows leave no frame out.
          generator: the source of randomness.

        Returns:
          A `Trajectory` of `[B, T, ...]` in the dtypes of the specs. The reward and discount at t are those
          that followed frame t; at the last frame of the window they are unknown, and zero.
        """
        overwritten = tf.maximum(self._added - self._rows, 0)
        # Where the ring has wrapped, the start of the oldest episodes is gone.
        margin = tf.where(overwritten > 0, tf.minimum(self._longest, stride), 0)
        row = generator.uniform([batch_size], overwritten + margin, self._added - length + 1, tf.int64)
        env = generator.uniform([batch_size], 0, self._num_envs, tf.int64)
        age = self._tape["age"].gather_nd(tf.stack([row % self._rows, env], axis=-1))
        start = row - tf.cast(age % stride, tf.int64)
        rows = (start[:, tf.newaxis] + tf.range(length, dtype=tf.int64)) % self._rows
        where = tf.stack([rows, tf.tile(env[:, tf.newaxis], [1, length])], axis=-1)
        frames = tf.nest.map_structure(
            lambda variable, spec: tf.ensure_shape(
                tf.cast(variable.gather_nd(where), spec.dtype), [batch_size, length, *spec.shape]
            ),
            self._tape,
            self._specs,
        )
        step_type = frames["step_type"]
        return trajectory.Trajectory(
            step_type=step_type,
            observation=frames["observation"],
            action=frames["action"],
            policy_info=(),
            next_step_type=tf.concat([step_type[:, 1:], step_type[:, -1:]], axis=1),
            reward=_following(frames["reward"]),
            discount=_following(frames["discount"]),
        )


def _following(x: tf.Tensor) -> tf.Tensor:
    return tf.concat([x[:, 1:], tf.zeros_like(x[:, :1])], axis=1)
