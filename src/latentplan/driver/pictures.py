"""Picture files of an evaluation: open-loop predictions beside the truth, and imagined trajectories."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from latentplan.driver.drawings import (
    imagined_trajectory_plot,
    imagined_trajectory_video,
    open_loop_image,
    open_loop_plot,
    open_loop_video,
)
from latentplan.driver.encoder import try_write_video, write_png
from latentplan.types import ImaginedTrajectory, OpenLoop


class Drawing(Protocol):
    """Writes the picture of a measurement."""

    def __call__(
        self, directory: Path, name: str, picture: Any, /, *, context: int, fps: float, report: Callable[[str], None]
    ) -> None:
        """Writes files.

        Args:
            directory: output folder, which must exist.
            name: suffix of the file names.
            picture: of the measurement, a record of NumPy arrays.
            context: number of observed steps.
            fps: frames per second of videos.
            report: called with a message if no picture can be drawn.
        """


def write_open_loop(
    directory: Path, name: str, predicted: OpenLoop, *, context: int, fps: float, report: Callable[[str], None]
) -> None:
    """Writes an open-loop prediction [T, 1], one file set per observation (images: PNG and video; vectors: a plot)."""
    true, model = predicted.true_observation, predicted.predicted_observation
    if model is None:
        _write_plot(directory / f"open_loop_{name}.png", open_loop_plot(predicted, context=context, report=report))
        return
    for entry, stem in entry_files(true, f"open_loop_{name}").items():
        one = predicted._replace(true_observation={entry: true[entry]}, predicted_observation={entry: model[entry]})
        if true[entry].ndim == 5:
            try_write_video(directory / f"{stem}.mp4", open_loop_video(one, context=context), fps, report)
            write_png(directory / f"{stem}.png", open_loop_image(one, context=context))
        else:
            _write_plot(directory / f"{stem}.png", open_loop_plot(one, context=context, report=report))


def write_imagined_trajectory(
    directory: Path, name: str, imagined: ImaginedTrajectory, *, context: int, fps: float, report: Callable[[str], None]
) -> None:
    """Writes imagined trajectories [T, B], one file per observation (images: a video; vectors: a plot)."""
    if imagined.observation is None:
        plot = imagined_trajectory_plot(imagined, context=context, report=report)
        _write_plot(directory / f"dream_{name}.png", plot)
        return
    for entry, stem in entry_files(imagined.observation, f"dream_{name}").items():
        one = imagined._replace(observation={entry: imagined.observation[entry]})
        if imagined.observation[entry].ndim == 5:
            frames = imagined_trajectory_video(one, context=context)
            try_write_video(directory / f"{stem}.mp4", frames, fps, report)
        else:
            _write_plot(directory / f"{stem}.png", imagined_trajectory_plot(one, context=context, report=report))


def entry_files(entries: Collection[str], stem: str) -> dict[str, str]:
    """File stem per entry: the stem itself for a single entry, otherwise with the entry's name appended."""
    return {entry: stem if len(entries) == 1 else f"{stem}_{entry.replace('/', '.')}" for entry in entries}


def _write_plot(path: Path, plot: np.ndarray | None) -> None:
    if plot is not None:
        write_png(path, plot)


DRAWINGS: dict[str, Drawing] = {
    "open_loop": write_open_loop,
    "imagined_trajectory": write_imagined_trajectory,
}
"""Drawings by name; the valid values of `Diagnostic.drawing`."""
