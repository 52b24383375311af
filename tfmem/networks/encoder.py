"""Observations to vectors, by the spec of each part of the observation."""

import numpy as np
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tfmem._keras import keras
from tfmem.errors import InvalidInput
from tfmem.networks.region_attention import RegionAttention

# More categories than this in one number are a quantity, not a choice.
MAX_CATEGORIES = 1024
# Bounds beyond this, such as the greatest float, do not say how large numbers are.
WIDEST = 1e5
# Of an image that is taken for one whichever axis its channels are on, at least, in pixels.
LARGE = 36


def bounds(spec: tf.TensorSpec) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of every component, `[prod(shape)]` each, infinite where there are none."""
    size = int(np.prod(spec.shape.as_list()))
    if not isinstance(spec, tensor_spec.BoundedTensorSpec):
        return np.full(size, -np.inf), np.full(size, np.inf)
    low, high = (
        np.broadcast_to(np.asarray(b, np.float64), spec.shape.as_list()).reshape(size)
        for b in (spec.minimum, spec.maximum)
    )
    return low, high


class _Categories(keras.layers.Layer):
    """One-hot code of each integer component: `[B, ...]` to `[B, sum of the categories]`."""

    def __init__(self, low: np.ndarray, high: np.ndarray):
        super().__init__()
        self._low = low.astype(np.int32)
        self._counts = (high - low + 1).astype(np.int32).tolist()

    def call(self, x):
        components = tf.reshape(tf.cast(x, tf.int32), [-1, len(self._counts)]) - self._low
        codes = [tf.one_hot(components[:, i], count) for i, count in enumerate(self._counts)]
        return tf.concat(codes, axis=-1)


class _Numbers(keras.layers.Layer):
    """Numbers as a flat vector; those with bounds scaled to [0, 1] if integers, else to [-1, 1]."""

    def __init__(self, spec: tf.TensorSpec):
        super().__init__()
        low, high = bounds(spec)
        bounded = (low < high) & (np.abs(low) < WIDEST) & (np.abs(high) < WIDEST)
        low, high = np.where(bounded, low, 0.0), np.where(bounded, high, 1.0)
        zero = np.where(bounded & spec.dtype.is_floating, (low + high) / 2, low)
        self._zero = zero.astype(np.float32)
        self._scale = (1.0 / (high - zero)).astype(np.float32)
        self._size = int(np.prod(spec.shape.as_list()))

    def call(self, x):
        return (tf.reshape(tf.cast(x, tf.float32), [-1, self._size]) - self._zero) * self._scale


def is_image(spec: tf.TensorSpec) -> bool:
    """Whether a part of an observation is encoded by convolutions."""
    channels_last = spec.shape.rank == 3 and min(spec.shape[0], spec.shape[1]) >= 5
    return channels_last or _is_grey(spec) or _is_channels_first(spec)


def _is_grey(spec: tf.TensorSpec) -> bool:
    return spec.shape.rank == 2 and spec.dtype == tf.uint8 and min(spec.shape) >= LARGE


def _is_channels_first(spec: tf.TensorSpec) -> bool:
    return spec.shape.rank == 3 and spec.shape[0] < 5 and min(spec.shape[1:]) >= LARGE


def _channels_last(spec: tf.TensorSpec) -> list[keras.layers.Layer]:
    """The layers from an image's numbers in a row to `[height, width, channels]`."""
    if _is_grey(spec):
        return [keras.layers.Reshape([*spec.shape, 1])]
    shaped = keras.layers.Reshape(spec.shape)
    return [shaped, keras.layers.Permute([2, 3, 1])] if _is_channels_first(spec) else [shaped]


def _image_encoder(spec: tf.TensorSpec, regions: RegionAttention | None) -> keras.Sequential:
    """Strided convolutions, then attention over regions or all features.

    Large images take the two layers of Mnih et al. (2013), a fifth of the multiplications of their three of
    2015; small ones 3×3 kernels. Large images are standardised, each to mean 0 and variance 1: of a grey
    background every kernel makes a number that is far from 0 and the same everywhere, and its ReLU dies.
    """
    large = _is_channels_first(spec) or min(spec.shape[0], spec.shape[1]) >= LARGE
    layers = [(16, 8, 4), (32, 4, 2)] if large else [(16, 3, 1), (32, 3, 1)]
    return keras.Sequential(
        [
            _Numbers(spec),
            *_channels_last(spec),
            *([keras.layers.Lambda(tf.image.per_image_standardization)] if large else []),
            *(
                keras.layers.Conv2D(filters, kernel, stride, activation="relu")
                for filters, kernel, stride in layers
            ),
            keras.layers.Flatten() if regions is None else regions,
        ]
    )


