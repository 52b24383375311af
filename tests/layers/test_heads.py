import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import softmax
from tfmem.layers import ExternalMemory, ReadHead, WriteHead

READ = ["ntm", "content", "direct", "attention"]
WRITE = [*READ, "lru"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def built(kind, seed=0, **kwargs):
    """A head with random weights, so that no term of its equations is zero."""
    tf.keras.utils.set_random_seed(seed)
    made = kind(**{"slots": 6, "width": 3, **kwargs})
    made.build(tf.TensorShape([None, 4]))
    rng = np.random.default_rng(seed)
    made.set_weights([w + 0.5 * rng.normal(size=w.shape) for w in made.get_weights()])
    return made


def dense(layer, name, h):
    kernel, bias = (next(v for v in layer.variables if f"{name}/{p}" in v.name) for p in ("kernel", "bias"))
    return h @ kernel.numpy() + bias.numpy()


@pytest.fixture
def inputs():
    rng = np.random.default_rng(1)
    return rng.normal(size=[2, 4]).astype(np.float32), rng.normal(size=[2, 6, 3]).astype(np.float32)


@pytest.mark.parametrize(("addressing", "squash"), [("direct", softmax), ("attention", sigmoid)])
def test_projections_as_weights(inputs, addressing, squash):
    h, memory = inputs
    head = built(ReadHead, heads=2, addressing=addressing)
    reads, weights = head(h, memory)
    expected = squash(dense(head, "controls", h).reshape(2, 2, 6))
    np.testing.assert_allclose(weights, expected, atol=1e-5)
    np.testing.assert_allclose(reads, (expected @ memory).reshape(2, 6), atol=1e-5)


def test_content_weights_come_from_key_and_strength_alone(inputs):
    h, memory = inputs
    head = built(ReadHead, addressing="content")
    _, weights = head(h, memory)
    controls = dense(head, "controls", h)
    key, strength = np.tanh(controls[:, :3]), np.log1p(np.exp(controls[:, 3:]))
    cosine = np.einsum("bd,bnd->bn", key, memory) / np.linalg.norm(key, axis=-1, keepdims=True)
    cosine /= np.linalg.norm(memory, axis=-1)
    np.testing.assert_allclose(weights[:, 0], softmax(strength * cosine), atol=1e-5)


@pytest.mark.parametrize("addressing", READ)
def test_writing_erases_and_adds_where_the_weights_are(inputs, addressing):
    h, memory = inputs
    head = built(WriteHead, heads=2, addressing=addressing)
    written, (weights,) = head(h, memory)
    erase = sigmoid(dense(head, "erase", h)).reshape(2, 2, 3)
    add = np.tanh(dense(head, "add", h)).reshape(2, 2, 3)
    expected = memory.copy()
    for j in range(2):
        expected = expected * (1 - weights[:, j, :, None].numpy() * erase[:, j, None])
    expected += np.einsum("bhn,bhd->bnd", weights, add)
    np.testing.assert_allclose(written, expected, atol=1e-5)


def test_least_recently_used_writing_follows_the_paper(inputs):
    """Three steps by hand: usage, the least used slots, the gate between them and the last reads."""
    h, memory = inputs
    head = built(WriteHead, heads=2, addressing="lru")
    gate = sigmoid(next(v for v in head.variables if "gate" in v.name).numpy())  # [2, 1]
    add = np.tanh(dense(head, "add", h)).reshape(2, 2, 3)
    rng = np.random.default_rng(2)
    state, weights, usage, expected = None, np.zeros([2, 2, 6]), np.zeros([2, 6]), memory
    for _ in range(3):
        reads = softmax(3 * rng.normal(size=[2, 1, 6])).astype(np.float32)
        memory, state = head(h, memory, state, reads)
        usage = 0.99 * usage + reads.sum(1) + weights.sum(1)
        least = np.argsort(usage, axis=-1, kind="stable")[:, :2]
        weights = gate * reads + (1 - gate) * np.eye(6)[least]  # both write heads take the one read head
        expected = expected * (1 - np.eye(6)[least].sum(1))[..., None]
        expected = expected + np.einsum("bhn,bhd->bnd", weights, add)
        np.testing.assert_allclose(memory, expected, atol=1e-5)
        np.testing.assert_allclose(state[0], weights, atol=1e-5)
        np.testing.assert_allclose(state[1], usage, atol=1e-5)


def test_lru_writing_fills_every_slot_before_it_takes_one_again():
    head = WriteHead(5, 3, addressing="lru")
    head.build([None, 4])
    next(v for v in head.variables if "gate" in v.name).assign([[-30.0]])
    memory, state, places = tf.zeros([1, 5, 3]), None, []
    for _ in range(10):
        memory, state = head(tf.ones([1, 4]), memory, state, tf.zeros([1, 1, 5]))
        places.append(int(np.argmax(state[0])))
    assert places == [0, 1, 2, 3, 4] * 2


def test_lru_without_read_weights_is_refused(inputs):
    with pytest.raises(ValueError, match="needs read_weights"):
        WriteHead(6, 3, addressing="lru")(*inputs)


@pytest.mark.parametrize("write", WRITE)
@pytest.mark.parametrize("read", READ)
def test_gradients_reach_every_parameter_of_any_pair(read, write):
    addressing = {"read_addressing": read, "write_addressing": write}
    cell = built(ExternalMemory, **addressing, initial="learned", read_heads=2)
    layer = tf.keras.layers.RNN(cell, return_sequences=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(tf.random.normal([2, 7, 4])) ** 2)
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(loss, layer.trainable_variables), strict=True
    ):
        assert np.abs(gradient).max() > 0, variable.name


