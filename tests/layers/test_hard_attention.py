import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import softmax
from tfmem.layers import (
    HardAttention,
    MovingBaseline,
    TemperatureSchedule,
    attention_cross_entropy,
    score_function_loss,
)

ESTIMATORS = ["gumbel", "straight_through", "reinforce"]


def probabilities(layer, h, mask=None):
    key, vector = (next(v.numpy() for v in layer.variables if p in v.name) for p in ("key", "vector"))
    scores = np.tanh(h.numpy() @ key) @ vector
    return softmax(scores if mask is None else np.where(mask, scores, -1e30))


def many_draws(layer, h, n=4000, **kwargs):
    """Selections of the same row, n times: `[n, T]`."""
    tiled = tf.tile(h, [n, 1, 1])
    kwargs = {k: tf.tile(v, [n, 1]) for k, v in kwargs.items()}
    return layer(tiled, training=True, **kwargs)[1].numpy()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_outside_of_training_the_most_probable_input_is_selected(estimator):
    layer = HardAttention(4, estimator=estimator)
    h = tf.random.normal([6, 5, 3])
    context, selection = layer(h)
    best = probabilities(layer, h).argmax(-1)
    np.testing.assert_array_equal(selection, np.eye(5)[best])
    np.testing.assert_allclose(context, h.numpy()[np.arange(6), best])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_selections_are_drawn_by_their_probabilities(estimator):
    layer = HardAttention(4, estimator=estimator, seed=1)
    h = 3 * tf.random.normal([1, 4, 3])
    drawn = many_draws(layer, h).argmax(-1)
    frequency = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(frequency, probabilities(layer, h)[0], atol=0.03)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_training_selection_is_one_hot_or_relaxed(estimator):
    layer = HardAttention(4, estimator=estimator, temperature=2.0)
    selection = many_draws(layer, tf.random.normal([1, 4, 3]), n=50)
    np.testing.assert_allclose(selection.sum(-1), 1, atol=1e-5)
    is_one_hot = np.isclose(selection.max(-1), 1, atol=1e-5).all()
    assert is_one_hot == (estimator != "gumbel")


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("training", [False, True])
def test_masked_inputs_are_never_selected(estimator, training):
    layer = HardAttention(4, estimator=estimator)
    mask = tf.constant([[True, False, True, False], [False, False, False, False]])
    h = tf.random.normal([2, 4, 3])
    for _ in range(20):
        context, selection = layer(h, mask=mask, training=training)
        assert np.isfinite(context).all()
        np.testing.assert_array_equal(selection[0, 1::2], [0, 0])
        np.testing.assert_array_equal(selection[1], np.zeros(4))
        np.testing.assert_array_equal(context[1], np.zeros(3))


def test_a_seed_makes_draws_reproducible():
    h = tf.random.normal([64, 5, 3])

    def draws(seed):
        layer = HardAttention(4, estimator="reinforce", seed=seed)
        layer.build(h.shape)
        layer.set_weights([np.ones(w.shape) for w in layer.get_weights()])
        return np.stack([layer(h, training=True)[1] for _ in range(2)])

    np.testing.assert_array_equal(draws(3), draws(3))
    assert (draws(3) != draws(4)).any()
    assert (draws(3)[0] != draws(3)[1]).any()


def test_log_prob_is_that_of_the_selection():
    layer = HardAttention(4, estimator="reinforce")
    h = tf.random.normal([6, 5, 3])
    mask = tf.constant(np.random.default_rng(0).random([6, 5]) < 0.7)
    _, selection = layer(h, mask=mask, training=True)
    p = probabilities(layer, h, mask.numpy())
    selection = selection.numpy()
    expected = np.where(selection.sum(-1) > 0, np.log((p * selection).sum(-1) + 1e-30), 0)
    np.testing.assert_allclose(layer.log_prob(selection, h, mask=mask), expected, atol=1e-5)


def test_the_score_function_estimates_the_gradient_of_the_expected_reward():
    """Against the exact gradient of Σ_i p_i R_i, on the key kernel."""
    layer = HardAttention(4, estimator="reinforce", seed=2)
    h, rewards = tf.random.normal([1, 4, 3]), tf.constant([1.0, -2.0, 0.5, 3.0])
    layer(h)
    kernel = next(v for v in layer.trainable_variables if "key" in v.name)
    with tf.GradientTape() as tape:
        p = tf.nn.softmax(layer._logits(h, None, None))[0]
        expected_reward = tf.reduce_sum(p * rewards)
    exact = -tape.gradient(expected_reward, kernel)
    n = 20_000
    tiled = tf.tile(h, [n, 1, 1])
    _, selection = layer(tiled, training=True)
    with tf.GradientTape() as tape:
        log_prob = layer.log_prob(selection, tiled)
        loss = score_function_loss(log_prob, tf.linalg.matvec(selection, rewards), tf.constant(0.6))
    np.testing.assert_allclose(tape.gradient(loss, kernel), exact, atol=0.05)


