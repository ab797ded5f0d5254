"""Frames of one size and colour, from whatever pictures an environment gives."""

from functools import partial

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Space
from gymnasium.wrappers import FrameStackObservation, TransformObservation
from PIL import Image

IMAGE_CHANNELS = (1, 3)


def is_image(space: Space) -> bool:
    """Whether observations are pictures: uint8 from 0 to 255, [height, width] or [height, width, 1 or 3]."""
    return (
        isinstance(space, Box)
        and space.dtype == np.uint8
        and (len(space.shape) == 2 or (len(space.shape) == 3 and space.shape[-1] in IMAGE_CHANNELS))
        and bool(np.all(space.low == 0) and np.all(space.high == 255))
    )


def fit(env: gymnasium.Env, image_size: int, *, grayscale: bool = False) -> gymnasium.Env:
    """Gives the pictures that an environment observes one size and, where `grayscale`, one channel.

    Args:
        env: its observation space `is_image`.
        image_size: height and width, in pixels. The whole picture is kept, so its proportions may change.
        grayscale: whether colours become one channel; pictures without colour have one in any case.

    Returns:
        The environment with observations uint8 [image_size, image_size, 1 or 3]; itself where nothing has to be done.
    """
    shape = env.observation_space.shape
    assert shape is not None
    channels = 1 if grayscale or len(shape) == 2 else shape[-1]
    fitted = (image_size, image_size, channels)
    if shape == fitted:
        return env
    return TransformObservation(env, partial(_fit, shape=fitted), Box(0, 255, fitted, np.uint8))


def stack(env: gymnasium.Env, count: int) -> gymnasium.Env:
    """The newest `count` frames as channels, the newest last; at a reset the first one `count` times."""
    if count == 1:
        return env
    assert env.observation_space.shape is not None
    *size, channels = env.observation_space.shape
    stacked = FrameStackObservation(env, count, padding_type="reset")
    space = Box(0, 255, (*size, channels * count), np.uint8)
    return TransformObservation(stacked, lambda frames: np.concatenate(list(frames), -1), space)


def _fit(image: np.ndarray, *, shape: tuple[int, int, int]) -> np.ndarray:
    """A picture of `shape`, resized first as DreamerV3 does: bilinear, over all pixels that one comes from.

    One channel is the luma of ITU-R 601 (0.299 R + 0.587 G + 0.114 B), as in DreamerV3's embodied/envs/atari.py.
    """
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 and image.ndim == 3 else image)
    picture = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.array(picture.convert("L") if shape[-1] == 1 else picture).reshape(shape)