@pytest.mark.parametrize("kind", [ReadHead, WriteHead])
def test_zero_memory_and_extreme_controls_stay_finite(kind):
    for scale in (1e-6, 1e6):
        head = built(kind)
        head.set_weights([w * scale for w in head.get_weights()])
        h = tf.ones([2, 4])
        with tf.GradientTape() as tape:
            first, _ = head(h, tf.zeros([2, 6, 3]))
            loss = tf.reduce_sum(first**2)
        assert np.isfinite(loss)
        for gradient in tape.gradient(
            loss, head.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        ):
            assert np.isfinite(gradient).all()


def test_shift_range_matters_to_ntm_alone():
    ReadHead(2, 3, addressing="direct")
    with pytest.raises(ValueError, match="pass a smaller one"):
        ReadHead(2, 3)


def test_attention_weights_are_never_zero_in_16_bits():
    """Weights of zero say that no step has been taken; here they would lose the memory."""
    policy = tf.keras.mixed_precision.Policy("mixed_float16")
    head = ReadHead(6, 3, addressing="attention", dtype=policy)
    head.build(tf.TensorShape([None, 4]))
    next(v for v in head.variables if "bias" in v.name).assign([-30.0] * 6)
    _, weights = head(tf.zeros([1, 4], tf.float16), tf.zeros([1, 6, 3], tf.float16))
    assert weights.numpy().min() > 0


def test_an_external_memory_starts_constant_or_learned():
    constant = ExternalMemory(4, 2)
    constant.build([None, 3])
    np.testing.assert_allclose(constant.get_initial_state(batch_size=2)[0], np.full([2, 4, 2], 1e-6))
    learned = ExternalMemory(4, 2, initial="learned")
    learned.build([None, 3])
    variable = next(v for v in learned.trainable_variables if "initial_memory" in v.name)
    variable.assign(np.arange(8.0).reshape(4, 2))
    np.testing.assert_allclose(learned.get_initial_state(batch_size=3)[0], [variable] * 3)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (ReadHead, {"slots": 1}, "slots must be at least 2, not 1"),
        (ReadHead, {"width": 0}, "width must be at least 1, not 0"),
        (ReadHead, {"heads": 7}, "heads must be 1 to slots = 6, not 7"),
        (ReadHead, {"addressing": "lru"}, "must be one of ntm, content, direct, attention; not 'lru'"),
        (WriteHead, {"addressing": "dense"}, "must be one of ntm, content, direct, attention, lru"),
        (WriteHead, {"shift_range": 3}, "must be 1 to slots = 6"),
        (ExternalMemory, {"initial": "zero"}, "must be 'constant' or 'learned'"),
    ],
)
def test_bad_arguments_are_named(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        kind(**{"slots": 6, "width": 3, **arguments})


@pytest.mark.parametrize("kind", [ReadHead, ExternalMemory])
def test_the_initial_state_of_what_is_unbuilt_is_refused(kind):
    with pytest.raises(ValueError, match="build or call it first"):
        kind(6, 3).get_initial_state(batch_size=1)
