"""Resizing, colour conversion and stacking of image observations."""

from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space
from gymnasium.wrappers import FrameStackObservation, TransformObservation
from PIL import Image

IMAGE_CHANNELS = (1, 3)


def is_image(space: Space) -> bool:
    """Whether a space is one of images: uint8 from 0 to 255, [height, width] or [height, width, 1 or 3]."""
    return (
        isinstance(space, Box)
        and space.dtype == np.uint8
        and (len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[-1] in IMAGE_CHANNELS))
        and bool(np.all(space.low == 0) and np.all(space.high == 255))
    )


def has_images(space: Space) -> bool:
    """Whether observations are images, or dictionaries with at least one image."""
    return is_image(space) or (isinstance(space, Dict) and any(map(is_image, space.spaces.values())))


def fit(env: gymnasium.Env, image_size: int, *, grayscale: bool = False) -> gymnasium.Env:
    """Resizes an environment's image observations and, if `grayscale`, converts them to one channel.

    Args:
        env: its observation space is a Dict; entries that are not images are unchanged.
        image_size: height and width, in pixels. The whole image is kept, so its aspect ratio may change.
        grayscale: whether to convert to one channel; grey images have one in any case.

    Returns:
        The environment with images uint8 [image_size, image_size, 1 or 3]; `env` itself if nothing changes.
    """
    spaces = _spaces(env)
    pictures = {name: space for name, space in spaces.items() if is_image(space)}
    shapes = {name: _fitted_shape(space.shape, image_size, grayscale) for name, space in pictures.items()}
    if all(spaces[name].shape == shape for name, shape in shapes.items()):
        return env
    fitted = {name: Box(0, 255, shape, np.uint8) for name, shape in shapes.items()}
    return TransformObservation(env, partial(_fit_all, shapes=shapes), Dict({**spaces, **fitted}))


def stack(env: gymnasium.Env, count: int) -> gymnasium.Env:
    """Stacks the last `count` frames of each image as channels, newest last; a reset repeats the first frame."""
    if count == 1:
        return env
    spaces = dict(_spaces(env))
    images = [name for name, space in spaces.items() if is_image(space)]
    for name in images:
        *size, channels = spaces[name].shape
        spaces[name] = Box(0, 255, (*size, channels * count), np.uint8)
    stacked = FrameStackObservation(env, count, padding_type="reset")
    return TransformObservation(stacked, partial(_as_channels, images=images), Dict(spaces))


def _spaces(env: gymnasium.Env) -> dict[str, Any]:
    assert isinstance(env.observation_space, Dict)
    return dict(env.observation_space.spaces)


def _fitted_shape(shape: tuple[int, ...], image_size: int, grayscale: bool) -> tuple[int, int, int]:
    return image_size, image_size, 1 if grayscale or len(shape) == 2 else shape[-1]


def _fit_all(observation: dict[str, np.ndarray], *, shapes: dict[str, tuple[int, int, int]]) -> dict[str, np.ndarray]:
    fitted = {name: _fit(observation[name], shape=shape) for name, shape in shapes.items()}
    return {name: fitted.get(name, value) for name, value in observation.items()}


def _as_channels(frames: dict[str, np.ndarray], *, images: list[str]) -> dict[str, np.ndarray]:
    """From [count, ...] per entry: concatenates the frames of images as channels, keeps the newest of other entries."""
    return {name: np.concatenate(list(x), -1) if name in images else x[-1] for name, x in frames.items()}


def _fit(image: np.ndarray, *, shape: tuple[int, int, int]) -> np.ndarray:
    """Resizes an image to `shape` as DreamerV3 does: bilinear with anti-aliasing.

    Greyscale is the luma of ITU-R 601 (0.299 R + 0.587 G + 0.114 B), as in DreamerV3's embodied/envs/atari.py.
    """
    if image.shape == shape:
        return image
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 and image.ndim == 3 else image)
    picture = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.array(picture.convert("L") if shape[-1] == 1 else picture).reshape(shape)
