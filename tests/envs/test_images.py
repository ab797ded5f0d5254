"""Pictures of one size and colour, against a resampling written out in NumPy and hand numbers."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

from latentplan.envs.images import fit, is_image, stack


class Shows(gymnasium.Env):
    """Observes the pictures it was given, one after the other."""

    action_space = Box(-1.0, 1.0, (1,), np.float32)

    def __init__(self, *pictures):
        self.pictures = pictures
        self.observation_space = Dict({"image": Box(0, 255, pictures[0].shape, np.uint8), "other": Box(0, 1, (2,))})

    def reset(self, *, seed=None, options=None):
        self.rest = iter(self.pictures)
        return self._observation(), {}

    def step(self, action):
        return self._observation(), 0.0, False, False, {}

    def _observation(self):
        return {"image": next(self.rest), "other": np.ones(2, np.float32)}


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def triangles(size, fitted):
    """[fitted, size]: weights of a tent over all source pixels within one target pixel's width of its centre."""
    scale = max(size / fitted, 1.0)
    centres = (np.arange(fitted) + 0.5) * size / fitted
    weights = np.clip(1 - np.abs((np.arange(size) + 0.5) - centres[:, None]) / scale, 0, None)
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (Box(0, 255, (210, 160, 3), np.uint8), True),
        (Box(0, 255, (210, 160, 1), np.uint8), True),
        (Box(0, 255, (210, 160), np.uint8), True),
        (Box(0, 255, (10, 10, 4), np.uint8), True),
        (Box(0, 255, (3, 64, 64), np.uint8), True),
        (Box(0, 255, (128,), np.uint8), False),
        (Box(0, 1, (8, 8, 3), np.uint8), False),
        (Box(0, 255, (8, 8, 3), np.float32), False),
        (Box(0, 1, (10, 10, 3), bool), False),
        (Dict({"image": Box(0, 255, (8, 8, 3), np.uint8)}), False),
    ],
)
def test_what_is_an_image(space, expected):
    assert is_image(space) is expected


@pytest.mark.parametrize(("height", "width", "size"), [(210, 160, 64), (210, 160, 32), (10, 10, 32)])
def test_a_picture_is_resized_as_a_whole_by_tents(height, width, size):
    picture = noise(height, width, 3)
    env = fit(Shows(picture), size)
    seen = env.reset()[0]
    frame = seen["image"]
    assert env.observation_space["image"] == Box(0, 255, (size, size, 3), np.uint8)
    assert env.observation_space.contains(seen)
    expected = np.einsum("ih,jw,hwc->ijc", triangles(height, size), triangles(width, size), picture)
    assert np.abs(frame - expected).max() < 1.5  # rounded twice


def test_grey_is_the_luma_of_the_colours():
    colours = np.zeros((4, 4, 3), np.uint8)
    colours[0, :, 0] = colours[1, :, 1] = colours[2, :, 2] = 255
    colours[3] = 100
    env = fit(Shows(colours), 4, grayscale=True)
    frame = env.reset()[0]["image"]
    assert env.observation_space["image"].shape == frame.shape == (4, 4, 1)
    assert frame[:, 0, 0].tolist() == [76, 150, 29, 100]  # 255 x 0.299, 0.587, 0.114


@pytest.mark.parametrize(("shape", "grayscale"), [((20, 10), False), ((20, 10, 1), False), ((20, 10, 1), True)])
def test_pictures_without_colour_have_one_channel(shape, grayscale):
    picture = np.full(shape, 7, np.uint8)
    picture[10:] = 90
    frame = fit(Shows(picture), 16, grayscale=grayscale).reset()[0]["image"]
    assert frame.shape == (16, 16, 1) and frame.dtype == np.uint8
    assert frame[[0, -1], [0, -1], 0].tolist() == [7, 90]


def test_a_picture_that_fits_is_left_alone():
    env = Shows(noise(8, 8, 3))
    assert fit(env, 8) is env
    env = Shows(noise(8, 8, 1))
    assert fit(env, 8, grayscale=True) is env
    assert stack(env, 1) is env


def test_stacked_grey_frames_are_the_newest_ones():
    pictures = [np.full((4, 4, 3), 10 * i, np.uint8) for i in range(4)]
    env = stack(fit(Shows(*pictures), 4, grayscale=True), 3)
    assert env.observation_space["image"].shape == (4, 4, 3)
    seen = [env.reset()[0], *(env.step(np.zeros(1))[0] for _ in range(3))]
    assert [frame["image"][0, 0].tolist() for frame in seen] == [[0, 0, 0], [0, 0, 10], [0, 10, 20], [10, 20, 30]]
    assert all(frame["other"].tolist() == [1, 1] for frame in seen)
