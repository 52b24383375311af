"""ScanNTM: a Neural Turing Machine whose whole sequence is computed by parallel scans."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import tensorflow as tf

from tfmem import ops
from tfmem._keras import keras
from tfmem.ops.addressing import MOVES

Execution = Literal["auto", "loop", "scan"]

# Logit that a head gives its favourite mode at first, and the one that it gives jumps. With 5, a head
# that moves forward does so with probability .98: after 50 steps its weights are still mostly on one
# slot, so what is written stays separate. See docs/learning.md.
FAVOURITE_LOGIT = 5.0
JUMP_LOGIT = -2.0
# Start positions are softmax(START_SCALE · θ): the scale lets an optimiser with small steps move a
# start position to another slot within a few hundred updates.
START_SCALE = 10.0


class _Controls(NamedTuple):
    """What the controller says at each step; leading axes `[B]` or `[B, T]`."""

    hidden: tf.Tensor  # [..., controller_units]
    write_modes: tf.Tensor  # [..., W, 4]
    write_jump: tf.Tensor  # [..., W, N]
    read_modes: tf.Tensor  # [..., R, 4 + W]
    read_jump: tf.Tensor  # [..., R, N]
    erase: tf.Tensor  # [..., W, D]
    add: tf.Tensor  # [..., W, D]


State = dict[str, tf.Tensor]


@keras.saving.register_keras_serializable("tfmem")
class ScanNTM(keras.layers.Layer):
    """A Neural Turing Machine whose tape moves depend on the input alone, so that time runs in parallel.

    A feed-forward controller `h_t = tanh(W x_t + b)` drives write heads and read heads over a ring of N
    slots of D numbers. Each head chooses among modes (`tfmem.ops.advance`): stay, one slot forward, one
    back, jump to slots that the controller names, and, for read heads, go to where a write head is. Then

        M_t = Π_j (1 − w_tj ⊗ e_tj) ⊙ M_{t-1} + Σ_j w_tj ⊗ v_tj        (erase and add)
        r_tj = Σ_i a_tji M_ti                                           (reads see the step's write)
        y_t = [h_t, r_t1, …, r_tR]

    This is the NTM of Graves et al. (2014) without content addressing and sharpening and with DNC-like
    modes: because no control depends on `M_{t-1}`, both the heads' positions and the memory are linear
    recurrences. Two executions compute the same numbers: `loop`, step by step, and `scan`, all steps at
    once by associative scans. `step` takes a single step, for acting and serving.

    Example:
      >>> layer = ScanNTM(slots=16, width=8)
      >>> y, state = layer(tf.zeros([2, 10, 4]))
      >>> y, state = layer.step(tf.zeros([2, 4]), state)

    Args:
      slots: N, the number of memory slots; at least 2.
      width: D, the numbers in a slot.
      read_heads: the favourite mode of each read head at initialisation: `"stay"`, `"forward"`, `"back"`,
        `"write"` (go to where the first write head is), `"jump"`, or `"any"` for none.
      write_heads: the same for each write head, without `"write"`.
      controller_units: width of `h_t`.
      execution: `"scan"`, `"loop"`, or `"auto"`, which scans where the sequence length is known when
        tracing and loops where it is not.

    Call arguments:
      x: `[B, T, F]`.
      initial_state: what `get_initial_state` gives, the default, or an earlier call's final state.
      reset_mask: `[B, T]` bool; where it holds, the state before that step is replaced by the initial one.

    Returns:
      `(y [B, T, controller_units + R·D], final_state)`. The state is a dict of `memory [B, N, D]`,
      `read_weights [B, R, N]` and `write_weights [B, W, N]`.

    Raises:
      ValueError: on an unknown execution or favourite mode, or fewer than 2 slots.
    """

    def __init__(
        self,
        slots: int,
        width: int,
        read_heads: Sequence[str] = ("forward", "forward", "back", "write", "any"),
        write_heads: Sequence[str] = ("forward",),
        controller_units: int = 64,
        execution: Execution = "auto",
        **kwargs,
    ):
        super().__init__(**kwargs)
        if slots < 2:
            raise ValueError(f"slots must be at least 2, not {slots}")
        if execution not in ("auto", "loop", "scan"):
            raise ValueError(f"execution must be 'auto', 'loop' or 'scan', not {execution!r}")
        self.slots = slots
        self.width = width
        self.read_heads = tuple(read_heads)
        self.write_heads = tuple(write_heads)
        self.controller_units = controller_units
        self.execution = execution
        self._write_mode_bias = np.stack(
            [_mode_bias(favourite, write_modes=0) for favourite in self.write_heads]
        )
        self._read_mode_bias = np.stack(
            [_mode_bias(favourite, write_modes=len(self.write_heads)) for favourite in self.read_heads]
        )

    @property
    def output_width(self) -> int:
        """The size of y's last axis."""
        return self.controller_units + len(self.read_heads) * self.width

    @property
    def state_shapes(self) -> dict[str, tuple[int, int]]:
        """The shape of each part of the state, without the batch axis."""
        return {
            "memory": (self.slots, self.width),
            "read_weights": (len(self.read_heads), self.slots),
            "write_weights": (len(self.write_heads), self.slots),
        }

    def build(self, input_shape):
        writers, readers = len(self.write_heads), len(self.read_heads)

        def dense(name, units, features, **kwargs):
            layer = keras.layers.Dense(units, name=name, dtype=self._dtype_policy, **kwargs)
            with tf.name_scope(name):
                layer.build([None, features])
            return layer

        def modes(name, bias):
            # A zero kernel: at first a head follows its favourite mode whatever the input is.
            return dense(
                name,
                bias.size,
                self.controller_units,
                kernel_initializer="zeros",
                bias_initializer=keras.initializers.Constant(bias.reshape(-1)),
            )

        units = self.controller_units
        self._controller = dense("controller", units, input_shape[-1], activation="tanh")
        self._write_modes = modes("write_modes", self._write_mode_bias)
        self._read_modes = modes("read_modes", self._read_mode_bias)
        self._write_jump = dense("write_jump", writers * self.slots, units)
        self._read_jump = dense("read_jump", readers * self.slots, units)
        self._erase = dense(
            "erase", writers * self.width, units, activation="sigmoid", bias_initializer="ones"
        )
        self._add = dense("add", writers * self.width, units)
        self._initial_memory = self.add_weight(
            name="initial_memory", shape=[self.slots, self.width], initializer="zeros"
        )
        # A ring has no first slot, so write heads may start anywhere, as sharp as they can: evenly
        # spaced. Where the readers have to start relative to them is for learning to find.
        spaced = np.zeros([writers, self.slots], np.float32)
        spaced[np.arange(writers), np.arange(writers) * self.slots // writers] = 1.0
        self._write_start = self.add_weight(
            name="write_start",
            shape=spaced.shape,
            initializer=keras.initializers.Constant(spaced),
        )
        self._read_start = self.add_weight(
            name="read_start",
            shape=[readers, self.slots],
            initializer=keras.initializers.RandomNormal(stddev=0.1),
        )
        super().build(input_shape)

    def call(self, x, initial_state=None, reset_mask=None, training=None):
        del training
        if initial_state is None:
            initial_state = self.get_initial_state(tf.shape(x)[0])
        if reset_mask is None:
            reset_mask = tf.zeros(tf.shape(x)[:2], tf.bool)
        controls = self._controls(x)
        scan = self.execution == "scan" or (self.execution == "auto" and x.shape[1] is not None)
        unroll = self._scan if scan else self._loop
        return unroll(controls, initial_state, reset_mask)

    def step(self, x: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """One step: `x [B, F]` and a state to `(y [B, …], next state)`, by plain operations."""
        if not self.built:
            with tf.init_scope():
                self.build(x.shape)
        return self._transition(self._controls(x), state)

    def get_initial_state(self, batch_size: int | tf.Tensor) -> State:
        """The learned initial state for `batch_size` sequences; the layer must have been built."""
        if not self.built:
            raise ValueError("ScanNTM learns its initial state: build or call the layer first")
        return {
            name: tf.tile(part[tf.newaxis], [batch_size, 1, 1])
            for name, part in self._initial_state().items()
        }

    def _initial_state(self) -> State:
        return {
            "memory": tf.cast(self._initial_memory, self.compute_dtype),
            "read_weights": self._start_weights(self._read_start),
            "write_weights": self._start_weights(self._write_start),
        }

    def _start_weights(self, logits) -> tf.Tensor:
        return tf.nn.softmax(START_SCALE * tf.cast(logits, self.compute_dtype))

    def _controls(self, x: tf.Tensor) -> _Controls:
        hidden = self._controller(x)
        writers, readers = len(self.write_heads), len(self.read_heads)

        def by_head(layer, heads):
            y = layer(hidden)
            shape = tf.concat([tf.shape(y)[:-1], [heads, y.shape[-1] // heads]], axis=0)
            return tf.ensure_shape(tf.reshape(y, shape), [*y.shape[:-1], heads, y.shape[-1] // heads])

        return _Controls(
            hidden=hidden,
            write_modes=tf.nn.softmax(by_head(self._write_modes, writers)),
            write_jump=tf.nn.softmax(by_head(self._write_jump, writers)),
            read_modes=tf.nn.softmax(by_head(self._read_modes, readers)),
            read_jump=tf.nn.softmax(by_head(self._read_jump, readers)),
            erase=by_head(self._erase, writers),
            add=by_head(self._add, writers),
        )

    def _output(self, hidden: tf.Tensor, reads: tf.Tensor) -> tf.Tensor:
        width = len(self.read_heads) * self.width
        flat = tf.reshape(reads, tf.concat([tf.shape(reads)[:-2], [width]], axis=0))
        return tf.concat([hidden, flat], axis=-1)

    def _transition(self, c: _Controls, state: State) -> tuple[tf.Tensor, State]:
        write_weights = ops.advance(state["write_weights"], c.write_modes, c.write_jump)
        read_weights = ops.advance(state["read_weights"], c.read_modes, c.read_jump, write_weights)
        memory = ops.write(state["memory"], write_weights, c.erase, c.add)
        y = self._output(c.hidden, ops.read(memory, read_weights))
        return y, {
            "memory": memory,
            "read_weights": read_weights,
            "write_weights": write_weights,
        }

    def _scan(self, c: _Controls, state: State, reset_mask: tf.Tensor) -> tuple[tf.Tensor, State]:
        initial = self._initial_state()
        write_weights = ops.advance_sequence(
            state["write_weights"],
            c.write_modes,
            c.write_jump,
            reset_mask=reset_mask,
            reset_weights=initial["write_weights"],
        )
        read_weights = ops.advance_sequence(
            state["read_weights"],
            c.read_modes,
            c.read_jump,
            write_weights,
            reset_mask=reset_mask,
            reset_weights=initial["read_weights"],
        )
        decay, update = ops.erase_and_add(write_weights, c.erase, c.add)
        memory = ops.linear_recurrence(
            decay,
            update,
            initial=state["memory"],
            reset_mask=reset_mask,
            reset_value=initial["memory"],
        )
        y = self._output(c.hidden, ops.read(memory, read_weights))
        return y, {
            "memory": memory[:, -1],
            "read_weights": read_weights[:, -1],
            "write_weights": write_weights[:, -1],
        }

    def _loop(self, c: _Controls, state: State, reset_mask: tf.Tensor) -> tuple[tf.Tensor, State]:
        initial = self._initial_state()

        def body(carry, inputs):
            _, previous = carry
            controls, reset = inputs
            previous = {
                name: tf.where(reset[:, tf.newaxis, tf.newaxis], initial[name], part)
                for name, part in previous.items()
            }
            return self._transition(controls, previous)

        time_major = tf.nest.map_structure(
            lambda z: tf.transpose(z, [1, 0, *range(2, z.shape.rank)]), (c, reset_mask)
        )
        start = (tf.zeros([tf.shape(reset_mask)[0], self.output_width], c.hidden.dtype), state)
        y, states = tf.scan(body, time_major, start)
        return tf.transpose(y, [1, 0, 2]), tf.nest.map_structure(lambda z: z[-1], states)

    def get_config(self):
        return {
            **super().get_config(),
            "slots": self.slots,
            "width": self.width,
            "read_heads": list(self.read_heads),
            "write_heads": list(self.write_heads),
            "controller_units": self.controller_units,
            "execution": self.execution,
        }


def _mode_bias(favourite: str, write_modes: int) -> np.ndarray:
    """Initial mode logits of one head, in the order of `tfmem.ops.addressing`."""
    names = [*MOVES, *(["write"] if write_modes else []), "jump", "any"]
    if favourite not in names:
        raise ValueError(f"a head's favourite mode must be one of {', '.join(names)}; not {favourite!r}")
    bias = np.zeros(len(MOVES) + write_modes + 1, np.float32)
    bias[-1] = JUMP_LOGIT
    if favourite == "jump":
        bias[-1] = FAVOURITE_LOGIT
    elif favourite == "write":
        bias[len(MOVES)] = FAVOURITE_LOGIT
    elif favourite in MOVES:
        bias[MOVES.index(favourite)] = FAVOURITE_LOGIT
    return bias
