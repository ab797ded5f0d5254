"""Layout, resizing, colour conversion and stacking of image observations."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space, Tuple
from gymnasium.wrappers import FrameStackObservation, TransformObservation
from PIL import Image

_COLOURS = (1, 3, 4)  # channels by which floats from 0 to 1 are recognised as an image
_SLACK = 1e-3  # by which rounding may carry them out of [0, 1]
WHAT_IS_AN_IMAGE = "uint8 from 0 to 255, [height, width], [height, width, channels] or [channels, height, width]"


def is_image(space: Space) -> bool:
    """Whether a space is one of images: as in `WHAT_IS_AN_IMAGE`, with any number of channels, or `is_unit_image`."""
    return is_unit_image(space) or (
        isinstance(space, Box)
        and space.dtype == np.uint8
        and len(space.shape) in (2, 3)
        and bool(np.all(space.low == 0) and np.all(space.high == 255))
    )


def is_unit_image(space: Space) -> bool:
    """Whether a space is one of images as floats from 0 to 1, with 1, 3 or 4 channels, last or first."""
    if not (isinstance(space, Box) and space.dtype.kind == "f" and len(space.shape) == 3):
        return False
    channels = space.shape[0] if channels_first(space.shape) else space.shape[-1]
    return channels in _COLOURS and bool(np.all(space.low == 0) and np.all(space.high == 1))


def as_uint8(image: np.ndarray) -> np.ndarray:
    """Floats from 0 to 1 as uint8 from 0 to 255, rounded.

    Raises:
        ValueError: there are other numbers.
    """
    low, high = np.min(image), np.max(image)
    if not (low >= -_SLACK and high <= 1 + _SLACK):
        raise ValueError(
            f"env: expected an image of numbers from 0 to 1, as its Box says, got {low:g} to {high:g}. Return the "
            "image divided by 255, or declare uint8 from 0 to 255."
        )
    return np.rint(255 * np.clip(image.astype(np.float32), 0.0, 1.0)).astype(np.uint8)


def has_images(space: Space) -> bool:
    """Whether observations are images, or dictionaries or tuples with an image somewhere inside."""
    if isinstance(space, Dict):
        return any(map(has_images, space.spaces.values()))
    return any(map(has_images, space.spaces)) if isinstance(space, Tuple) else is_image(space)


def channels_first(shape: tuple[int, ...]) -> bool:
    """Whether an image's shape is [channels, height, width]: the first axis is shorter than both others."""
    return len(shape) == 3 and shape[0] < min(shape[1:])


def fit(env: gymnasium.Env, image_size: int, *, grayscale: bool = False) -> gymnasium.Env:
    """Resizes an environment's image observations, channels last, and converts them to one channel if `grayscale`.

    Args:
        env: its observation space is a Dict; entries that are not images are unchanged.
        image_size: height and width, in pixels. The whole image is kept, so its aspect ratio may change.
        grayscale: whether to convert to one channel; grey images have one in any case.

    Returns:
        The environment with images uint8 [image_size, image_size, channels]; `env` itself if nothing changes.

    Raises:
        ValueError: grayscale, for images with neither 1 nor 3 channels.
    """
    spaces = _spaces(env)
    pictures = {name: space for name, space in spaces.items() if is_image(space)}
    shapes = {name: _fitted_shape(name, space.shape, image_size, grayscale) for name, space in pictures.items()}
    if all(spaces[name].shape == shape for name, shape in shapes.items()):
        return env
    fitted = {name: Box(0, 255, shape, np.uint8) for name, shape in shapes.items()}
    return TransformObservation(env, partial(_fit_all, shapes=shapes), Dict({**spaces, **fitted}))


def stack(env: gymnasium.Env, count: int) -> gymnasium.Env:
    """Stacks the last `count` frames of each fitted image as channels, newest last; a reset repeats the first frame."""
    if count == 1:
        return env
    spaces = dict(_spaces(env))
    images = [name for name, space in spaces.items() if len(space.shape) == 3]
    for name in images:
        *size, channels = spaces[name].shape
        spaces[name] = Box(0, 255, (*size, channels * count), np.uint8)
    stacked = FrameStackObservation(env, count, padding_type="reset")
    return TransformObservation(stacked, partial(_as_channels, images=images), Dict(spaces))


def _spaces(env: gymnasium.Env) -> dict[str, Any]:
    assert isinstance(env.observation_space, Dict)
    return dict(env.observation_space.spaces)


def _fitted_shape(name: str, shape: tuple[int, ...], image_size: int, grayscale: bool) -> tuple[int, int, int]:
    channels = 1 if len(shape) == 2 else shape[0] if channels_first(shape) else shape[-1]
    if grayscale and channels not in (1, 3):
        raise ValueError(
            f"grayscale: expected False, since the image {name!r} has {channels} channels, not the 3 of colours, "
            "got True; leave it out"
        )
    return image_size, image_size, 1 if grayscale else channels


def _fit_all(observation: dict[str, np.ndarray], *, shapes: dict[str, tuple[int, int, int]]) -> dict[str, np.ndarray]:
    fitted = {name: _fit(observation[name], shape=shape) for name, shape in shapes.items()}
    return {name: fitted.get(name, value) for name, value in observation.items()}


def _as_channels(frames: dict[str, np.ndarray], *, images: list[str]) -> dict[str, np.ndarray]:
    """From [count, ...] per entry: concatenates the frames of images as channels, keeps the newest of other entries."""
    return {name: np.concatenate(list(x), -1) if name in images else x[-1] for name, x in frames.items()}


def _fit(image: np.ndarray, *, shape: tuple[int, int, int]) -> np.ndarray:
    """Resizes an image to `shape`, channels last, as DreamerV3 does: bilinear with anti-aliasing.

    Greyscale is the luma of ITU-R 601 (0.299 R + 0.587 G + 0.114 B), as in DreamerV3's embodied/envs/atari.py.
    """
    if channels_first(image.shape):
        image = np.ascontiguousarray(np.moveaxis(image, 0, -1))
    image = image[..., None] if image.ndim == 2 else image
    if image.shape == shape:
        return image
    if image.shape[-1] != 3:  # Pillow has no such images: channel by channel
        return np.stack([_resized(image[..., i], shape) for i in range(shape[-1])], -1)
    return _resized(image, shape).reshape(shape)


def _resized(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    picture = Image.fromarray(pixels).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.array(picture.convert("L") if shape[-1] == 1 else picture)
