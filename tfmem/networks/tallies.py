"""How often what is asked now has been seen: sums of embeddings that components of an observation share."""

from collections import defaultdict

import tensorflow as tf

from tfmem._keras import keras
from tfmem.networks.encoder import MAX_CATEGORIES, bounds
from tfmem.networks.stateful import Stateful
from tfmem.ops import unroll

Group = tuple[int, int, int]  # least value, categories, components


class Tallies(Stateful):
    """Sums of what each component has shown, and their products with what every component shows now.

    Where one part of an observation asks about what another showed earlier, as a card is dealt and it is
    asked how often another one has been, both speak of the same things. So components with the same
    categories share an embedding E of D numbers. With x_ti the category that component i shows at t,

        S_ti = S_{t-1,i} + E[x_ti]        y_tij = S_ti ⊙ E[x_tj]        for all components i and j,

    and S is zero at an episode's start. The sum of y_tij's numbers estimates how often component i has shown
    what j shows now, coarsely even before anything is learned: it is the count sketch of Charikar, Chen and
    Farach-Colton (2002) with random normal numbers for random signs, and a linear attention [Katharopoulos et
    al., 2020] whose values are all 1. Where embeddings are orthonormal it is the count itself.

    Args:
      groups: of components with the same categories, as `alike` gives them; at least one.
      width: D.

    Call arguments:
      x: `[B, T, F]`, or `[B, F]` for `step`: what `AlikeCodes` makes of observations.
      initial_state: `tallies [B, C, D]`, C the components of all groups.
      reset_mask: `[B, T]` bool, where episodes start.

    Returns:
      `(y [B, T, D Σ c²], final state)` with c the components of each group.
    """

    def __init__(self, groups: tuple[Group, ...], width: int):
        super().__init__(name="tallies")
        self._groups = groups
        self._width = width
        self.state_shapes = {"tallies": (sum(components for _, _, components in groups), width)}

    def build(self, input_shape):
        self._embeddings = [
            self.add_weight(
                name=f"embedding_{i}" if i else "embedding",
                shape=[categories, self._width],
                # Products with itself sum to about 1, and with another to about 0.
                initializer=keras.initializers.RandomNormal(stddev=self._width**-0.5),
            )
            for i, (_, categories, _) in enumerate(self._groups)
        ]
        super().build(input_shape)

    def call(self, x, initial_state, reset_mask, training=False):
        del training
        embedded = self._embed(x)

        def step(inputs, sums, _):
            seen, first = inputs
            sums = tf.where(first[:, tf.newaxis, tf.newaxis], 0.0, sums) + seen
            return sums, sums

        sums, final = unroll(step, (embedded, reset_mask), initial_state["tallies"])
        return self._compare(sums, embedded), {"tallies": final}

    def step(self, x, state):
        """One step without a reset: `x [B, F]` and a state to `(y [B, D Σ c²], next state)`."""
        embedded = self._embed(x)
        sums = state["tallies"] + embedded
        return self._compare(sums, embedded), {"tallies": sums}

    def _embed(self, x: tf.Tensor) -> tf.Tensor:
        """Codes `[..., F]` to embeddings `[..., C, D]`."""
        sizes = [categories * components for _, categories, components in self._groups]
        embedded = []
        for code, embedding, (_, categories, components) in zip(
            tf.split(x, sizes, axis=-1), self._embeddings, self._groups, strict=True
        ):
            by_component = tf.concat([tf.shape(x)[:-1], [components, categories]], axis=0)
            code = tf.ensure_shape(tf.reshape(code, by_component), [*x.shape[:-1], components, categories])
            embedded.append(tf.linalg.matmul(code, embedding))
        return tf.concat(embedded, axis=-2)

    def _compare(self, sums: tf.Tensor, embedded: tf.Tensor) -> tf.Tensor:
        counts = [components for _, _, components in self._groups]
        products = []
        for total, now, components in zip(
            tf.split(sums, counts, axis=-2), tf.split(embedded, counts, axis=-2), counts, strict=True
        ):
            product = total[..., :, tf.newaxis, :] * now[..., tf.newaxis, :, :]
            size = components * components * self._width
            flat = tf.reshape(product, tf.concat([tf.shape(product)[:-3], [size]], axis=0))
            products.append(tf.ensure_shape(flat, [*product.shape[:-3], size]))
        return tf.concat(products, axis=-1)


class AlikeCodes(keras.layers.Layer):
    """One-hot codes of the components that `Tallies` sums, group by group: nest of `[B, ...]` to `[B, F]`.

    Args:
      spec: nest of specs of the observation.
    """

    def __init__(self, spec):
        super().__init__(name="alike_codes")
        self._members = list(_alike(spec).items())

    def call(self, observation):
        parts = tf.nest.flatten(observation)

        def component(part, i):
            return tf.cast(parts[part] if parts[part].shape.rank == 1 else parts[part][:, i], tf.int32)

        codes = [
            tf.one_hot(component(part, i) - low, categories)
            for (low, categories), members in self._members
            for part, i in members
        ]
        return tf.concat(codes, axis=-1)


def alike(spec) -> tuple[Group, ...]:
    """The groups of two or more integer components of an observation that have the same categories."""
    return tuple((low, categories, len(members)) for (low, categories), members in _alike(spec).items())


def _alike(spec) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """By (least value, categories), the (part, component) of every integer component that shares them."""
    found = defaultdict(list)
    for part, leaf in enumerate(tf.nest.flatten(spec)):
        if leaf.dtype not in (tf.int32, tf.int64) or leaf.shape.rank > 1:
            continue
        for component, (low, high) in enumerate(zip(*bounds(leaf), strict=True)):
            if high - low < MAX_CATEGORIES:
                found[int(low), int(high - low) + 1].append((part, component))
    return {categories: members for categories, members in found.items() if len(members) > 1}
