import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import softmax
from tfmem.ops import chunked_read


def problem(length, writers=1, sharpness=3.0, batch=2, readers=3, slots=6, width=4):
    rng = np.random.default_rng(0)
    return {
        "read_weights": softmax(sharpness * rng.normal(size=[batch, length, readers, slots])),
        "write_weights": softmax(sharpness * rng.normal(size=[batch, length, writers, slots])),
        "erase": 0.999 * rng.random([batch, length, writers]),
        "add": rng.normal(size=[batch, length, writers, width]),
        "initial": rng.normal(size=[batch, slots, width]),
        "reset_mask": rng.random([batch, length]) < 0.1,
        "reset_value": rng.normal(size=[slots, width]),
    }


def by_hand(read_weights, write_weights, erase, add, initial, reset_mask, reset_value):
    memory, reads = initial, []
    for t in range(add.shape[1]):
        memory = np.where(reset_mask[:, t, None, None], reset_value, memory)
        w = write_weights[:, t]
        memory = memory * np.prod(1 - w * erase[:, t, :, None], axis=1)[..., None]
        memory = memory + np.einsum("bwn,bwd->bnd", w, add[:, t])
        reads.append(np.einsum("brn,bnd->brd", read_weights[:, t], memory))
    return np.stack(reads, 1), memory


def run(p, dtype=tf.float32):
    tensors = {k: tf.constant(v, tf.bool if k == "reset_mask" else dtype) for k, v in p.items()}
    return chunked_read(**tensors)


# Within one chunk of 16, exactly one, several, and several with a part of one.
@pytest.mark.parametrize("length", [1, 7, 16, 48, 53])
@pytest.mark.parametrize("writers", [1, 2])
def test_equals_the_steps_by_hand(length, writers):
    p = problem(length, writers)
    for found, expected in zip(run(p), by_hand(**p), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_without_resets():
    p = problem(37)
    p["reset_mask"] = np.zeros_like(p["reset_mask"])
    expected = by_hand(**p)
    without = {k: v for k, v in p.items() if not k.startswith("reset")}
    for found, hand in zip(run(without), expected, strict=True):
        np.testing.assert_allclose(found, hand, atol=1e-4)


def test_gradients_equal_those_of_numerical_differences():
    p = problem(18, batch=1, readers=1, slots=3, width=2)
    p["reset_mask"][0, 5] = True
    names = [k for k in p if k != "reset_mask"]

    def loss(*arguments):
        reads, final = chunked_read(
            **dict(zip(names, arguments, strict=True)), reset_mask=tf.constant(p["reset_mask"])
        )
        return tf.reduce_sum(tf.sin(reads)) + tf.reduce_sum(final**2)

    analytic, numeric = tf.test.compute_gradient(
        loss, [tf.constant(p[k], tf.float64) for k in names], delta=1e-5
    )
    for name, a, n in zip(names, analytic, numeric, strict=True):
        np.testing.assert_allclose(a, n, atol=1e-5, err_msg=name)


def test_heads_that_are_one_hot_and_erase_all_they_may():
    """The hardest case for the factors: every decay is 1 or .001, over many chunks."""
    rng = np.random.default_rng(0)
    p = problem(200)
    for name in ("read_weights", "write_weights"):
        p[name] = np.eye(6)[rng.integers(0, 6, p[name].shape[:-1])]
    p["erase"] = np.full_like(p["erase"], 0.999)
    for found, expected in zip(run(p), by_hand(**p), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("erase", [0.0, 1.0])
def test_stays_finite_at_the_ends_of_the_range(erase):
    p = problem(200, sharpness=1e6)
    tensors = {k: tf.constant(v, tf.bool if k == "reset_mask" else tf.float32) for k, v in p.items()}
    tensors["erase"] = tf.fill(tensors["erase"].shape, erase)
    with tf.GradientTape() as tape:
        watched = [v for k, v in tensors.items() if k != "reset_mask"]
        tape.watch(watched)
        reads, final = chunked_read(**tensors)
        loss = tf.reduce_sum(reads**2) + tf.reduce_sum(final)
    assert np.isfinite(loss)
    for gradient in tape.gradient(loss, watched):
        assert np.isfinite(gradient).all()


def test_16_bits_in_16_bits_out():
    p = problem(20)
    reads, final = run(p, tf.bfloat16)
    assert reads.dtype == final.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(reads, tf.float32), by_hand(**p)[0], atol=0.2)
