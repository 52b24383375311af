"""Arrays and frames inside a page."""

import base64
import gzip

import numpy as np
import pytest

from tfmem.inspection.report.packing import Series, pack
from tfmem.inspection.report.pictures import as_frames, is_image, pictures


def unpacked(packed):
    return np.frombuffer(gzip.decompress(base64.b64decode(packed.data)), packed.dtype).reshape(packed.shape)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8", "bool", "float16"])
def test_what_fits_is_exact(dtype):
    values = np.arange(24).reshape(4, 3, 2).astype(dtype)
    packed = pack({"x": Series(values)}, budget=10_000)["x"]
    assert packed.every == 1
    np.testing.assert_array_equal(unpacked(packed), values)


def test_what_does_not_fit_is_thinned_the_largest_first():
    draw = np.random.default_rng(0)
    series = {
        "peaks": Series(draw.normal(size=(1001, 8)).astype(np.float32), peaks=True),
        "rows": Series(draw.normal(size=(1001, 4)).astype(np.float32)),
        "small": Series(draw.normal(size=1001).astype(np.float32)),
        "whole": Series(draw.normal(size=(1001, 2)).astype(np.float32), whole=True),
    }
    packed = pack(series, budget=40_000)
    assert sum(len(one.data) for one in packed.values()) <= 40_000
    every = {name: one.every for name, one in packed.items()}
    assert every["peaks"] >= every["rows"] > every["small"]
    assert every["whole"] == 1
    joined = every["peaks"]
    peaks = [series["peaks"].values[t : t + joined].max(axis=0) for t in range(0, 1001, joined)]
    np.testing.assert_array_equal(unpacked(packed["peaks"]), peaks)
    np.testing.assert_array_equal(unpacked(packed["rows"]), series["rows"].values[:: every["rows"]])


def test_frames_are_few_small_and_each_kept_once():
    frames = np.zeros([1000, 30, 500, 3], np.uint8)
    frames[500:] = 255
    shown = pictures(frames, budget=100_000)
    assert (shown.every, shown.size, len(shown.images)) == (4, (240, 14), 2)
    assert shown.index == [0] * 125 + [1] * 125


def test_frames_that_do_not_fit_are_dropped():
    frames = np.random.default_rng(0).integers(0, 255, (8, 40, 40, 3), np.uint8)
    size = sum(map(len, pictures(frames, budget=10**6).images))
    assert pictures(frames, budget=size // 2 + 100).every == 2


def test_observations_as_frames():
    planes = np.zeros([2, 5, 6, 4], np.int8)
    planes[:, 1, 2, 3] = 1
    assert is_image(planes)
    assert not is_image(np.zeros([2, 10]))
    frames = as_frames(planes)
    assert frames.shape == (2, 5, 6, 3)
    assert frames[0, 1, 2].any()
    assert frames.any(axis=-1).sum() == 2
    grey = np.full([1, 5, 5, 1], 77, np.uint8)
    np.testing.assert_array_equal(as_frames(grey), 77)
    ones = np.eye(5, dtype=np.uint8)[np.newaxis]
    np.testing.assert_array_equal(as_frames(ones)[0, ..., 0], 255 * np.eye(5))
