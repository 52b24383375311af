"""A long short-term memory over whole sequences, with resets and a lean gradient."""

import tensorflow as tf


def lstm(
    x: tf.Tensor,
    kernel: tf.Tensor,
    recurrent_kernel: tf.Tensor,
    bias: tf.Tensor,
    *,
    hidden: tf.Tensor,
    cell: tf.Tensor,
    reset_mask: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Hochreiter and Schmidhuber's memory with a forget gate, in the order of Keras' weights.

        i, f, g, o = σ, σ, tanh, σ (x_t W + h_{t-1} R + b)
        c_t = f ⊙ c_{t-1} + i ⊙ g        h_t = o ⊙ tanh(c_t)

    [Gers et al., "Learning to forget", 2000]. The loop over time holds the recurrent product alone: inputs
    are multiplied before it, for all steps at once, and the gradient of R is one product after it, where
    differentiating a loop adds up a gradient as large as R at every step.

    Args:
      x: `[B, T, F]`, T at least 1.
      kernel: `[F, 4U]`, W.
      recurrent_kernel: `[U, 4U]`, R.
      bias: `[4U]`, b.
      hidden: `[B, U]`, `h_{-1}`.
      cell: `[B, U]`, `c_{-1}`.
      reset_mask: `[B, T]` bool; where it holds, h and c are 0 before the step.

    Returns:
      `(every h [B, T, U], the last h [B, U], the last c [B, U])`. Differentiable once in all but
      `reset_mask`.
    """
    z = tf.matmul(tf.transpose(x, [1, 0, 2]), kernel) + bias
    keep = 1.0 - tf.cast(tf.transpose(reset_mask), x.dtype)[..., tf.newaxis]
    h, last_hidden, last_cell = _recurrence(z, keep, hidden, cell, recurrent_kernel)
    y = tf.transpose(h, [1, 0, 2])
    return tf.ensure_shape(y, [*x.shape[:2], recurrent_kernel.shape[0]]), last_hidden, last_cell


@tf.custom_gradient
def _recurrence(z, keep, hidden, cell, kernel):
    """`lstm` from `z = x W + b [T, B, 4U]` and `keep [T, B, 1]`; time comes first."""
    length, units = tf.shape(z)[0], kernel.shape[0]

    def array(width):
        return tf.TensorArray(z.dtype, length, element_shape=[z.shape[1], width])

    def forward(t, h, c, steps):
        gates = tf.split(z[t] + tf.matmul(h * keep[t], kernel), 4, axis=-1)
        i, f, g, o = tf.sigmoid(gates[0]), tf.sigmoid(gates[1]), tf.tanh(gates[2]), tf.sigmoid(gates[3])
        c = f * (c * keep[t]) + i * g
        squashed = tf.tanh(c)
        h = o * squashed
        return t + 1, h, c, steps.write(t, tf.concat([i, f, g, o, squashed, c, h], axis=-1))

    _, last_hidden, last_cell, steps = tf.while_loop(
        lambda t, *_: t < length, forward, (0, hidden, cell, array(7 * units))
    )
    kept = steps.stack()
    all_hidden = kept[..., 6 * units :]

    def gradient(d_all, d_hidden, d_cell):
        def before(first, later):
            """What each step starts from, of what each step leaves."""
            return keep * tf.concat([first[tf.newaxis], later[:-1]], axis=0)

        transposed = tf.transpose(kernel)
        cells = before(cell, kept[..., 5 * units : 6 * units])

        def backward(t, dh, dc, dzs):
            i, f, g, o, squashed, _, _ = tf.split(kept[t], 7, axis=-1)
            dh = dh + d_all[t]
            dc = dc + dh * o * (1.0 - squashed**2)
            of_gates = (
                dc * g * i * (1.0 - i),
                dc * cells[t] * f * (1.0 - f),
                dc * i * (1.0 - g**2),
                dh * squashed * o * (1.0 - o),
            )
            dz = tf.concat(of_gates, axis=-1)
            dh = tf.matmul(dz, transposed) * keep[t]
            return t - 1, dh, dc * f * keep[t], dzs.write(t, dz)

        _, dh, dc, dzs = tf.while_loop(
            lambda t, *_: t >= 0, backward, (length - 1, d_hidden, d_cell, array(4 * units))
        )
        dz = dzs.stack()
        d_kernel = tf.tensordot(before(hidden, all_hidden), dz, axes=[[0, 1], [0, 1]])
        return dz, None, dh, dc, d_kernel

    return (all_hidden, last_hidden, last_cell), gradient
