import numpy as np
import tensorflow as tf

from tfmem.ops import erase_and_add, read, write


def test_write_and_read_follow_the_equations():
    rng = np.random.default_rng(0)
    memory = rng.normal(size=(2, 5, 3))
    weights, erase, add = rng.random((2, 2, 5)), rng.random((2, 2, 3)), rng.normal(size=(2, 2, 3))
    expected = memory.copy()
    for head in range(2):
        expected *= 1 - weights[:, head, :, None] * erase[:, head, None, :]
    for head in range(2):
        expected += weights[:, head, :, None] * add[:, head, None, :]
    np.testing.assert_allclose(write(*map(tf.constant, (memory, weights, erase, add))), expected)

    read_weights = rng.random((2, 4, 5))
    expected_reads = np.einsum("brn,bnd->brd", read_weights, memory)
    np.testing.assert_allclose(read(tf.constant(memory), tf.constant(read_weights)), expected_reads)


def test_a_full_erase_and_add_replaces_one_slot_and_leaves_the_others():
    memory = tf.reshape(tf.range(12.0), [1, 4, 3])
    weights = tf.one_hot([[2]], 4)
    new = write(memory, weights, erase=tf.ones([1, 1, 3]), add=tf.constant([[[7.0, 8.0, 9.0]]]))
    np.testing.assert_array_equal(new[0, 2], [7, 8, 9])
    np.testing.assert_array_equal(np.delete(new[0], 2, 0), np.delete(memory[0], 2, 0))


def test_decay_stays_between_zero_and_one():
    rng = np.random.default_rng(1)
    decay, _ = erase_and_add(
        tf.constant(rng.dirichlet(np.ones(6), size=(8, 3))),
        tf.constant(rng.random((8, 3, 4))),
        tf.constant(rng.normal(size=(8, 3, 4))),
    )
    assert decay.shape == (8, 6, 4)
    assert np.all((decay.numpy() >= 0) & (decay.numpy() <= 1))
