"""Drawings of predictions, as arrays: open-loop predictions beside the truth, and imagined trajectories.

Each drawing shows one observation; records with several are drawn entry by entry (see `pictures`).
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from latentplan.types import ImaginedTrajectory, OpenLoop

MOST_NUMBERS = 12
"""Maximum number of numbers of a state vector that a plot shows; one-hot vectors may have hundreds."""

_BORDER = 2  # pixels around a frame
_CONTEXT = (66, 133, 244)  # blue: the model observed this frame
_IMAGINED = (244, 146, 32)  # orange: the model imagined this frame


def newest_frame(observation: np.ndarray) -> np.ndarray:
    """Extracts the newest frame of possibly stacked observations, for display.

    Args:
        observation: [..., height, width, channels], of any dtype; 3 n channels are n colour frames, 4 n are n frames
            of colours and opacity, and others are averaged into one grey frame. (Three or four stacked grey frames thus
            appear as one colour frame, in which moving parts are coloured.)

    Returns:
        [..., height, width, 3], of the same dtype.
    """
    channels = observation.shape[-1]
    if channels % 3 == 0:
        return observation[..., -3:]
    if channels % 4 == 0:
        return observation[..., -4:-1]
    return np.repeat(observation.mean(-1, keepdims=True, dtype=np.float32).astype(observation.dtype), 3, -1)


def open_loop_image(open_loop: OpenLoop, *, context: int, row: int = 0, every: int = 5, scale: int = 2) -> np.ndarray:
    """Draws an open-loop prediction as one image: true, model and error from top to bottom, time to the right.

    Observed steps have blue borders, imagined ones orange borders. The error is (model - true + 1) / 2: mid-grey where
    they agree. Columns are the first step, the last observed one, and every `every`-th step after it, labelled with
    their decision index.

    Args:
        open_loop: pixels in [0, 1].
        context: number of observed steps.
        row: index into the batch.
        every: steps between two columns.
        scale: integer enlargement factor.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ValueError: the observations are not pixels, or an argument does not fit.
    """
    tiles = _tiles(open_loop, context, row, scale)
    if every < 1:
        raise ValueError(f"every: expected at least 1 step between columns, got {every}; set it to 1 or more")
    times = sorted({0, *range(max(context - 1, 0), tiles.shape[1], every)})
    picture = np.concatenate([np.concatenate(list(kind[times]), axis=1) for kind in tiles], axis=0)
    return _labelled(picture, [f"{t} {'seen' if t < context else 'imagined'}" for t in times])


def open_loop_video(open_loop: OpenLoop, *, context: int, row: int = 0) -> np.ndarray:
    """Draws an open-loop prediction as a video: true, model and error from top to bottom.

    Colours and error are as in `open_loop_image`.

    Args:
        open_loop: pixels in [0, 1].
        context: number of observed steps.
        row: index into the batch.

    Returns:
        uint8 [T, height, width, 3], for `write_video`.

    Raises:
        ValueError: the observations are not pixels, or an argument does not fit.
    """
    return np.concatenate(list(_tiles(open_loop, context, row, 1)), axis=1)


def open_loop_plot(
    open_loop: OpenLoop, *, context: int, row: int = 0, report: Callable[[str], None] = print
) -> np.ndarray | None:
    """Draws an open-loop prediction of state vectors: true and model over time, one panel per number, and reward.

    Args:
        open_loop: state vectors, of which at most `MOST_NUMBERS` numbers are drawn, those that vary most; for a model
            without a decoder, only the reward.
        context: number of observed steps; a dotted line marks their end.
        row: index into the batch.
        report: called with a message if matplotlib is missing.

    Returns:
        uint8 [height, width, 3], for `write_png`; None if matplotlib is missing.

    Raises:
        ValueError: the observations are not vectors, or an argument does not fit.
    """
    if open_loop.predicted_observation is not None:
        _check(open_loop, context, row, ndim=3, instead="open_loop_image")
    true, model = np.asarray(open_loop.true_reward)[:, row], np.asarray(open_loop.predicted_reward)[:, row]
    pairs = [(true, model)]
    if open_loop.predicted_observation is not None:
        true = np.asarray(_only(open_loop.true_observation))[:, row]
        model = np.asarray(_only(open_loop.predicted_observation))[:, row]
        pairs += list(zip(true.T, model.T, strict=True))
    lines = [{"true": true, "model": model} for true, model in pairs]
    return _plot(lines, {"true": "black", "model": "tab:orange"}, context, report)


def imagined_trajectory_video(imagined: ImaginedTrajectory, *, context: int) -> np.ndarray:
    """Draws imagined trajectories side by side as a video, with frames coloured as in `open_loop_image`.

    Args:
        imagined: pixels in [0, 1].
        context: number of observed steps.

    Returns:
        uint8 [T, height, width, 3], for `write_video`.
    """
    frames = np.clip(newest_frame(np.asarray(_only(imagined.observation), np.float32)), 0, 1).swapaxes(0, 1)
    return np.concatenate(list(_bordered(frames, context, 1)), axis=2)


def imagined_trajectory_plot(
    imagined: ImaginedTrajectory, *, context: int, report: Callable[[str], None] = print
) -> np.ndarray | None:
    """Draws imagined trajectories of state vectors: a panel for the reward and per number, a line per trajectory.

    Args:
        imagined: state vectors, of which at most `MOST_NUMBERS` numbers are drawn, those that vary most; for a model
            without a decoder, only the reward.
        context: number of observed steps; a dotted line marks their end.
        report: called with a message if matplotlib is missing.

    Returns:
        uint8 [height, width, 3], for `write_png`; None if matplotlib is missing.
    """
    panels = [np.asarray(imagined.reward).T]
    if imagined.observation is not None:
        panels += list(np.asarray(_only(imagined.observation)).T)
    lines = [{f"trajectory {i + 1}": values for i, values in enumerate(panel)} for panel in panels]
    return _plot(lines, {}, context, report)


def _plot(
    panels: list[dict[str, np.ndarray]], colours: dict[str, str], context: int, report: Callable[[str], None]
) -> np.ndarray | None:
    """A panel of named lines for the reward, the first of `panels`, and per number of the observation that is shown."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        report("plot of predictions skipped: matplotlib is not installed; it comes with latentplan[cli]")
        return None
    numbers = len(panels) - 1
    shown = {"reward": panels[0]} | {f"observation {i}": panels[i + 1] for i in _most_varying(panels[1:])}
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.2 * rows), layout="constrained")
    for index, (title, lines) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(rows, columns, index)
        for name, values in lines.items():
            axes.plot(values, color=colours.get(name), label=name)
        axes.axvline(context - 0.5, color="tab:blue", linestyle=":")
        axes.set_title(title, fontsize="small")
    if len(shown) <= numbers:
        figure.suptitle(f"the {len(shown) - 1} of {numbers} numbers that vary most", fontsize="medium")
    figure.axes[0].legend(fontsize="small")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _most_varying(panels: list[dict[str, np.ndarray]]) -> list[int]:
    """The indices, in order, of the at most `MOST_NUMBERS` panels whose lines together have the most variance."""
    variances = [np.var(np.stack(list(lines.values()))) for lines in panels]
    return sorted(np.argsort(-np.array(variances), kind="stable")[:MOST_NUMBERS].tolist())


