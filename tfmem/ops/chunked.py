"""Erase-and-add memory as masked attention over past writes, chunk by chunk."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfmem.ops.unroll import unroll

CHUNK = 16
# Decays below this count as this. It keeps e^(±ΣL) over half a chunk within float32: e^(10·16/2) = 5e34.
LEAST_DECAY = float(np.exp(-10.0))


class _Chunks(NamedTuple):
    """Decays inside chunks of C steps; `[B, K, C, ...]`."""

    within: tf.Tensor  # [..., C, C] bool: does what is written at s (last axis) reach t?
    from_start: tf.Tensor  # [..., C, N], what is left at t of the memory before the chunk
    from_reset: tf.Tensor | None  # [..., C, N], what is left at t of the last reset's memory
    fade: tf.Tensor  # [..., C, N]; fade_t · grow_s is what is left at t of what is written at s
    grow: tf.Tensor  # [..., C, N]


def chunked_read(
    read_weights: tf.Tensor,
    write_weights: tf.Tensor,
    erase: tf.Tensor,
    add: tf.Tensor,
    *,
    initial: tf.Tensor,
    reset_mask: tf.Tensor | None = None,
    reset_value: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """What R heads read from a memory that W heads write, without computing the memory at every step.

    With one erase strength for a whole slot the memory's decay is the same for all numbers in the slot,
    `a_t = Π_j (1 − w_tj e_tj)`, and with `L_t = Σ_{τ≤t} log a_τ` a read is attention over the past writes,

        r_t = Σ_{s≤t} (Σ_i r_ti e^{L_ti − L_si} w_si) v_s + Σ_i r_ti e^{L_ti} M_{-1,i}

    The decays factor into a part of t and a part of s, so inside a chunk of C steps the scores are one
    product of matrices; between chunks the memory itself is carried on. This is how linear attention with
    decay is computed [Yang et al., "Gated Linear Attention Transformers", 2024], with slots in place of key
    features. It costs O(T·N·(C + D)) and keeps T/C memories instead of T.

    A decay is held at no less than 5e-5, so that the factors stay finite: what a write erases more thoroughly
    leaves a trace of that size. Gradients of decays near that are inexact too: of the order 1e-7 / a_t
    relative to the largest. Where all heads together keep at least .001 of a slot, both are negligible.

    Args:
      read_weights: `[B, T, R, N]`.
      write_weights: `[B, T, W, N]`, each row sums to at most 1.
      erase: `[B, T, W]` in [0, 1], e.
      add: `[B, T, W, D]`, v.
      initial: `[B, N, D]`, the memory before the first step.
      reset_mask: `[B, T]` bool, or None; where it holds the memory is `reset_value` before the step.
      reset_value: `[N, D]`.

    Returns:
      `(reads [B, T, R, D], memory after the last step [B, N, D])`; reads see the step's own write.

    Raises:
      ValueError: on a reset_mask without a reset_value.
    """
    if reset_mask is not None and reset_value is None:
        raise ValueError("a reset_mask needs the reset_value that it puts in place")
    dtype = add.dtype
    if dtype.size < 4:  # the factors span more than 16 bits hold
        cast = [tf.cast(z, tf.float32) for z in (read_weights, write_weights, erase, add, initial)]
        if reset_value is not None:
            reset_value = tf.cast(reset_value, tf.float32)
        wide = chunked_read(*cast[:4], initial=cast[4], reset_mask=reset_mask, reset_value=reset_value)
        return tf.cast(wide[0], dtype), tf.cast(wide[1], dtype)
    batch, length = tf.shape(add)[0], tf.shape(add)[1]
    chunks = -(-length // CHUNK)
    readers = read_weights.shape[2]
    writers, width = add.shape[2:]

    def chunked(x):
        """`[B, T, ...]` to `[B, K, C, ...]`, padded by steps that neither write, erase nor read."""
        padding = [[0, 0], [0, chunks * CHUNK - length]] + [[0, 0]] * (x.shape.rank - 2)
        shape = tf.concat([[batch, chunks, CHUNK], tf.shape(x)[2:]], axis=0)
        return tf.ensure_shape(tf.reshape(tf.pad(x, padding), shape), [x.shape[0], None, CHUNK, *x.shape[2:]])

    w, v, r = chunked(write_weights), chunked(add), chunked(read_weights)
    keep = 1.0 - w * chunked(erase)[..., tf.newaxis]
    # A product of few factors: reduce_prod's gradient would take two cumulative products over them.
    decay = functools.reduce(tf.multiply, tf.unstack(keep, axis=3))
    resets = None if reset_mask is None else chunked(reset_mask)
    decays = _chunk_decays(decay, resets)

    def rows(x):
        """`[B, K, C, H, X]` to `[B, K, C·H, X]`."""
        shape = tf.shape(x)
        return tf.reshape(x, [shape[0], shape[1], CHUNK * x.shape[3], x.shape[4]])

    fade, grow = rows(r * decays.fade[..., tf.newaxis, :]), rows(w * decays.grow[..., tf.newaxis, :])
    values = rows(v)
    heads = np.ones([readers, writers], bool)
    allowed = decays.within[:, :, :, tf.newaxis, :, tf.newaxis] & heads[:, tf.newaxis, :]
    allowed = tf.reshape(allowed, [batch, chunks, CHUNK * readers, CHUNK * writers])
    scores = tf.where(allowed, tf.matmul(fade, grow, transpose_b=True), tf.zeros([], fade.dtype))
    reads = tf.matmul(scores, values)

    # What is written in a chunk and still there at its end; what comes into the chunk comes on top.
    last = decays.fade[:, :, -1, tf.newaxis] * tf.cast(decays.within[:, :, -1, :, tf.newaxis], fade.dtype)
    written = tf.matmul(rows(w * (decays.grow * last)[..., tf.newaxis, :]), values, transpose_a=True)
    if decays.from_reset is not None:
        written += decays.from_reset[:, :, -1, :, tf.newaxis] * reset_value

    def carry(x, memory, _):
        kept, written = x
        return memory, kept[..., tf.newaxis] * memory + written

    before, final = unroll(carry, (decays.from_start[:, :, -1], written), initial)
    reads += tf.matmul(rows(r * decays.from_start[..., tf.newaxis, :]), before)
    if decays.from_reset is not None:
        # Not tf.matmul: of [B, 1, C, N] and [N, D], as where K is 1, TensorFlow 2.21 with oneDNN reads and
        # writes outside of its memory (tensorflow/tensorflow#117700).
        reads += tf.tensordot(rows(r * decays.from_reset[..., tf.newaxis, :]), reset_value, axes=1)
    reads = tf.reshape(reads, [batch, chunks * CHUNK, readers, width])[:, :length]
    return tf.ensure_shape(reads, [*add.shape[:2], readers, width]), final


def _chunk_decays(decay: tf.Tensor, resets: tf.Tensor | None) -> _Chunks:
    """From `decay [B, K, C, N]` and `resets [B, K, C]`."""
    # Results are linear in each decay: with the gradient of the decay itself they are off by its error alone.
    floored = decay + tf.stop_gradient(tf.maximum(decay, LEAST_DECAY) - decay)
    log_decay = tf.math.log(floored)
    lower = np.tril(np.ones([CHUNK, CHUNK]))
    total = tf.matmul(tf.constant(lower, decay.dtype), log_decay)
    # Factors relative to the middle of the chunk reach half as far.
    middle = total[:, :, CHUNK // 2 - 1, tf.newaxis]
    within = tf.constant(lower, tf.bool)
    fade, grow = tf.exp(total - middle), tf.exp(middle - total)
    if resets is None:
        shape = tf.concat([tf.shape(decay)[:2], [CHUNK, CHUNK]], axis=0)
        return _Chunks(tf.broadcast_to(within, shape), tf.exp(total), None, fade, grow)
    episode = tf.cumsum(tf.cast(resets, tf.int32), axis=-1)
    same = tf.equal(episode[..., tf.newaxis], episode[..., tf.newaxis, :])
    started = (episode > 0)[..., tf.newaxis]
    # The sum of logarithms up to just before the last reset.
    at_reset = tf.cast(same & within & resets[:, :, tf.newaxis], decay.dtype)
    since_reset = total - tf.matmul(at_reset, total - log_decay)
    zero = tf.zeros([], decay.dtype)
    return _Chunks(
        within=same & within,
        from_start=tf.where(started, zero, tf.exp(total)),
        from_reset=tf.where(started, tf.exp(since_reset), zero),
        fade=fade,
        grow=grow,
    )
