"""ScanNTM: a Neural Turing Machine whose controls do not wait for what was read."""

import math
from collections.abc import Sequence
from typing import Literal

import tensorflow as tf

from tfmem import ops
from tfmem._keras import keras
from tfmem.layers.scan_ntm_controls import Controller, Controls, hold
from tfmem.layers.scan_ntm_starts import ReadStart, WriteStart, start_weights
from tfmem.ops.addressing import MOVES

Execution = Literal["auto", "loop", "scan", "chunked"]
EXECUTIONS = ("auto", "loop", "scan", "chunked")
Erase = Literal["vector", "scalar"]

# From this many numbers in the memory on, `chunked` is known to be faster than `loop` on CPUs; see `auto`.
CHUNKED_FROM = 512


State = dict[str, tf.Tensor]


@keras.saving.register_keras_serializable("tfmem")
class ScanNTM(keras.layers.Layer):
    """A Neural Turing Machine whose tape moves depend on the input alone, so that time can run in parallel.

    A feed-forward controller `h_t = tanh(W x_t + b)` drives write heads and read heads over a ring of N
    slots of D numbers. Each head chooses among modes (`tfmem.ops.advance`): stay, one slot forward, one
    back, jump to slots that the controller names (unless `jumps=False`), and, for read heads, go to where a
    write head is, or to the slots whose content is like a key that the controller names. Then

        M_t = Π_j (1 − w_tj ⊗ e_tj) ⊙ M_{t-1} + Σ_j w_tj ⊗ v_tj        (erase and add)
        r_tj = Σ_i a_tji M_ti                                           (reads see the step's write)
        y_t = [h_t, r_t1, …, r_tR]

    This is the NTM of Graves et al. (2014) without sharpening, with DNC-like modes, and with a controller
    that does not see what was read: because no control depends on `M_{t-1}`, the heads' positions and the
    memory are linear recurrences, and so are the positions of read heads that look up by content, once every
    `M_t` is known. Three executions compute the same numbers:

    - `loop` takes the steps one by one (`tfmem.ops.unroll`);
    - `scan` takes all at once by associative scans (`tfmem.ops.linear_recurrence`);
    - `chunked` computes reads as attention over past writes and never the memory at every step
      (`tfmem.ops.chunked_read`); it needs one erase strength for a slot and no content reads.

    `auto` takes `scan` where TensorFlow sees a GPU and the length is known when tracing, and else, by what
    was measured (benchmarks/results/executions.json), `chunked` where it can be had and N·D is at least 512,
    which is the smallest memory measured, else `loop`. `step` takes a single step, for acting and serving.

    Modes are `softmax(logits / τ)`. The temperature τ is a variable that is not trained, 1 at first: lowering
    it late in training, by `layer.temperature.assign` or a `TemperatureSchedule`, makes heads that have
    learned where to go move exactly there, which sequences much longer than those of training need.

    Example:
      >>> layer = ScanNTM(slots=16, width=8)
      >>> y, state = layer(tf.zeros([2, 10, 4]))
      >>> y, state = layer.step(tf.zeros([2, 4]), state)

    Args:
      slots: N, the number of memory slots; at least 2.
      width: D, the numbers in a slot.
      read_heads: the favourite mode of each read head at initialisation: `"stay"`, `"forward"`, `"back"`,
        `"write"` (go to where the first write head is), `"write_2"` and so on, `"content"`, `"jump"`, or
        `"any"` for none. Read heads have the content mode when it is the favourite of one of them. A read
        head starts anywhere; one of `"rewind"` goes back, and starts by one half on slot 0, where the first
        write head starts: from the middle of N steps on it meets what was written before, the latest first.
      write_heads: one of `"stay"`, `"forward"`, `"back"`, `"jump"` and `"any"` for each write head. One that
        stays, or jumps, erases little at first; one that stays adds nothing at first, and starts where a head
        that walks forward writes last.
      controller_units: width of `h_t`.
      erase: `"vector"`, an erase strength for each number in a slot, or `"scalar"`, one for the slot, such
        that all heads together leave at least .001 of it.
      execution: `"auto"`, `"loop"`, `"scan"` or `"chunked"`.
      jumps: whether heads have the jump mode. Naming slots is a good part of a step's arithmetic.
      favourite_logit: of a head's favourite mode at initialisation, others having 0, and jumps less. A head
        with 5 modes then strays from its favourite with a probability of 4 e^-logit: .03 in a step with
        the default, so that heads stay sharp for some 50 steps. For sequences of T steps, `1 + ln T` keeps
        them so.

    Call arguments:
      x: `[B, T, F]`, T at least 1.
      initial_state: what `get_initial_state` gives, the default, or an earlier call's final state.
      reset_mask: `[B, T]` bool; where it holds, the state before that step is replaced by the initial one.
      mask: `[B, T]` bool, a Keras mask; where it does not hold, the step leaves the state as it is,
        but for a reset.

    Returns:
      `(y [B, T, controller_units + R·D], final_state)`. The state is a dict of `memory [B, N, D]`,
      `read_weights [B, R, N]` and `write_weights [B, W, N]`.

    Raises:
      ValueError: on an unknown execution, erase or favourite mode, on sizes, heads or a logit that do not
        fit, on sequences without a step, or where `chunked` is asked for and cannot be had.
    """

    def __init__(
        self,
        slots: int,
        width: int,
        read_heads: Sequence[str] = ("forward", "forward", "back", "write", "any"),
        write_heads: Sequence[str] = ("forward",),
        controller_units: int = 64,
        erase: Erase = "vector",
        execution: Execution = "auto",
        jumps: bool = True,
        favourite_logit: float = 5.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if slots < 2:
            raise ValueError(f"slots must be at least 2, not {slots}")
        if width < 1 or controller_units < 1:
            raise ValueError(
                f"width and controller_units must be at least 1, not {width} and {controller_units}"
            )
        for name, heads in (("read_heads", read_heads), ("write_heads", write_heads)):
            if isinstance(heads, str) or not heads:
                raise ValueError(f"{name} must name a favourite mode for each head; not {heads!r}")
        if erase not in ("vector", "scalar"):
            raise ValueError(f"erase must be 'vector' or 'scalar', not {erase!r}")
        if not 0 <= favourite_logit < math.inf:
            raise ValueError(f"favourite_logit must be a finite number of 0 or more, not {favourite_logit}")
        if execution not in EXECUTIONS:
            raise ValueError(f"execution must be one of {', '.join(EXECUTIONS)}; not {execution!r}")
        self.slots = slots
        self.width = width
        self.read_heads = tuple(read_heads)
        self.write_heads = tuple(write_heads)
        self.controller_units = controller_units
        self.erase = erase
        self.execution = execution
        self.jumps = jumps
        self.favourite_logit = favourite_logit
        self._reads_content = "content" in self.read_heads
        can_chunk = erase == "scalar" and not self._reads_content
        if execution == "chunked" and not can_chunk:
            raise ValueError("execution='chunked' needs erase='scalar' and read heads without 'content'")
        self._chunks = can_chunk
        self._controller = Controller(
            units=controller_units,
            slots=slots,
            width=width,
            write_heads=self.write_heads,
            write_modes=self.write_modes,
            read_heads=self.read_heads,
            read_modes=self.read_modes,
            erase=erase,
            favourite_logit=favourite_logit,
            name="controller",
            dtype=self._dtype_policy,
        )

    @property
    def write_modes(self) -> tuple[str, ...]:
        """The names of a write head's modes, in the order of `Controls.write_modes`' last axis."""
        return (*MOVES, *(("jump",) if self.jumps else ()))

    @property
    def read_modes(self) -> tuple[str, ...]:
        """The names of a read head's modes; `write`, `write_2` and so on go to where a write head is."""
        places = ("write", *(f"write_{i}" for i in range(2, len(self.write_heads) + 1)))
        content = ("content",) if self._reads_content else ()
        return (*MOVES, *places, *content, *(("jump",) if self.jumps else ()))

    @property
    def output_width(self) -> int:
        """The size of y's last axis."""
        return self.controller_units + len(self.read_heads) * self.width

    @property
    def slot_weights(self) -> tuple[tf.Variable, ...]:
        """The weights of the initial state, which have an axis of N slots; the layer must have been built."""
        return self._initial_memory, self._write_start, self._read_start

    @property
    def state_shapes(self) -> dict[str, tuple[int, int]]:
        """The shape of each part of the state, without the batch axis."""
        return {
            "memory": (self.slots, self.width),
            "read_weights": (len(self.read_heads), self.slots),
            "write_weights": (len(self.write_heads), self.slots),
        }

    def build(self, input_shape):
        with tf.name_scope("controller"):
            self._controller.build(input_shape)
        self.temperature = self.add_weight(name="temperature", shape=[], initializer="ones", trainable=False)
        self._initial_memory = self.add_weight(
            name="initial_memory", shape=[self.slots, self.width], initializer="zeros"
        )
        self._write_start = self.add_weight(
            name="write_start",
            shape=[len(self.write_heads), self.slots],
            initializer=WriteStart(self.write_heads),
        )
        self._read_start = self.add_weight(
            name="read_start",
            shape=[len(self.read_heads), self.slots],
            initializer=ReadStart(self.read_heads),
        )
        super().build(input_shape)

    def call(self, x, initial_state=None, reset_mask=None, mask=None, training=None):
        del training
        if x.shape[1] == 0:
            raise ValueError("ScanNTM needs sequences of at least one step")
        if initial_state is None:
            initial_state = self.get_initial_state(tf.shape(x)[0])
        execution = self._chosen_execution(known_length=x.shape[1] is not None)
        run = {"loop": self._loop, "scan": self._scan, "chunked": self._chunked}[execution]
        controls = self.controls(x)
        return run(controls if mask is None else hold(controls, mask), initial_state, reset_mask)

    def compute_mask(self, inputs, mask=None):
        return None if mask is None else (mask, dict.fromkeys(self.state_shapes))

    def _chosen_execution(self, *, known_length: bool) -> Execution:
        if self.execution != "auto":
            return self.execution
        # A scan over a length that is not known when tracing becomes tens of thousands of operations.
        if known_length and tf.config.list_logical_devices("GPU"):
            return "scan"
        return "chunked" if self._chunks and self.slots * self.width >= CHUNKED_FROM else "loop"

    def step(self, x: tf.Tensor, state: State) -> tuple[tf.Tensor, State]:
        """One step: `x [B, F]` and a state to `(y [B, …], next state)`, by plain operations."""
        if not self.built:
            with tf.init_scope():
                self.build(x.shape)
        return self._transition(self.controls(x), state)

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
            "read_weights": start_weights(tf.cast(self._read_start, self.compute_dtype)),
            "write_weights": start_weights(tf.cast(self._write_start, self.compute_dtype)),
        }

    def controls(self, x: tf.Tensor) -> Controls:
        """What the controller says of `x [B, F]` or `[B, T, F]`: each head's modes, what is erased and added.

        Modes are in the order of `write_modes` and `read_modes`. The layer must have been built.
        """
        return self._controller(x, tf.cast(self.temperature, self.compute_dtype))

    def _output(self, hidden: tf.Tensor, reads: tf.Tensor) -> tf.Tensor:
        width = len(self.read_heads) * self.width
        flat = tf.reshape(reads, tf.concat([tf.shape(reads)[:-2], [width]], axis=0))
        return tf.concat([hidden, flat], axis=-1)

    def _jump(self, places: tf.Tensor | tuple) -> tf.Tensor | None:
        """Where heads jump to, `[..., H, N]`; None for heads that do not."""
        return places if self.jumps else None

    def _content(self, c: Controls, memory: tf.Tensor) -> tf.Tensor | None:
        """Where each read head finds what it looks for, `[..., R, N]`."""
        if not self._reads_content:
            return None
        dtype = memory.dtype
        wide = tf.float32 if dtype.size < 4 else dtype
        return tf.cast(ops.content_weights(*(tf.cast(z, wide) for z in (memory, c.key, c.strength))), dtype)

    def _transition(self, c: Controls, state: State) -> tuple[tf.Tensor, State]:
        write_weights = ops.advance(state["write_weights"], c.write_modes, self._jump(c.write_jump))
        memory = ops.write(state["memory"], write_weights, c.erase, c.add)
        read_weights = ops.advance(
            state["read_weights"],
            c.read_modes,
            self._jump(c.read_jump),
            write_weights,
            self._content(c, memory),
        )
        y = self._output(c.hidden, ops.read(memory, read_weights))
        return y, {
            "memory": memory,
            "read_weights": read_weights,
            "write_weights": write_weights,
        }

    def _loop(self, c: Controls, state: State, reset_mask: tf.Tensor | None) -> tuple[tf.Tensor, State]:
        if reset_mask is None:
            return ops.unroll(lambda x, s, _: self._transition(x, s), c, state)

        def step(inputs, previous, initial):
            controls, reset = inputs
            return self._transition(controls, _where_reset(reset, initial, previous))

        return ops.unroll(step, (c, reset_mask), state, self._initial_state())

    def _scan(self, c: Controls, state: State, reset_mask: tf.Tensor | None) -> tuple[tf.Tensor, State]:
        initial = self._initial_state()

        def advance(head, *places):
            return ops.advance_sequence(
                state[head], *places, reset_mask=reset_mask, reset_weights=initial[head]
            )

        write_weights = advance("write_weights", c.write_modes, self._jump(c.write_jump))
        decay, update = ops.erase_and_add(write_weights, c.erase, c.add)
        memory = ops.linear_recurrence(
            tf.broadcast_to(decay, tf.shape(update)),
            update,
            initial=state["memory"],
            reset_mask=reset_mask,
            reset_value=initial["memory"],
        )
        read_weights = advance(
            "read_weights", c.read_modes, self._jump(c.read_jump), write_weights, self._content(c, memory)
        )
        y = self._output(c.hidden, ops.read(memory, read_weights))
        return y, {
            "memory": memory[:, -1],
            "read_weights": read_weights[:, -1],
            "write_weights": write_weights[:, -1],
        }

    def _chunked(self, c: Controls, state: State, reset_mask: tf.Tensor | None) -> tuple[tf.Tensor, State]:
        initial = self._initial_state()
        positions = ("read_weights", "write_weights")

        def move(inputs, previous, first):
            write_modes, write_jump, read_modes, read_jump, *reset = inputs
            if reset:
                previous = _where_reset(reset[0], first, previous)
            write_weights = ops.advance(previous["write_weights"], write_modes, self._jump(write_jump))
            read_weights = ops.advance(
                previous["read_weights"], read_modes, self._jump(read_jump), write_weights
            )
            moved = {"read_weights": read_weights, "write_weights": write_weights}
            return moved, moved

        resets = () if reset_mask is None else (reset_mask,)
        moves = (c.write_modes, c.write_jump, c.read_modes, c.read_jump, *resets)
        weights, final = ops.unroll(
            move,
            moves,
            {name: state[name] for name in positions},
            {name: initial[name] for name in positions},
        )
        reads, memory = ops.chunked_read(
            weights["read_weights"],
            weights["write_weights"],
            c.erase[..., 0],
            c.add,
            initial=state["memory"],
            reset_mask=reset_mask,
            reset_value=initial["memory"],
        )
        return self._output(c.hidden, reads), {"memory": memory, **final}

    def get_config(self):
        return {
            **super().get_config(),
            "slots": self.slots,
            "width": self.width,
            "read_heads": list(self.read_heads),
            "write_heads": list(self.write_heads),
            "controller_units": self.controller_units,
            "erase": self.erase,
            "execution": self.execution,
            "jumps": self.jumps,
            "favourite_logit": self.favourite_logit,
        }


def _where_reset(reset: tf.Tensor, initial: State, state: State) -> State:
    """`initial` in the sequences where `reset [B]` holds, `state` in the others."""
    reset = reset[:, tf.newaxis, tf.newaxis]
    return {name: tf.where(reset, initial[name], part) for name, part in state.items()}