def test_the_score_function_loss_by_hand():
    log_prob, reward = tf.Variable([-1.0, -2.0]), tf.constant([3.0, 5.0])
    baseline = tf.Variable([1.0, 6.0])
    with tf.GradientTape(persistent=True) as tape:
        loss = score_function_loss(log_prob, reward, baseline)
    # Advantages 2 and -1: ((2 · 1 + 2) + (-1 · 2 + .5)) / 2 = (4 - 1.5) / 2.
    np.testing.assert_allclose(loss, 1.25)
    np.testing.assert_allclose(tape.gradient(loss, log_prob), [-1.0, 0.5])  # -advantage / 2
    np.testing.assert_allclose(tape.gradient(loss, baseline), [-1.0, 0.5])  # (b - R) / 2


def test_the_moving_baseline_averages_what_came_before():
    baseline = MovingBaseline(decay=0.5)
    assert baseline(tf.constant([2.0, 4.0])) == 0
    assert baseline(tf.constant([9.0])) == 3
    # (.5 · .5 · 3 + .5 · 9) / (.5 · .5 + .5) = 7
    np.testing.assert_allclose(baseline(tf.constant([0.0])), 7)
    with pytest.raises(ValueError, match="decay must be in"):
        MovingBaseline(1.0)


@pytest.mark.parametrize("estimator", ["gumbel", "straight_through"])
def test_gradients_pass_the_selection(estimator):
    layer = HardAttention(4, estimator=estimator)
    h, query = tf.random.normal([8, 5, 3]), tf.random.normal([8, 2])
    with tf.GradientTape() as tape:
        context, _ = layer(h, query=query, training=True)
        loss = tf.reduce_sum(context**2)
    for variable, gradient in zip(
        layer.trainable_variables, tape.gradient(loss, layer.trainable_variables), strict=True
    ):
        assert np.abs(gradient).max() > 0, variable.name


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_k_different_inputs_are_drawn_without_replacement(estimator):
    """The first two of Plackett-Luce: p_i, then p_j / (1 - p_i)."""
    layer = HardAttention(4, estimator=estimator, selections=2, seed=1)
    h = 3 * tf.random.stateless_normal([1, 3, 3], seed=[1, 2])
    selection = many_draws(layer, h, n=6000)
    assert selection.shape == (6000, 2, 3)
    first, second = selection.argmax(-1).T
    p = probabilities(layer, h)[0]
    np.testing.assert_allclose(selection.sum(-1), 1, atol=1e-4)
    np.testing.assert_allclose(np.bincount(first, minlength=3) / 6000, p, atol=0.03)
    for i in range(3):
        for j in range(3):
            expected = 0 if i == j else p[i] * p[j] / (1 - p[i])
            if estimator != "gumbel":  # two maxima of a relaxed pair may coincide
                np.testing.assert_allclose(((first == i) & (second == j)).mean(), expected, atol=0.03)