def _only(observation: dict[str, Any] | None) -> Any:
    """The single entry of an observation; several are drawn one by one."""
    assert observation is not None
    (entry,) = observation.values()
    return entry


def _check(open_loop: OpenLoop, context: int, row: int, *, ndim: int, instead: str) -> None:
    shape = np.shape(_only(open_loop.true_observation))
    if len(shape) != ndim or (ndim == 5 and not shape[-1]):
        expected = "[T, B, height, width, channels]" if ndim == 5 else "[T, B, n]"
        raise ValueError(f"open_loop: expected observations {expected}, got {list(shape)}; use {instead} for these")
    if not 0 <= context <= shape[0]:
        raise ValueError(f"context: expected 0 to {shape[0]} steps, got {context}; it counts the observed steps")
    if not 0 <= row < shape[1]:
        raise ValueError(f"row: expected 0 to {shape[1] - 1}, got {row}; it picks an element of the batch")


def _tiles(open_loop: OpenLoop, context: int, row: int, scale: int) -> np.ndarray:
    """True, model and error frames with their coloured borders, uint8 [3, T, height, width, 3]."""
    _check(open_loop, context, row, ndim=5, instead="open_loop_plot")
    if scale < 1:
        raise ValueError(f"scale: expected an integer factor of at least 1, got {scale}; set it to 1 or more")
    true = newest_frame(np.asarray(_only(open_loop.true_observation)[:, row], np.float32))
    model = np.clip(newest_frame(np.asarray(_only(open_loop.predicted_observation)[:, row], np.float32)), 0, 1)
    return _bordered(np.stack([true, model, (model - true + 1) / 2]), context, scale)


def _bordered(frames: np.ndarray, context: int, scale: int) -> np.ndarray:
    """Frames [K, T, height, width, 3] in [0, 1] as uint8, with borders that mark observed and imagined steps."""
    pixels = _enlarge(np.clip(np.rint(255 * frames), 0, 255).astype(np.uint8), scale)
    around = ((0, 0), (0, 0), (_BORDER, _BORDER), (_BORDER, _BORDER), (0, 0))
    tiles = np.pad(pixels, around)
    inside = np.pad(np.ones(pixels.shape[2:4], bool), _BORDER)
    colours = np.where(np.arange(tiles.shape[1])[:, None] < context, _CONTEXT, _IMAGINED).astype(np.uint8)
    return np.where(inside[:, :, None], tiles, colours[:, None, None])


def _labelled(picture: np.ndarray, columns: list[str]) -> np.ndarray:
    """Adds row labels at the left and column labels at the top."""
    left, top, rows = 44, 16, ("true", "model", "error")
    canvas = Image.new("RGB", (picture.shape[1] + left, picture.shape[0] + top), "white")
    canvas.paste(Image.fromarray(picture), (left, top))
    draw = ImageDraw.Draw(canvas)
    for i, name in enumerate(rows):
        draw.text((4, top + (i + 0.5) * picture.shape[0] / len(rows)), name, fill="black", anchor="lm")
    for i, name in enumerate(columns):
        draw.text((left + (i + 0.5) * picture.shape[1] / len(columns), top / 2), name, fill="black", anchor="mm")
    return np.asarray(canvas)


def _enlarge(frames: np.ndarray, scale: int) -> np.ndarray:
    """Repeats pixels; the last three axes are height, width and channels."""
    return frames.repeat(scale, axis=-3).repeat(scale, axis=-2)
