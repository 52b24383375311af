import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import softmax
from tfmem.ops import advance, advance_sequence

SLOTS = 7


def by_hand(weights, modes, jump, write_weights=None):
    new = np.zeros_like(weights)
    for b, h, n in np.ndindex(*weights.shape):
        pi = modes[b, h]
        new[b, h, n] = (
            pi[0] * weights[b, h, n]
            + pi[1] * weights[b, h, (n - 1) % SLOTS]
            + pi[2] * weights[b, h, (n + 1) % SLOTS]
            + pi[-1] * jump[b, h, n]
        )
        if write_weights is not None:
            new[b, h, n] += sum(pi[3 + j] * write_weights[b, j, n] for j in range(write_weights.shape[1]))
    return new


def heads(length, writers, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: softmax(3 * rng.normal(size=shape))  # noqa: E731
    return {
        "initial": draw(2, 3, SLOTS),
        "modes": draw(2, length, 3, 4 + writers),
        "jump": draw(2, length, 3, SLOTS),
        "write_weights": draw(2, length, writers, SLOTS) if writers else None,
        "reset_mask": rng.random((2, length)) < 0.3,
        "reset_weights": draw(3, SLOTS),
    }


@pytest.mark.parametrize("writers", [0, 1, 2])
def test_a_step_follows_the_equation(writers):
    h = heads(1, writers)
    writes = None if writers == 0 else h["write_weights"][:, 0]
    found = advance(
        tf.constant(h["initial"]),
        tf.constant(h["modes"][:, 0]),
        tf.constant(h["jump"][:, 0]),
        None if writes is None else tf.constant(writes),
    )
    expected = by_hand(h["initial"], h["modes"][:, 0], h["jump"][:, 0], writes)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("writers", [0, 2])
@pytest.mark.parametrize("slots", [6, 7])
def test_a_sequence_equals_its_steps(writers, slots, monkeypatch):
    monkeypatch.setattr(f"{__name__}.SLOTS", slots)
    h = heads(12, writers)
    found = advance_sequence(
        *(None if h[k] is None else tf.constant(h[k]) for k in ("initial", "modes", "jump", "write_weights")),
        reset_mask=tf.constant(h["reset_mask"]),
        reset_weights=tf.constant(h["reset_weights"]),
    ).numpy()
    weights = h["initial"]
    for t in range(12):
        weights = np.where(h["reset_mask"][:, t, None, None], h["reset_weights"], weights)
        writes = None if writers == 0 else h["write_weights"][:, t]
        weights = by_hand(weights, h["modes"][:, t], h["jump"][:, t], writes)
        np.testing.assert_allclose(found[:, t], weights, atol=1e-9)


def test_modes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="modes has 4 on its last axis, where the heads have 3 modes"):
        advance(tf.ones([1, 1, SLOTS]), tf.ones([1, 1, 4]))


@pytest.mark.parametrize("writers", [0, 2])
def test_heads_without_jumps_equal_heads_that_never_jump(writers):
    h = heads(12, writers)
    modes = h["modes"][..., :-1] / h["modes"][..., :-1].sum(-1, keepdims=True)
    never = np.concatenate([modes, np.zeros([2, 12, 3, 1])], axis=-1)
    writes = None if writers == 0 else tf.constant(h["write_weights"])
    initial = tf.constant(h["initial"])
    without = advance_sequence(initial, tf.constant(modes), None, writes)
    with_jumps = advance_sequence(initial, tf.constant(never), tf.constant(h["jump"]), writes)
    np.testing.assert_allclose(without, with_jumps, atol=1e-12)


def test_weights_remain_a_distribution():
    h = heads(40, 1)
    found = advance_sequence(
        *(tf.constant(h[k], tf.float32) for k in ("initial", "modes", "jump", "write_weights")),
        reset_mask=tf.constant(h["reset_mask"]),
        reset_weights=tf.constant(h["reset_weights"], tf.float32),
    ).numpy()
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)


def test_forward_goes_to_the_next_slot_and_around_the_ring():
    forward = tf.one_hot([[1]], 3)
    weights = tf.one_hot([[SLOTS - 2]], SLOTS)
    visited = []
    for _ in range(3):
        weights = advance(weights, forward)
        visited.append(int(tf.argmax(weights[0, 0])))
    assert visited == [SLOTS - 1, 0, 1]
