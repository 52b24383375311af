"""Location addressing by modes: how a head moves over a ring of slots.

A head holds weights over N slots. At each step a distribution π over *modes* says what they become, in
the way of the read modes of the Differentiable Neural Computer [Graves et al., 2016]:

    w_t = π_stay w_{t-1} + π_forward shift(w_{t-1}, +1) + π_back shift(w_{t-1}, −1)
          + Σ_j π_write_j w^write_tj + π_content w^content_t + π_jump c_t

with `c_t` a distribution over slots that the controller names. Read heads alone may go to where write head j
is, `w^write_tj`, and to what they look up by content, `w^content_t`. Since π sums to 1, the weights remain a
distribution.

The modes' order on their axis is stay, forward, back, one for each write head, content, jump; modes that
a head does not have are left out. The last weights enter linearly, and a circular shift is a product in
Fourier space, so the whole sequence is a linear recurrence over time, which `advance_sequence` solves by a
scan.
"""

import numpy as np
import tensorflow as tf

from tfmem.ops.recurrence import linear_recurrence

MOVES = ("stay", "forward", "back")


def _named_slots(
    modes: tf.Tensor, jump: tf.Tensor | None, write_weights: tf.Tensor | None, content: tf.Tensor | None
) -> list[tf.Tensor]:
    """What of the new weights does not depend on the old ones: the terms of a sum, `[..., H, N]` each."""
    named, mode = [], len(MOVES)
    if write_weights is not None:
        writers = write_weights.shape[-2]
        named.append(tf.matmul(modes[..., mode : mode + writers], write_weights))
        mode += writers
    for places in (content, jump):
        if places is not None:
            named.append(modes[..., mode : mode + 1] * places)
            mode += 1
    if mode != modes.shape[-1]:
        raise ValueError(f"modes has {modes.shape[-1]} on its last axis, where the heads have {mode} modes")
    return named


def advance(
    weights: tf.Tensor,
    modes: tf.Tensor,
    jump: tf.Tensor | None = None,
    write_weights: tf.Tensor | None = None,
    content: tf.Tensor | None = None,
) -> tf.Tensor:
    """Moves H heads by one step.

    Args:
      weights: `[..., H, N]`, the weights before the step.
      modes: `[..., H, 3 + W]`, distributions over the modes, W = 0 without `write_weights`; one more with
        `content`, and one with `jump`.
      jump: `[..., H, N]`, distributions over slots.
      write_weights: `[..., W, N]`, where the write heads are after this step.
      content: `[..., H, N]`, what each head looks up in this step.

    Returns:
      `[..., H, N]`, the weights after the step.
    """
    moved = (
        modes[..., 0:1] * weights
        + modes[..., 1:2] * tf.roll(weights, 1, axis=-1)
        + modes[..., 2:3] * tf.roll(weights, -1, axis=-1)
    )
    return sum(_named_slots(modes, jump, write_weights, content), moved)


def advance_sequence(
    initial: tf.Tensor,
    modes: tf.Tensor,
    jump: tf.Tensor | None = None,
    write_weights: tf.Tensor | None = None,
    content: tf.Tensor | None = None,
    *,
    reset_mask: tf.Tensor | None = None,
    reset_weights: tf.Tensor | None = None,
) -> tf.Tensor:
    """Moves H heads through T steps at once; equals T calls of `advance`.

    Args:
      initial: `[B, H, N]`, the weights before the first step.
      modes: `[B, T, H, 3 + W]`, one more with `content`, and one with `jump`.
      jump: `[B, T, H, N]`.
      write_weights: `[B, T, W, N]`.
      content: `[B, T, H, N]`.
      reset_mask: `[B, T]` bool, or None; where it holds, the heads start from `reset_weights`.
      reset_weights: `[H, N]`.

    Returns:
      `[B, T, H, N]`, the weights after every step.
    """
    slots, dtype = initial.shape[-1], modes.dtype
    terms = _named_slots(modes, jump, write_weights, content)
    nothing = tf.zeros(tf.concat([tf.shape(modes)[:-1], [slots]], axis=0), dtype)
    named = sum(terms[1:], terms[0]) if terms else nothing
    if dtype.size < 4:  # Fourier transforms take no 16-bit numbers.
        modes, named, initial = (tf.cast(z, tf.float32) for z in (modes, named, initial))
    frequencies = tf.constant(2 * np.pi / slots * np.arange(slots // 2 + 1), modes.dtype)
    stay, forward, back = (modes[..., i : i + 1] for i in range(len(MOVES)))
    # e^{-iω} moves the weights one slot forward, e^{+iω} one slot back.
    transfer = tf.complex(
        stay + (forward + back) * tf.cos(frequencies), (back - forward) * tf.sin(frequencies)
    )
    spectrum = linear_recurrence(
        transfer,
        tf.signal.rfft(named),
        initial=tf.signal.rfft(initial),
        reset_mask=reset_mask,
        reset_value=None if reset_mask is None else tf.signal.rfft(tf.cast(reset_weights, modes.dtype)),
    )
    weights = tf.signal.irfft(spectrum, [slots])
    # The transform's rounding leaves weights of about -1e-8 where they are 0.
    return tf.cast(tf.nn.relu(weights), dtype)