def distinct_bounds(spec: tf.TensorSpec) -> set[tuple[float, float]]:
    """The different bounds that the numbers of one part of an observation have."""
    low, high = bounds(spec)
    return set(zip(low.tolist(), high.tolist(), strict=True))


def leaf_encoder(
    path: str, spec: tf.TensorSpec, regions: RegionAttention | None = None
) -> keras.layers.Layer:
    """What encodes one part of an observation, named by `path`: see `ObservationEncoder`."""
    if is_image(spec):
        return _image_encoder(spec, regions)
    low, high = bounds(spec)
    if spec.dtype in (tf.int32, tf.int64) and spec.shape.rank <= 1:
        if not np.max(high - low) < MAX_CATEGORIES:
            raise InvalidInput(
                f"observation {path} has integers without bounds or with more than {MAX_CATEGORIES} values, "
                "too many for a one-hot code; give quantities as a floating-point Box, of about [-1, 1], and "
                "identifiers by what they stand for"
            )
        return _Categories(low, high)
    greatest = np.max(np.abs([low, high]))
    if spec.dtype.is_integer and not greatest < WIDEST:
        raise InvalidInput(
            f"observation {path} has integers of up to {greatest:g}; give it with bounds below "
            f"{WIDEST:g}, or as a floating-point Box, of about [-1, 1]"
        )
    if spec.dtype.is_floating or spec.dtype.is_integer or spec.dtype.is_bool:
        return _Numbers(spec)
    raise InvalidInput(f"observation {path} has dtype {spec.dtype.name}, which cannot be encoded")


class ObservationEncoder(keras.layers.Layer):
    """Encodes a nest of observations: each part by its spec, all joined and projected to `units`.

    | part of the observation | encoding |
    | --- | --- |
    | int32 or int64 of rank 0 or 1 (Discrete, MultiDiscrete) | one-hot code of every component |
    | image: rank 3, at least 5×5, channels last | convolutions, then `regions` where given |
    | image, at least 36×36: rank 3, up to 4 channels first; bytes of rank 2 (grey) | the same |
    | other numbers (Box, MultiBinary) | flat vector, bounded integers scaled to [0, 1], floats to [-1, 1] |

    Images of 36×36 and more are standardised, each by itself. The call takes a nest of `[B, ...]` and returns
    `[B, units]`.

    Args:
      spec: nest of specs of the observation.
      units: width of what comes out.
      regions: attention over the regions of the one image in the observation; None for all its features.

    Raises:
      InvalidInput: when a part of the observation cannot be encoded, which it names, or attention over
        regions has no image or more than one.
    """

    def __init__(self, spec, units: int, regions: RegionAttention | None = None):
        super().__init__(name="encoder")
        self._spec = spec
        self.regions = regions
        paths = [".".join(map(str, path)) or "(whole)" for path in _paths(spec)]
        leaves = tf.nest.flatten(spec)
        if regions is not None:
            _require_one_image([path for path, leaf in zip(paths, leaves, strict=True) if is_image(leaf)])
        self._encoders = [leaf_encoder(path, leaf, regions) for path, leaf in zip(paths, leaves, strict=True)]
        self._project = keras.layers.Dense(units, activation="relu")

    def call(self, observation, training=False):
        del training  # Keras hands it on to attention
        tf.nest.assert_same_structure(observation, self._spec)
        parts = tf.nest.flatten(observation)
        encoded = [encode(part) for encode, part in zip(self._encoders, parts, strict=True)]
        return self._project(tf.concat(encoded, axis=-1))


def _require_one_image(images: list[str]) -> None:
    if len(images) != 1:
        found = f"are {len(images)}: {', '.join(images)}" if images else "is none"
        raise InvalidInput(
            "region_attention needs one image in the observation, 5 pixels high and wide at "
            f"least; there {found}; set it to 'none'"
        )


def _paths(nest) -> list[tuple]:
    """The path of keys to every leaf, in `tf.nest.flatten`'s order."""
    if isinstance(nest, dict):
        return [(key, *rest) for key in sorted(nest) for rest in _paths(nest[key])]
    if isinstance(nest, tuple | list):
        return [(i, *rest) for i, part in enumerate(nest) for rest in _paths(part)]
    return [()]
