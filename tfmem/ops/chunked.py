"""Erase-and-add memory as masked attention over past writes, chunk by chunk."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfmem.ops.unroll import unroll

CHUNK = 16
# Decays below this count as this. It keeps e^(±ΣL) over half a chunk within float32: e^(10·16/2) = 5e34.
LEAST_DECAY = float(np.exp(-10.0))


class _Resets(NamedTuple):
    """What resets do inside chunks of C steps; `[B, K, C, ...]`."""

    before: tf.Tensor  # [..., C, 1] bool: was there one since the chunk began?
    kept: tf.Tensor  # [..., C, N], what is left at t of the last reset's memory; 0 where there was none


class _Chunks(NamedTuple):
    """Decays inside chunks of C steps; `[B, K, C, ...]`."""

    within: tf.Tensor  # [..., C, C] bool: does what is written at s (last axis) reach t?
    fade: tf.Tensor  # [..., C, N]; fade_t · grow_s is what is left at t of what is written at s
    grow: tf.Tensor  # [..., C, N]
    at_middle: tf.Tensor  # [..., 1, N]; fade_t · at_middle is left at t of the memory before the chunk
    resets: _Resets | None


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
    batch, length = tf.shape(add)[0], add.shape[1] or tf.shape(add)[1]
    chunks = -(-length // CHUNK)
    whole = isinstance(length, int) and length % CHUNK == 0
    readers = read_weights.shape[2]
    writers, width = add.shape[2:]

    def chunked(x):
        """`[B, T, ...]` to `[B, K, C, ...]`, padded by steps that neither write, erase nor read."""
        if not whole:
            x = tf.pad(x, [[0, 0], [0, chunks * CHUNK - length]] + [[0, 0]] * (x.shape.rank - 2))
        return tf.reshape(x, [batch, chunks, CHUNK, *x.shape[2:]])

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
    last = decays.fade[:, :, -1, tf.newaxis]
    kept = last * decays.at_middle
    if decays.resets:
        at_end = tf.cast(decays.within[:, :, -1, :, tf.newaxis, tf.newaxis], v.dtype)
        values = rows(v * at_end)
        kept *= 1.0 - tf.cast(decays.resets.before[:, :, -1:], v.dtype)
    written = tf.matmul(grow * last, values, transpose_a=True)
    if decays.resets:
        written += decays.resets.kept[:, :, -1, :, tf.newaxis] * reset_value

    def carry(x, memory, _):
        kept, written = x
        return memory, kept[..., tf.newaxis] * memory + written

    before, final = unroll(carry, (kept[:, :, 0], written), initial)
    if decays.resets:
        unbroken = tf.where(decays.resets.before, tf.zeros([], v.dtype), decays.fade)
        fade = rows(r * unbroken[..., tf.newaxis, :])
    reads += tf.matmul(fade, decays.at_middle[:, :, 0, :, tf.newaxis] * before)
    if decays.resets:
        # Not tf.matmul: of [B, 1, C, N] and [N, D], as where K is 1, TensorFlow 2.21 with oneDNN reads and
        # writes outside of its memory (tensorflow/tensorflow#117700).
        reads += tf.tensordot(rows(r * decays.resets.kept[..., tf.newaxis, :]), reset_value, axes=1)
    reads = tf.reshape(reads, [batch, chunks * CHUNK, readers, width])[:, :length]
    return tf.ensure_shape(reads, [*add.shape[:2], readers, width]), final


def _chunk_decays(decay: tf.Tensor, resets: tf.Tensor | None) -> _Chunks:
    """From `decay [B, K, C, N]` and `resets [B, K, C]`."""
    # Results are linear in each decay: with the gradient of the decay itself they are off by its error alone.
    log_decay = tf.math.log(tf.grad_pass_through(lambda x: tf.maximum(x, LEAST_DECAY))(decay))
    lower = np.tril(np.ones([CHUNK, CHUNK]))
    half = lower[CHUNK // 2 - 1, np.newaxis]
    # Sums since the middle of the chunk reach half as far as sums since its beginning.
    since_middle = tf.matmul(tf.constant(lower - half, decay.dtype), log_decay)
    middle = tf.matmul(tf.constant(half, decay.dtype), log_decay)
    within = tf.constant(lower, tf.bool)
    decays = _Chunks(
        within=tf.broadcast_to(within, tf.concat([tf.shape(decay)[:2], [CHUNK, CHUNK]], axis=0)),
        fade=tf.exp(since_middle),
        grow=tf.exp(-since_middle),  # not 1 / fade, whose gradient squares it
        at_middle=tf.exp(middle),
        resets=None,
    )
    if resets is None:
        return decays
    episode = tf.cumsum(tf.cast(resets, tf.int32), axis=-1)
    same = tf.equal(episode[..., tf.newaxis], episode[..., tf.newaxis, :])
    before = (episode > 0)[..., tf.newaxis]
    # The sum of logarithms up to just before the last reset.
    at_reset = tf.cast(same & within & resets[:, :, tf.newaxis], decay.dtype)
    since_reset = since_middle - tf.matmul(at_reset, since_middle - log_decay)
    kept = tf.where(before, tf.exp(since_reset), tf.zeros([], decay.dtype))
    return decays._replace(within=same & within, resets=_Resets(before, kept))
