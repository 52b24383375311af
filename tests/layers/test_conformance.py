"""What every public layer does, whatever it computes. A new public layer has to be entered here."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import tensorflow as tf

import tfmem.layers
from tfmem.layers import (
    AttentiveMemoryCell,
    ExternalMemory,
    HardAttention,
    NTMCell,
    ReadHead,
    ScanNTM,
    SoftAttention,
    WriteHead,
)

SLOTS, FEATURES = 7, 3


class Entry(NamedTuple):
    """A layer, how to call it on `x [B, T, 3]`, and what its axes mean to it."""

    make: Callable
    call: Callable = lambda layer, x, **kwargs: layer(x, **kwargs)
    over_time: bool = True  # takes any length, and a mask


def recurrent(cell, **arguments):
    def make(**kwargs):
        return tf.keras.layers.RNN(cell(**arguments, **kwargs), **kwargs)

    return Entry(make)


def head(kind, addressing):
    """A head whose memory is x itself, driven by its first row."""

    def call(layer, x):
        extra = {"read_weights": tf.nn.softmax(x[:, tf.newaxis, :, 0])} if addressing == "lru" else {}
        return layer(x[:, 0], x, **extra)

    def make(**kwargs):
        return kind(SLOTS, FEATURES, heads=2, addressing=addressing, **kwargs)

    return Entry(make, call, over_time=False)


def scan_ntm(**arguments):
    def make(**kwargs):
        return ScanNTM(slots=6, width=3, controller_units=5, **arguments, **kwargs)

    return Entry(make)


LAYERS = {
    "AttentiveMemoryCell": recurrent(AttentiveMemoryCell, units=4, slots=5, width=3, window=2),
    "ExternalMemory": recurrent(ExternalMemory, slots=6, width=3),
    "ExternalMemory, lru": recurrent(
        ExternalMemory,
        slots=6,
        width=3,
        read_addressing="content",
        write_addressing="lru",
        initial="learned",
    ),
    "HardAttention": Entry(lambda **kwargs: HardAttention(4, **kwargs)),
    "HardAttention, reinforce, seeded": Entry(
        lambda **kwargs: HardAttention(4, estimator="reinforce", seed=1, **kwargs)
    ),
    "HardAttention, straight-through, two": Entry(
        lambda **kwargs: HardAttention(4, estimator="straight_through", selections=2, **kwargs)
    ),
    "NTMCell": recurrent(NTMCell, slots=6, width=3, controller_units=5),
    "NTMCell, LSTM": recurrent(NTMCell, slots=6, width=3, controller_units=5, controller="lstm"),
    "NTMCell, GRU, two heads": recurrent(
        NTMCell, slots=6, width=3, controller_units=5, controller="gru", read_heads=2, write_heads=2
    ),
    **{f"ReadHead, {a}": head(ReadHead, a) for a in ("ntm", "content", "direct", "attention")},
    "ScanNTM": scan_ntm(read_heads=("forward", "rewind")),
    "ScanNTM, chunked": scan_ntm(read_heads=("forward", "any"), erase="scalar", execution="chunked"),
    "ScanNTM, no jumps": scan_ntm(read_heads=("forward", "any"), jumps=False, favourite_logit=6.0),
    "ScanNTM, content": scan_ntm(read_heads=("forward", "content")),
    "SoftAttention": Entry(lambda **kwargs: SoftAttention(4, **kwargs)),
    "SoftAttention, two dot-product heads, a query an input": Entry(
        lambda **kwargs: SoftAttention(4, score="dot", heads=2, causal=True, **kwargs),
        lambda layer, x, **kwargs: layer(x, query=x, **kwargs),
        over_time=False,
    ),
    **{f"WriteHead, {a}": head(WriteHead, a) for a in ("ntm", "content", "direct", "attention", "lru")},
}
OVER_TIME = sorted(name for name, entry in LAYERS.items() if entry.over_time)


def test_every_public_layer_is_here():
    public = [getattr(tfmem.layers, name) for name in tfmem.layers.__all__]
    layers = {x.__name__ for x in public if isinstance(x, type) and issubclass(x, tf.keras.layers.Layer)}
    assert {name.split(",")[0] for name in LAYERS} == layers


@pytest.fixture(params=sorted(LAYERS))
def entry(request):
    return LAYERS[request.param]


@pytest.fixture
def x():
    return tf.random.normal([2, SLOTS, FEATURES])


def flat(outputs):
    return [np.asarray(o, np.float32) for o in tf.nest.flatten(outputs)]


def first(outputs):
    return tf.nest.flatten(outputs)[0]


def model_of(entry):
    inputs = tf.keras.Input([SLOTS, FEATURES])
    return tf.keras.Model(inputs, first(entry.call(entry.make(), inputs)))


def test_config_round_trip(entry):
    layer = entry.make()
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize("ending", [".keras", ""])
def test_model_saves_and_loads(entry, x, tmp_path, ending):
    model = model_of(entry)
    model.save(tmp_path / f"model{ending}")
    loaded = tf.keras.models.load_model(tmp_path / f"model{ending}")
    np.testing.assert_allclose(model(x), loaded(x), atol=1e-6)


@pytest.mark.parametrize("name", ["mixed_bfloat16", "mixed_float16", "float64"])
def test_precisions(entry, x, name):
    policy = tf.keras.mixed_precision.Policy(name)
    layer = entry.make(dtype=policy)
    with tf.GradientTape() as tape:
        outputs = entry.call(layer, tf.cast(x, policy.compute_dtype))
        loss = tf.reduce_sum(tf.cast(first(outputs), tf.float32))
    gradients = tape.gradient(
        loss, layer.trainable_variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
    )
    assert all(np.isfinite(g).all() for g in flat(gradients))
    assert all(o.dtype == policy.compute_dtype for o in tf.nest.flatten(outputs))
    assert all(v.dtype == policy.variable_dtype for v in layer.variables)
    assert all(np.isfinite(o).all() for o in flat(outputs))


@pytest.mark.parametrize("jit", [False, True])
def test_any_batch_and_length_in_one_trace(entry, jit):
    layer = entry.make()
    length = None if entry.over_time else SLOTS
    traced = tf.function(
        lambda x: entry.call(layer, x),
        jit_compile=jit,
        autograph=False,
        input_signature=[tf.TensorSpec([None, length, FEATURES])],
    )
    for batch, length in ((1, SLOTS), (3, 9 if entry.over_time else SLOTS)):
        x = tf.random.normal([batch, length, FEATURES])
        for a, b in zip(flat(entry.call(layer, x)), flat(traced(x)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
    assert traced.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("name", [name for name in OVER_TIME if "Cell" in name or "External" in name])
def test_a_cell_that_begins_with_zeros_begins_with_its_initial_state(name, x):
    layer = LAYERS[name].make()
    layer(x)
    for variable in layer.trainable_variables:
        variable.assign_add(tf.random.normal(variable.shape, stddev=0.5))
    zeros = [tf.zeros([2, *size]) for size in layer.cell.state_size]
    np.testing.assert_allclose(layer(x, initial_state=zeros), layer(x), atol=1e-6)


@pytest.mark.parametrize("name", OVER_TIME)
def test_what_a_mask_hides_does_not_matter(name, x):
    """In a sequence padded at its end, through a Keras mask that a layer before it sets."""
    entry = LAYERS[name]
    layer = entry.make()
    inputs = tf.keras.Input([None, FEATURES])
    masked = tf.keras.layers.Masking(mask_value=9.0)(inputs)
    model = tf.keras.Model(inputs, tf.nest.flatten(entry.call(layer, masked))[-1])
    padded = tf.concat([x, tf.fill([2, 3, FEATURES], 9.0)], axis=1)
    found, expected = model(padded).numpy(), model(x).numpy()
    if found.ndim == 2 and found.shape[1] == SLOTS + 3:  # weights over the inputs themselves
        np.testing.assert_array_equal(found[:, SLOTS:], 0)
        found = found[:, :SLOTS]
    if found.ndim == 3 and found.shape[2] == SLOTS + 3:
        found = found[..., :SLOTS]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("jit", [False, True])
def test_trains_with_fit(entry, jit):
    model = model_of(entry)
    outputs = tf.keras.layers.Dense(1)(tf.keras.layers.Flatten()(model.output))
    model = tf.keras.Model(model.inputs, outputs)
    model.compile(tf.keras.optimizers.Adam(1e-2), "mse", jit_compile=jit)
    history = model.fit(np.ones([16, SLOTS, FEATURES]), np.ones([16, 1]), epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_a_model_summarises_itself(entry, capsys):
    model = model_of(entry)
    model.summary()
    assert f"{model.count_params():,}" in capsys.readouterr().out.replace("Total params: ", "")


@pytest.mark.parametrize("name", OVER_TIME)
def test_time_distributed_equals_each_by_itself(name):
    entry = LAYERS[name]
    layer = entry.make()
    x = tf.random.normal([2, 4, SLOTS, FEATURES])
    together = tf.keras.layers.TimeDistributed(layer)(x)
    for i in range(4):
        for a, b in zip(flat(together), flat(layer(x[:, i])), strict=True):
            np.testing.assert_allclose(a[:, i], b, atol=1e-5)
