"""The pictures of an evaluation as files: open-loop predictions beside the truth, and imagined trajectories."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from latentplan.driver.drawings import dream_plot, dream_video, open_loop_image, open_loop_plot, open_loop_video
from latentplan.driver.encoder import write_png, write_video
from latentplan.types import ImaginedTrajectory, OpenLoop


def write_open_loop(
    directory: Path, name: str, predicted: OpenLoop, *, context: int, fps: float, report: Callable[[str], None]
) -> dict[str, float]:
    """Writes an open-loop prediction as pictures (pixels: PNG and video; state vectors: a plot).

    Args:
        directory: where to; made if needed.
        name: of the files, after "open_loop_".
        predicted: NumPy arrays [1, T, ...].
        context: steps that were observed.
        fps: of the video.
        report: called where no picture can be made.

    Returns:
        The prediction's errors over the steps that were imagined.
    """
    directory.mkdir(exist_ok=True)
    picture = directory / f"open_loop_{name}.png"
    if predicted.predicted_observation is not None and predicted.true_observation.ndim == 5:
        write_video(directory / f"open_loop_{name}.mp4", open_loop_video(predicted, context=context), fps)
        write_png(picture, open_loop_image(predicted, context=context))
    elif (plot := open_loop_plot(predicted, context=context, report=report)) is not None:
        write_png(picture, plot)
    reward = np.abs(predicted.predicted_reward - predicted.true_reward)[:, context:]
    errors = {"open_loop/reward_mae": float(reward.mean())}
    if predicted.predicted_observation is not None:
        squared = (predicted.predicted_observation - predicted.true_observation)[:, context:] ** 2
        errors["open_loop/observation_mse"] = float(squared.mean())
    return errors


def write_dreams(
    directory: Path, name: str, dreamt: ImaginedTrajectory, *, context: int, fps: float, report: Callable[[str], None]
) -> None:
    """Writes trajectories that an actor imagines (pixels: a video, side by side; state vectors: a plot).

    Args:
        directory: where to; made if needed.
        name: of the file, after "dream_".
        dreamt: NumPy arrays [B, T, ...].
        context: steps that were observed.
        fps: of the video.
        report: called where no picture can be made.
    """
    directory.mkdir(exist_ok=True)
    if dreamt.observation is not None and dreamt.observation.ndim == 5:
        write_video(directory / f"dream_{name}.mp4", dream_video(dreamt, context=context), fps)
    elif (plot := dream_plot(dreamt, context=context, report=report)) is not None:
        write_png(directory / f"dream_{name}.png", plot)
