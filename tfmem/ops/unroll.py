"""Taking the steps of a recurrence one by one, with a gradient that recomputes each step."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

# A tensor, or a structure of tensors that `tf.nest` knows.
Tensors = Any


def unroll(
    step: Callable[[Tensors, Tensors, Tensors], tuple[Tensors, Tensors]],
    inputs: Tensors,
    state: Tensors,
    constants: Tensors = (),
) -> tuple[Tensors, Tensors]:
    """`y_t, s_t = step(x_t, s_{t-1}, constants)` for t = 0 … T-1.

    Going forward only the states are kept. Going back, each step is computed again and differentiated on its
    own, so that the gradient is a loop as lean as the forward one, with XLA and without; that of `tf.scan`
    keeps every intermediate result of every step, and copies what it kept at each step when XLA compiles it.

    Args:
      step: a pure function of its arguments: it must read no variables, and gradients reach nothing that it
        captures. Its outputs have the shape and dtype of one step, its state those of `state`.
      inputs: x, tensors `[B, T, ...]`, T at least 1.
      state: `s_{-1}`, tensors `[B, ...]`.
      constants: what every step sees, tensors of any shape.

    Returns:
      `(y, final state)`, with `[B, T, ...]` for each tensor `[B, ...]` that a step gives. Differentiable once
      in the floating-point tensors of `inputs`, `state` and `constants`.
    """
    flat_inputs, flat_state, flat_constants = map(tf.nest.flatten, (inputs, state, constants))
    counts = [len(flat_inputs), len(flat_state), len(flat_constants)]

    def flat_step(x, s, c):
        y, new = step(
            tf.nest.pack_sequence_as(inputs, x),
            tf.nest.pack_sequence_as(state, s),
            tf.nest.pack_sequence_as(constants, c),
        )
        return tf.nest.flatten(y), tf.nest.flatten(new), y

    first = [x[:, 0] for x in flat_inputs]
    example, _, y_structure = flat_step(first, flat_state, flat_constants)
    length, steps = tf.shape(flat_inputs[0])[1], flat_inputs[0].shape[1]

    @tf.custom_gradient
    def run(*arguments):
        x_all, s_first, c = _split(arguments, counts)
        x_all = [_time_major(x) for x in x_all]
        xs = [_steps_of(x) for x in x_all]

        def forward(t, s, ys, states):
            y, new, _ = flat_step([x.read(t) for x in xs], s, c)
            new = [tf.ensure_shape(z, old.shape) for z, old in zip(new, s, strict=True)]
            ys = [array.write(t, z) for array, z in zip(ys, y, strict=True)]
            states = [array.write(t, z) for array, z in zip(states, s, strict=True)]
            return t + 1, new, ys, states

        start = (0, s_first, [_empty(z, length) for z in example], [_empty(z, length) for z in s_first])
        _, s_last, ys, states = tf.while_loop(lambda t, *_: t < length, forward, start)
        befores = [array.stack() for array in states]

        def gradient(*upstream):
            dys, ds_last = _split(upstream, [len(example), counts[1]])
            # Tensors, not arrays, reach in here from the forward pass: a SavedModel can hold nothing else.
            xs, before = [_steps_of(x) for x in x_all], [_steps_of(s) for s in befores]
            dys = [_steps_of(_time_major(z)) for z in dys]
            sought_x, sought_c = ([z.dtype.is_floating for z in part] for part in (x_all, c))

            def backward(t, ds, dxs, dcs):
                x, s = ([z.read(t) for z in part] for part in (xs, before))
                wanted = [*s, *_chosen(x, sought_x), *_chosen(c, sought_c)]
                with tf.GradientTape() as tape:
                    tape.watch([z for z in wanted if z.dtype.is_floating])
                    y, new, _ = flat_step(x, s, c)
                found = tape.gradient(
                    [*y, *new],
                    wanted,
                    output_gradients=[*(z.read(t) for z in dys), *ds],
                    unconnected_gradients=tf.UnconnectedGradients.ZERO,
                )
                ds, dx, dc = _split(found, [len(s), len(dxs), len(dcs)])
                dxs = [array.write(t, z) for array, z in zip(dxs, dx, strict=True)]
                return t - 1, ds, dxs, [a + b for a, b in zip(dcs, dc, strict=True)]

            dxs = [_empty(z, length) for z in _chosen(first, sought_x)]
            dcs = [tf.zeros_like(z) for z in _chosen(c, sought_c)]
            _, ds, dxs, dcs = tf.while_loop(lambda t, *_: t >= 0, backward, (length - 1, ds_last, dxs, dcs))
            return (
                *_spread([_stacked(z, steps) for z in dxs], sought_x),
                *ds,
                *_spread(dcs, sought_c),
            )

        return (*(_stacked(z, steps) for z in ys), *s_last), gradient

    y, final = _split(run(*flat_inputs, *flat_state, *flat_constants), [len(example), counts[1]])
    return tf.nest.pack_sequence_as(y_structure, y), tf.nest.pack_sequence_as(state, final)


def _time_major(x: tf.Tensor) -> tf.Tensor:
    """`[B, T, ...]` to `[T, B, ...]`."""
    return tf.transpose(x, [1, 0, *range(2, x.shape.rank)])


def _steps_of(x: tf.Tensor) -> tf.TensorArray:
    """The steps of `[T, B, ...]`."""
    return tf.TensorArray(x.dtype, tf.shape(x)[0], element_shape=x.shape[1:]).unstack(x)


def _stacked(array: tf.TensorArray, steps: int | None) -> tf.Tensor:
    """`[B, T, ...]` again; `steps` is T where it is known when tracing."""
    x = _time_major(array.stack())
    return tf.ensure_shape(x, [x.shape[0], steps, *x.shape[2:]])


def _empty(like: tf.Tensor, length: tf.Tensor) -> tf.TensorArray:
    return tf.TensorArray(like.dtype, length, element_shape=like.shape)


def _split(flat, counts: list[int]) -> list[list]:
    flat, parts = list(flat), []
    for count in counts:
        parts.append(flat[:count])
        flat = flat[count:]
    return parts


def _chosen(flat: list, which: list[bool]) -> list:
    return [z for z, choose in zip(flat, which, strict=True) if choose]


def _spread(chosen: list, which: list[bool]) -> list:
    """The inverse of `_chosen`, with None where nothing was chosen."""
    rest = iter(chosen)
    return [next(rest) if choose else None for choose in which]
