"""Films play back what was written; open-loop pictures show context, truth, model and error."""

import os
import subprocess
import sys
from functools import partialmethod

import imageio_ffmpeg
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from latentplan.diagnostics.open_loop import open_loop_errors
from latentplan.driver.drawings import (
    imagined_trajectory_plot,
    imagined_trajectory_video,
    newest_frame,
    open_loop_image,
    open_loop_plot,
    open_loop_video,
)
from latentplan.driver.encoder import write_png, write_video
from latentplan.driver.pictures import write_imagined_trajectory, write_open_loop
from latentplan.files import DiskFull
from latentplan.types import ImaginedTrajectory, OpenLoop

BLUE, ORANGE = (66, 133, 244), (244, 146, 32)


def make_open_loop(steps: int = 12, shape: tuple = (8, 8, 3)) -> OpenLoop:
    true = np.full((steps, 2, *shape), 0.25, np.float32)
    true[:, 1] = 0.75
    reward = np.zeros((steps, 2), np.float32)
    return OpenLoop({"seen": true}, {"seen": true + 0.2}, reward, reward + 1)


def play(path, height: int, width: int) -> tuple[np.ndarray, str]:
    """Decodes a film: its frames, and what ffmpeg says about it."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    result = subprocess.run(command, capture_output=True, check=True)
    return np.frombuffer(result.stdout, np.uint8).reshape(-1, height, width, 3), result.stderr.decode()


def test_a_film_plays_back_what_was_written(tmp_path):
    colours = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200], [120, 120, 120]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (4, 64, 64, 3)).copy()
    frames[:, :32] = 10
    path = write_video(tmp_path / "film.mp4", frames, fps=10)
    shown, about = play(path, 256, 256)
    assert " 10 fps" in about
    assert shown.shape == (4, 256, 256, 3)
    assert np.abs(shown[:, 192, 128].astype(int) - colours).max() < 16
    assert np.abs(shown[:, 64, 128].astype(int) - 10).max() < 16
    assert os.listdir(tmp_path) == ["film.mp4"]


@pytest.mark.parametrize(
    ("channels", "shown"),
    [
        (3, [0, 1, 2]),
        (9, [6, 7, 8]),
        (1, [0] * 3),
        (2, [0] * 3),
        (4, [0, 1, 2]),
        (5, [2] * 3),
        (7, [3] * 3),
        (8, [4, 5, 6]),
    ],
)
def test_the_newest_frame_is_shown_in_colour_or_grey(channels, shown):
    observation = np.broadcast_to(np.arange(channels, dtype=np.uint8), (2, 8, 8, channels))
    frame = newest_frame(observation)
    assert frame.shape == (2, 8, 8, 3) and frame.dtype == np.uint8
    assert np.all(frame == shown)


def test_predictions_without_colour_are_drawn_in_grey():
    grey, colour = make_open_loop(shape=(8, 8, 1)), make_open_loop(shape=(8, 8, 3))
    np.testing.assert_array_equal(open_loop_video(grey, context=5), open_loop_video(colour, context=5))


def test_odd_sizes_are_padded_for_the_codec(tmp_path):
    path = write_video(tmp_path / "odd.mp4", np.zeros((2, 301, 257, 3), np.uint8), fps=5)
    shown, about = play(path, 302, 258)
    assert "258x302" in about
    assert shown.shape == (2, 302, 258, 3)


def test_a_full_disk_is_noticed_though_ffmpeg_swallows_it(tmp_path, monkeypatch):
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\ncat > /dev/null\necho 'Error writing trailer: No space left on device' >&2\nexit 228\n")
    fake.chmod(0o755)
    monkeypatch.setattr(imageio_ffmpeg, "get_ffmpeg_exe", lambda: str(fake))
    with pytest.raises(DiskFull, match=r"film\.mp4"):
        write_video(tmp_path / "film.mp4", np.zeros((2, 8, 8, 3), np.uint8), fps=5)
    fake.write_text("#!/bin/sh\necho 'Unknown encoder' >&2\nexit 1\n")
    with pytest.raises(RuntimeError, match="ffmpeg failed: Unknown encoder"):
        write_video(tmp_path / "film.mp4", np.zeros((2, 8, 8, 3), np.uint8), fps=5)
    assert os.listdir(tmp_path) == ["ffmpeg"]


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        (np.zeros((3, 8, 8, 3), np.float32), 5, "frames: expected uint8"),
        (np.zeros((3, 17), np.uint8), 5, "state vectors use open_loop_plot"),
        (np.zeros((0, 8, 8, 3), np.uint8), 5, "T > 0"),
        (np.zeros((3, 8, 8, 3), np.uint8), 0, "fps: expected a positive"),
    ],
)
def test_what_is_no_film_is_refused(tmp_path, frames, fps, message):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "film.mp4", frames, fps)
    assert os.listdir(tmp_path) == []


TOP, LEFT = 16, 44  # pixels for the names of columns and rows


def test_the_picture_has_rows_and_marks_the_context(tmp_path):
    image = open_loop_image(make_open_loop(), context=3, every=3, scale=2)
    side = 2 * 8 + 4
    assert image.shape == (3 * side + TOP, 5 * side + LEFT, 3)  # steps 0, 2, 5, 8, 11
    assert image.dtype == np.uint8
    assert (image[:TOP, LEFT:] < 128).any() and (image[TOP:, :LEFT] < 128).any()  # columns and rows are named
    frames = image[TOP:, LEFT:]
    corners = frames[0, ::side]
    np.testing.assert_array_equal(corners, [BLUE, BLUE, ORANGE, ORANGE, ORANGE])
    middles = frames[side // 2 :: side, side // 2]
    np.testing.assert_array_equal(middles[:, 0], [64, 115, 153])  # 0.25, 0.45, (0.2 + 1) / 2
    other = open_loop_image(make_open_loop(), context=3, row=1)
    np.testing.assert_array_equal(other[TOP + side // 2, LEFT + side // 2], [191] * 3)
    path = write_png(tmp_path / "image.png", image)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), image)


def test_the_film_shows_every_step_in_rows():
    film = open_loop_video(make_open_loop(), context=3)
    assert film.shape == (12, 36, 12, 3)
    np.testing.assert_array_equal(film[2, 0, 0], BLUE)
    np.testing.assert_array_equal(film[3, 0, 0], ORANGE)
    np.testing.assert_array_equal(film[0, 6::12, 6, 0], [64, 115, 153])


def test_predictions_outside_the_range_are_clipped():
    wild = make_open_loop()._replace(predicted_observation={"seen": np.full((12, 2, 8, 8, 3), 9.0, np.float32)})
    film = open_loop_video(wild, context=3)
    np.testing.assert_array_equal(film[0, 6::12, 6, 0], [64, 255, 223])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"context": 13}, "context: expected 0 to 12"),
        ({"context": 3, "row": 2}, "row: expected 0 to 1"),
        ({"context": 3, "every": 0}, "every: expected at least 1"),
        ({"context": 3, "scale": 0}, "scale: expected"),
    ],
)
def test_arguments_are_checked(arguments, message):
    with pytest.raises(ValueError, match=message):
        open_loop_image(make_open_loop(), **arguments)


def test_state_vectors_are_plotted_not_filmed():
    vectors = make_open_loop(shape=(6,))
    for draw in (open_loop_image, open_loop_video):
        with pytest.raises(ValueError, match="use open_loop_plot"):
            draw(vectors, context=3)
    with pytest.raises(ValueError, match="use open_loop_image"):
        open_loop_plot(make_open_loop(), context=3)
    pytest.importorskip("matplotlib")
    image = open_loop_plot(vectors, context=3)
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    assert np.unique(image.reshape(-1, 3), axis=0).shape[0] > 10


def test_of_long_vectors_the_numbers_that_vary_most_are_plotted(monkeypatch):
    figure = pytest.importorskip("matplotlib.figure").Figure
    drawn = []
    monkeypatch.setattr(figure, "__init__", partialmethod(_kept, figure.__init__, drawn))
    true, model = np.zeros((2, 12, 1, 500), np.float32)
    moving = range(7, 307, 20)  # 15 numbers, each moves more than the one before it
    for size, number in enumerate(moving, start=1):
        true[6:, 0, number] = size
    model[:, 0, 499] = 100  # constant, but far from the truth
    rewards = np.zeros((12, 1), np.float32)
    open_loop_plot(OpenLoop({"state": true}, {"state": model}, rewards, rewards), context=3)
    imagined_trajectory_plot(ImaginedTrajectory({"state": true}, rewards), context=3)
    titles = [[axes.get_title() for axes in figure.axes] for figure in drawn]
    assert titles[0] == ["reward", *(f"observation {i}" for i in [*moving[4:], 499])]
    assert titles[1] == ["reward", *(f"observation {i}" for i in moving[3:])]
    assert [figure.get_suptitle() for figure in drawn] == ["the 12 of 500 numbers that vary most"] * 2
    np.testing.assert_array_equal(drawn[1].axes[1].lines[0].get_ydata(), true[:, 0, moving[3]])


def _kept(figure, init, drawn, *args, **kwargs):
    drawn.append(figure)
    init(figure, *args, **kwargs)


def test_a_plot_without_matplotlib_is_skipped_with_a_message(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    messages = []
    assert open_loop_plot(make_open_loop(shape=(6,)), context=3, report=messages.append) is None
    assert "latentplan[cli]" in messages[0]


def test_imagined_trajectories_stand_side_by_side_and_mark_the_context():
    frames = np.stack([np.full((12, 8, 8, 3), level, np.float32) for level in (0.0, 0.5, 7.0)], 1)
    film = imagined_trajectory_video(ImaginedTrajectory({"image": frames}, np.zeros((12, 3), np.float32)), context=3)
    assert film.shape == (12, 12, 36, 3)
    np.testing.assert_array_equal(film[2, 0, ::12], [BLUE] * 3)
    np.testing.assert_array_equal(film[3, 0, ::12], [ORANGE] * 3)
    np.testing.assert_array_equal(film[5, 6, 6::12, 0], [0, 128, 255])


def test_imagined_trajectories_are_written_as_a_film_or_a_plot(tmp_path):
    pytest.importorskip("matplotlib")
    for name, shape in (("pixels", (8, 8, 3)), ("state", (5,))):
        numbers = np.random.default_rng(0).random((12, 4, *shape), np.float32)
        imagined = ImaginedTrajectory({"seen": numbers}, numbers.reshape(12, 4, -1)[..., 0])
        write_imagined_trajectory(tmp_path, name, imagined, context=3, fps=10, report=print)
    assert sorted(os.listdir(tmp_path)) == ["dream_pixels.mp4", "dream_state.png"]
    shown, _ = play(tmp_path / "dream_pixels.mp4", 264, 1056)
    assert len(shown) == 12
    assert len(np.unique(np.asarray(Image.open(tmp_path / "dream_state.png")).reshape(-1, 3), axis=0)) > 10


def test_several_observations_have_a_picture_each(tmp_path):
    pytest.importorskip("matplotlib")
    image, vector = make_open_loop(), make_open_loop(shape=(2,))
    both = image._replace(
        true_observation={"camera": image.true_observation["seen"], "joints": vector.true_observation["seen"]},
        predicted_observation={
            "camera": image.predicted_observation["seen"], "joints": vector.predicted_observation["seen"] + 0.2
        },
    )  # fmt: skip
    write_open_loop(tmp_path, "a", both, context=3, fps=10, report=print)
    imagined = ImaginedTrajectory(both.true_observation, both.true_reward)
    write_imagined_trajectory(tmp_path, "a", imagined, context=3, fps=10, report=print)
    assert sorted(os.listdir(tmp_path)) == [
        "dream_a_camera.mp4", "dream_a_joints.png", "open_loop_a_camera.mp4", "open_loop_a_camera.png",
        "open_loop_a_joints.png",
    ]  # fmt: skip
    errors = open_loop_errors(jax.tree.map(jnp.asarray, both), context=3)
    np.testing.assert_allclose(errors["observation_mse"], (0.2**2 + 0.4**2) / 2, rtol=1e-5)
