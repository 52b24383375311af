"""Frames as small PNG files inside the page."""

import base64
import io
from dataclasses import dataclass

import numpy as np

# On their longer side, in pixels; the page draws them no larger.
LARGEST = 240
MOST = 300
# Of a frame: what environments draw has few, and what has more still looks like itself.
COLOURS = 64
# The hues of an observation's planes, where it has neither one nor three of them.
PLANES = np.array(
    [
        *([59, 130, 246], [249, 115, 22], [34, 197, 94], [236, 72, 153], [234, 179, 8]),
        *([20, 184, 166], [168, 85, 247], [239, 68, 68], [132, 204, 22], [148, 163, 184]),
    ]
)


@dataclass(frozen=True)
class Pictures:
    """Frames of an episode.

    Attributes:
      every: steps to a frame.
      images: base64 of PNG files, each different frame once.
      index: which image each kept frame is.
      size: `(width, height)`.
    """

    every: int
    images: list[str]
    index: list[int]
    size: tuple[int, int]


def pictures(frames: np.ndarray, *, budget: int) -> Pictures:
    """Frames as PNG files of at most 240 pixels, at most 300 of them.

    Args:
      frames: `[T, height, width, 3]` uint8.
      budget: characters that they may take; every second, fourth … is kept until they fit.
    """
    every = 1
    while -(-len(frames) // every) > MOST:
        every *= 2
    kept = [_png(frame) for frame in frames[::every]]
    while len(kept) > 1 and sum(map(len, set(kept))) > budget:
        every *= 2
        kept = kept[::2]
    images = list(dict.fromkeys(kept))
    places = {image: i for i, image in enumerate(images)}
    return Pictures(every, images, [places[image] for image in kept], _shrunk_size(frames.shape[2:0:-1]))


def is_image(values: np.ndarray) -> bool:
    """Whether a part of the observation, `[T, ...]`, is best shown as an image: at least 4 by 4 numbers."""
    return values.ndim in (3, 4) and min(values.shape[1:3]) >= 4


def as_frames(values: np.ndarray) -> np.ndarray:
    """A part of the observation as frames.

    Args:
      values: `[T, height, width]` or `[T, height, width, planes]`: one plane is grey, three are red, green
        and blue, and of any other number each has a hue of its own. Bytes are from 0 to 255, but where none
        is above 1.

    Returns:
      `[T, height, width, 3]` uint8.
    """
    planes = (values if values.ndim == 4 else values[..., np.newaxis]).astype(np.float32)
    if values.dtype == np.uint8 and planes.max() > 1:
        low, high = 0.0, 255.0
    else:
        low, high = min(float(planes.min()), 0.0), max(float(planes.max()), 1e-9)
    planes = (planes - low) / (high - low)
    count = planes.shape[-1]
    if count not in (1, 3):
        hues = PLANES[np.arange(count) % len(PLANES)]
        top = planes.argmax(axis=-1)
        planes = np.take_along_axis(planes, top[..., np.newaxis], axis=-1) * hues[top] / 255
    return np.broadcast_to((255 * planes).round().astype(np.uint8), (*planes.shape[:3], 3))


def _shrunk_size(size: tuple[int, ...]) -> tuple[int, int]:
    scale = min(1.0, LARGEST / max(size))
    width, height = (max(1, round(scale * side)) for side in size)
    return width, height


def _png(frame: np.ndarray) -> str:
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(frame))
    size = _shrunk_size(image.size)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BOX)
    file = io.BytesIO()
    image.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