def test_k_selections_outside_of_training_are_the_k_most_probable_in_order():
    layer = HardAttention(4, selections=3)
    h = tf.random.normal([2, 5, 3])
    context, selection = layer(h)
    best = np.argsort(-probabilities(layer, h), axis=-1)[:, :3]
    np.testing.assert_array_equal(selection.numpy().argmax(-1), best)
    rows = np.take_along_axis(h.numpy(), best[..., None], axis=1)
    np.testing.assert_allclose(context, rows.reshape(2, -1), atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_fewer_inputs_than_selections_leave_the_last_ones_empty(estimator, training):
    layer = HardAttention(4, estimator=estimator, selections=3)
    _, short = layer(tf.random.normal([1, 2, 3]), training=training)
    np.testing.assert_allclose(short.numpy().sum(-1), [[1, 1, 0]], atol=1e-5)
    mask = tf.constant([[True, False, True, False]])
    context, selection = layer(tf.random.normal([1, 4, 3]), mask=mask, training=training)
    np.testing.assert_allclose(selection.numpy().sum(-1), [[1, 1, 0]], atol=1e-5)
    np.testing.assert_array_equal(selection[0, :, 1::2], np.zeros([3, 2]))
    np.testing.assert_array_equal(context[0, 6:], np.zeros(3))


def test_log_prob_of_k_selections():
    layer = HardAttention(4, estimator="reinforce", selections=2)
    h = tf.random.normal([6, 5, 3])
    _, selection = layer(h, training=True)
    p = probabilities(layer, h)
    first, second = selection.numpy().argmax(-1).T
    rows = np.arange(6)
    expected = np.log(p[rows, first]) + np.log(p[rows, second] / (1 - p[rows, first]))
    np.testing.assert_allclose(layer.log_prob(selection, h), expected, atol=1e-5)


def test_gradients_pass_relaxed_selections_of_k():
    layer = HardAttention(4, estimator="straight_through", selections=2)
    h = tf.random.normal([8, 5, 3])
    with tf.GradientTape() as tape:
        context, selection = layer(h, training=True)
        loss = tf.reduce_sum(context**2)
    np.testing.assert_allclose(np.sort(selection, -1), [[[0, 0, 0, 0, 1]] * 2] * 8, atol=1e-5)
    for gradient in tape.gradient(loss, layer.trainable_variables):
        assert np.isfinite(gradient).all()
        assert np.abs(gradient).max() > 0


def test_a_low_temperature_makes_relaxed_selections_nearly_one_hot():
    layer = HardAttention(4, seed=0)
    h = tf.random.normal([1, 4, 3])
    soft = many_draws(layer, h, n=200).max(-1).mean()
    layer.temperature.assign(0.05)
    assert many_draws(layer, h, n=200).max(-1).mean() > max(0.95, soft)


@pytest.mark.parametrize("weight", [0.5, -0.5])
def test_entropy_joins_the_losses(weight):
    layer = HardAttention(4, entropy_weight=weight)
    h = tf.random.normal([6, 5, 3])
    layer(h, training=True)
    p = probabilities(layer, h)
    entropy = -(p * np.log(p)).sum(-1).mean()
    np.testing.assert_allclose(layer.losses, [weight * entropy], rtol=1e-5)


def test_cross_entropy_with_labels_by_hand():
    weights = tf.constant([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]])
    target = tf.constant([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])  # the second row has no label
    np.testing.assert_allclose(attention_cross_entropy(weights, target), np.log(4) / 2, rtol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_cross_entropy_is_finite_where_the_weight_is_zero(dtype):
    weights, target = tf.constant([[0.0, 1.0]], dtype), tf.constant([[1.0, 0.0]], dtype)
    np.testing.assert_allclose(attention_cross_entropy(weights, target), 37 * np.log(10), rtol=1e-3)


def attention_task(n=512):
    """Where the first feature is 1, the second is the answer."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 6, 2)).astype(np.float32)
    x[..., 0] = 0
    where = rng.integers(6, size=n)
    x[np.arange(n), where, 0] = 1
    return x, x[np.arange(n), where, 1]


@pytest.mark.parametrize("estimator", ["gumbel", "straight_through"])
def test_fit_learns_where_to_look_while_the_temperature_falls(estimator):
    x, y = attention_task()
    inputs = tf.keras.Input([6, 2])
    layer = HardAttention(8, estimator=estimator)
    model = tf.keras.Model(inputs, layer(inputs)[0][:, 1])
    model.compile(tf.keras.optimizers.Adam(0.03), "mse")
    anneal = TemperatureSchedule(layer, lambda batch: max(0.3, 0.99**batch))
    model.fit(x, y, epochs=25, batch_size=64, verbose=0, callbacks=[anneal])
    np.testing.assert_allclose(layer.temperature, 0.3, atol=0.01)
    assert model.evaluate(x, y, verbose=0) < 0.05


def test_reinforce_learns_where_to_look():
    x, y = map(tf.constant, attention_task())
    layer, baseline = HardAttention(8, estimator="reinforce", seed=0), MovingBaseline()
    layer.build(x.shape)
    optimizer = tf.keras.optimizers.Adam(0.03)
    optimizer.build(layer.trainable_variables)

    @tf.function
    def step():
        context, selection = layer(x, training=True)
        reward = -tf.square(context[:, 1] - y)
        with tf.GradientTape() as tape:
            loss = score_function_loss(layer.log_prob(selection, x), reward, baseline(reward))
        gradients = tape.gradient(loss, layer.trainable_variables)
        optimizer.apply_gradients(zip(gradients, layer.trainable_variables, strict=True))

    for _ in range(200):
        step()
    assert tf.reduce_mean(tf.square(layer(x)[0][:, 1] - y)) < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"estimator": "guess"}, "estimator must be one of reinforce, gumbel, straight_through"),
        ({"temperature": 0}, "temperature must be above 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        HardAttention(4, **arguments)
