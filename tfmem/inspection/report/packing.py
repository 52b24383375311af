"""Arrays as text in a page: compressed, and thinned in time where they do not fit."""

import base64
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Series:
    """Values of every step, before they are packed.

    Attributes:
      values: `[T, ...]`.
      peaks: where steps are joined, keep the greatest of each value rather than the first step's: a narrow
        peak stays on the picture.
      whole: never thin it.
    """

    values: np.ndarray
    peaks: bool = False
    whole: bool = False

    def thinned(self, every: int) -> np.ndarray:
        """One row for `every` steps, `[ceil(T / every), ...]`."""
        if every == 1 or not self.peaks:
            return self.values[::every]
        return np.maximum.reduceat(self.values, np.arange(0, len(self.values), every), axis=0)


@dataclass(frozen=True)
class Packed:
    """Values in a page.

    Attributes:
      dtype: NumPy's name of it, one that JavaScript has too.
      shape: of the rows that are kept.
      every: steps to a row; with 1 every step is there.
      data: the bytes, little-endian, by gzip and base64.
    """

    dtype: str
    shape: tuple[int, ...]
    every: int
    data: str


def pack(series: Mapping[str, Series], *, budget: int) -> dict[str, Packed]:
    """Packs values of every step; what takes the most is halved in time until all fit.

    Args:
      series: by name.
      budget: characters that all may take together. What must stay whole may pass it.
    """
    packed = {name: _packed(one, every=1) for name, one in series.items()}
    while sum(len(one.data) for one in packed.values()) > budget:
        thinner = [name for name in packed if not series[name].whole and packed[name].shape[0] > 1]
        if not thinner:
            break
        largest = max(thinner, key=lambda name: len(packed[name].data))
        packed[largest] = _packed(series[largest], every=2 * packed[largest].every)
    return packed


def _packed(series: Series, *, every: int) -> Packed:
    values = _known_to_javascript(series.thinned(every))
    # A time stamp would make two pages of one episode differ.
    compressed = gzip.compress(values.tobytes(), compresslevel=6, mtime=0)
    return Packed(values.dtype.name, values.shape, every, base64.b64encode(compressed).decode())


def _known_to_javascript(values: np.ndarray) -> np.ndarray:
    kind: Any = values.dtype
    if values.dtype == np.bool_:
        kind = np.uint8
    elif values.dtype == np.float16:
        kind = np.float32
    elif values.dtype.itemsize == 8 and values.dtype.kind in "iu":
        kind = np.float64  # exact to 2^53
    return np.ascontiguousarray(values.astype(np.dtype(kind).newbyteorder("<")))
