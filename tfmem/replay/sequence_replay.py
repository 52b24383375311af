"""One compact tape of frames for each environment, sampled as windows that need no padding."""

from typing import NamedTuple

import numpy as np
import psutil
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory

from tfmem.errors import InvalidInput, require
from tfmem.replay.priorities import Priorities, WindowPriorities

State = dict[str, tf.Tensor]


class Windows(NamedTuple):
    """Sampled windows, as `SequenceReplay.sample` gives them."""

    experience: trajectory.Trajectory  # [B, T, ...]
    initial_state: State | tuple  # the policy's before the first frame, [B, ...]; () where none is stored
    weights: tf.Tensor  # [B] importance weights, the largest 1
    index: tf.Tensor  # [B, 2] row of the first frame and environment, for `update_priorities`


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
        "offset": tf.TensorSpec([], tf.int32),
    }


def _bytes(specs) -> int:
    sizes = [int(np.prod(s.shape.as_list())) * _storage_dtype(s).size for s in tf.nest.flatten(specs)]
    return sum(sizes)


def estimate_bytes(
    time_step_spec: ts.TimeStep, action_spec, capacity: int, *, state_spec=(), stride: int = 1
) -> int:
    """The bytes that a replay of `capacity` frames takes, and of a state for every `stride` frames."""
    frames = _bytes(_frame_specs(time_step_spec, action_spec)) * capacity
    return frames + _bytes(state_spec) * (capacity // stride)


class SequenceReplay(tf.Module):
    """The most recent frames of E environments, sampled as windows `[B, T]` of consecutive frames.

    Each environment has a tape, a ring of `capacity // E` rows, and each `add` writes one row of all tapes. A
    row holds a frame: observation, step type and action, with the reward and discount that *came with* the
    observation; integers are stored in the smallest type that holds their bounds. Episodes follow one
    another on a tape, so a window may hold the end of one and the start of the next: every frame is
    experience, none is padding, and the step types say where memory has to be reset.

    Windows of `length` frames are laid over each episode from its first frame on, `stride` apart, so that
    with T − 1 ≥ the episode's length a window holds the whole episode from its true initial state. With
    `state_spec` the policy's state is stored as well, once in `stride` frames, and the windows start there
    [Kapturowski et al., 2019].

    `sample` draws a frame uniformly and returns the window that holds it, or, with `priorities`, a window in
    proportion to its priority.

    Everything runs inside `tf.function`; variables hold the contents, so checkpoints include them.

    Args:
      time_step_spec: spec of one environment's time step.
      action_spec: spec of one action.
      num_envs: E.
      capacity: frames in all, at most; a tape holds two windows or more, with `state_spec` in whole strides.
      length: T, frames in a window, at least 2.
      stride: frames between the starts of an episode's windows; at most `length − 1`, so that the windows
        leave no frame out. With 1 windows start anywhere.
      state_spec: specs of the policy's state by name, where it is to be stored.
      priorities: how windows are to be preferred, by their TD errors; uniformly without.

    Raises:
      InvalidInput: when sizes do not fit, or the replay would not fit into the memory that is free.
    """

    def __init__(
        self,
        time_step_spec: ts.TimeStep,
        action_spec,
        *,
        num_envs: int,
        capacity: int,
        length: int,
        stride: int,
        state_spec: dict[str, tf.TensorSpec] | None = None,
        priorities: Priorities | None = None,
    ):
        super().__init__(name="sequence_replay")
        require(length >= 2, "window length", length, "at least 2")
        require(1 <= stride < length, "window stride", stride, f"between 1 and length - 1 = {length - 1}")
        # With states, windows start in the same rows also after the ring has wrapped: whole strides.
        unit = stride if state_spec else 1
        smallest = -(-2 * length // unit) * unit * num_envs
        require(capacity >= smallest, "replay_capacity", capacity, f"at least {smallest} frames")
        rows = capacity // num_envs // unit * unit
        needed = estimate_bytes(
            time_step_spec, action_spec, capacity, state_spec=state_spec or (), stride=stride
        )
        free = psutil.virtual_memory().available
        if needed > free:
            raise InvalidInput(
                f"a replay of {capacity} frames takes {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are "
                f"free; set replay_capacity to at most {int(capacity * free / needed * 0.9)}"
            )
        self._specs = _frame_specs(time_step_spec, action_spec)
        self._num_envs, self._rows, self._length, self._stride = num_envs, rows, length, stride
        self._state_spec = state_spec

        def tape(specs, length):
            return tf.nest.map_structure(
                lambda spec: tf.Variable(
                    tf.zeros([length, num_envs, *spec.shape], _storage_dtype(spec)), trainable=False
                ),
                specs,
            )

        with tf.device("/cpu:0"):
            self._tape = tape(self._specs, rows)
            self._states = tape(state_spec or (), rows // stride)
            self._age = tf.Variable(tf.zeros([num_envs], tf.int32), trainable=False)
            self._longest = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._added = tf.Variable(0, dtype=tf.int64, trainable=False)
            self._priorities = priorities and WindowPriorities(priorities, rows, num_envs)

    def add(self, time_step: ts.TimeStep, action: tf.Tensor, state: State | tuple = ()) -> None:
        """Writes one frame of every environment.

        Args:
          time_step: parts `[E, ...]`.
          action: `[E]`, what was chosen on it; of no account on LAST frames.
          state: what the policy came with, a dict of `[E, ...]`; of no account without `state_spec`.
        """
        self._age.assign(tf.where(time_step.is_first(), tf.zeros_like(self._age), self._age + 1))
        self._longest.assign(tf.maximum(self._longest, tf.cast(tf.reduce_max(self._age), tf.int64) + 1))
        if self._state_spec:
            offset = tf.fill([self._num_envs], tf.cast(self._added % self._stride, tf.int32))
        else:
            offset = self._age % self._stride
        frame = {
            "observation": time_step.observation,
            "action": action,
            "reward": time_step.reward,
            "discount": time_step.discount,
            "step_type": time_step.step_type,
            "offset": offset,
        }
        row = self._added % self._rows
        _write_row(self._tape, frame, row)
        if self._state_spec:
            tf.cond(
                self._added % self._stride == 0,
                lambda: _write_row(self._states, state, row // self._stride),
                lambda: None,
            )
        if self._priorities:
            self._priorities.add(row, tf.equal(offset, 0))
        self._added.assign_add(1)

    def sample(self, batch_size: int, *, generator: tf.random.Generator) -> Windows:
        """Draws `batch_size` windows; at least `length` rows must have been added.

        Args:
          batch_size: B.
          generator: the source of randomness.

        Returns:
          `Windows` with a `Trajectory` of `[B, T, ...]` in the dtypes of the specs. The reward and discount
          at t are those that followed frame t; at the last frame of the window they are unknown, and zero.
        """
        if self._priorities:
            start, env, weights = self._priorities.draw(batch_size, self._complete(), generator)
        else:
            start, env = self._uniform(batch_size, generator)
            weights = tf.ones([batch_size])
        rows = (start[:, tf.newaxis] + tf.range(self._length, dtype=tf.int64)) % self._rows
        where = tf.stack([rows, tf.tile(env[:, tf.newaxis], [1, self._length])], axis=-1)
        frames = tf.nest.map_structure(
            lambda variable, spec: tf.ensure_shape(
                tf.cast(variable.gather_nd(where), spec.dtype), [batch_size, self._length, *spec.shape]
            ),
            self._tape,
            self._specs,
        )
        index = tf.stack([start % self._rows, env], axis=-1)
        first = tf.stack([start % self._rows // self._stride, env], axis=-1)
        step_type = frames["step_type"]
        experience = trajectory.Trajectory(
            step_type=step_type,
            observation=frames["observation"],
            action=frames["action"],
            policy_info=(),
            next_step_type=tf.concat([step_type[:, 1:], step_type[:, -1:]], axis=1),
            reward=_following(frames["reward"]),
            discount=_following(frames["discount"]),
        )
        return Windows(
            experience=experience,
            initial_state=tf.nest.map_structure(lambda variable: variable.gather_nd(first), self._states),
            weights=weights,
            index=index,
        )

    def update_priorities(self, index: tf.Tensor, priority: tf.Tensor) -> None:
        """Sets the priorities `[B]` of windows by their `index [B, 2]`; does nothing without priorities."""
        if self._priorities:
            self._priorities.update(index, priority)

    def _uniform(self, batch_size: int, generator: tf.random.Generator) -> tuple[tf.Tensor, tf.Tensor]:
        """First rows and environments of the windows of frames drawn uniformly, `[B]` each."""
        overwritten = tf.maximum(self._added - self._rows, 0)
        # Where the ring has wrapped, the first frames of the oldest windows may be gone.
        furthest = self._stride if self._state_spec else tf.minimum(self._longest, self._stride)
        margin = tf.where(overwritten > 0, tf.cast(furthest, tf.int64), 0)
        row = generator.uniform([batch_size], overwritten + margin, self._added - self._length + 1, tf.int64)
        env = generator.uniform([batch_size], 0, self._num_envs, tf.int64)
        offset = self._tape["offset"].gather_nd(tf.stack([row % self._rows, env], axis=-1))
        return row - tf.cast(offset, tf.int64), env

    def _complete(self) -> tf.Tensor:
        """Which rows of the ring can be the first of a window that has been added whole, `[rows]` bool."""
        behind = (self._added - 1 - tf.range(self._rows, dtype=tf.int64)) % self._rows
        return (behind >= self._length - 1) & (behind < self._added)


def _write_row(tape, values, row: tf.Tensor) -> None:
    for variable, value in zip(tf.nest.flatten(tape), tf.nest.flatten(values), strict=True):
        stored = tf.cast(value, variable.dtype)[tf.newaxis]
        variable.scatter_update(tf.IndexedSlices(stored, row[tf.newaxis]))


def _following(x: tf.Tensor) -> tf.Tensor:
    return tf.concat([x[:, 1:], tf.zeros_like(x[:, :1])], axis=1)
