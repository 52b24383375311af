"""What every public layer does, whatever it computes. A new public layer has to be entered here."""

import numpy as np
import pytest
import tensorflow as tf

import tfmem.layers

LAYERS = {
    "HardAttention": lambda **kwargs: tfmem.layers.HardAttention(4, **kwargs),
    "HardAttention, straight-through": lambda **kwargs: tfmem.layers.HardAttention(
        4, estimator="straight_through", **kwargs
    ),
    "NTMCell": lambda **kwargs: tf.keras.layers.RNN(
        tfmem.layers.NTMCell(6, 3, controller_units=5, **kwargs), return_state=True, **kwargs
    ),
    "NTMCell, LSTM": lambda **kwargs: tf.keras.layers.RNN(
        tfmem.layers.NTMCell(6, 3, controller_units=5, controller="lstm", **kwargs),
        return_state=True,
        **kwargs,
    ),
    "ScanNTM": lambda **kwargs: tfmem.layers.ScanNTM(
        slots=6, width=3, read_heads=("forward", "any"), controller_units=5, **kwargs
    ),
    "SoftAttention": lambda **kwargs: tfmem.layers.SoftAttention(4, **kwargs),
}


def test_every_public_layer_is_here():
    public = [getattr(tfmem.layers, name) for name in tfmem.layers.__all__]
    layers = {x.__name__ for x in public if isinstance(x, type) and issubclass(x, tf.keras.layers.Layer)}
    assert {name.split(",")[0] for name in LAYERS} == layers


@pytest.fixture(params=sorted(LAYERS))
def make(request):
    return LAYERS[request.param]


def flat(outputs):
    return [np.asarray(o, np.float32) for o in tf.nest.flatten(outputs)]


def test_config_round_trip(make):
    layer = make()
    copy = type(layer).from_config(layer.get_config())
    assert copy.get_config() == layer.get_config()


@pytest.mark.parametrize("ending", [".keras", ""])
def test_model_saves_and_loads(make, tmp_path, ending):
    inputs = tf.keras.Input([7, 3])
    model = tf.keras.Model(inputs, make()(inputs)[0])
    x = tf.random.normal([2, 7, 3])
    model.save(tmp_path / f"model{ending}")
    loaded = tf.keras.models.load_model(tmp_path / f"model{ending}")
    np.testing.assert_allclose(model(x), loaded(x), atol=1e-6)


def test_mixed_precision_computes_in_16_bits_and_keeps_32_bit_variables(make):
    layer = make(dtype=tf.keras.mixed_precision.Policy("mixed_bfloat16"))
    outputs = layer(tf.random.normal([2, 7, 3]))
    assert all(o.dtype == tf.bfloat16 for o in tf.nest.flatten(outputs))
    assert all(v.dtype == tf.float32 for v in layer.variables)


def test_compiled_equals_not_compiled(make):
    layer = make()
    x = tf.random.normal([2, 7, 3])
    compiled = tf.function(layer, jit_compile=True, autograph=False)(x)
    for a, b in zip(flat(layer(x)), flat(compiled), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_trains_with_fit(make):
    inputs = tf.keras.Input([7, 3])
    outputs = make()(inputs)[0]
    outputs = tf.keras.layers.Dense(1)(tf.keras.layers.Flatten()(outputs))
    model = tf.keras.Model(inputs, outputs)
    model.compile("adam", "mse")
    history = model.fit(np.ones([16, 7, 3]), np.ones([16, 1]), epochs=3, verbose=0)
    assert history.history["loss"][-1] < history.history["loss"][0]
