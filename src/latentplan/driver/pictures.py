"""The pictures of an evaluation as files: open-loop predictions beside the truth, and imagined trajectories."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from latentplan.driver.drawings import (
    imagined_trajectory_plot,
    imagined_trajectory_video,
    open_loop_image,
    open_loop_plot,
    open_loop_video,
)
from latentplan.driver.encoder import write_png, write_video
from latentplan.types import ImaginedTrajectory, OpenLoop


class Drawing(Protocol):
    """Writes the picture of a measurement."""

    def __call__(
        self, directory: Path, name: str, picture: Any, /, *, context: int, fps: float, report: Callable[[str], None]
    ) -> None:
        """Writes files.

        Args:
            directory: where to; it exists.
            name: of the files, after what they show.
            picture: of the measurement, a record of NumPy arrays.
            context: steps that were observed.
            fps: of videos.
            report: called where no picture can be made.
        """


def write_open_loop(
    directory: Path, name: str, predicted: OpenLoop, *, context: int, fps: float, report: Callable[[str], None]
) -> None:
    """Writes an open-loop prediction [T, 1] (pixels: PNG and video; state vectors: a plot); see `Drawing`."""
    picture = directory / f"open_loop_{name}.png"
    if predicted.predicted_observation is not None and predicted.true_observation.ndim == 5:
        write_video(directory / f"open_loop_{name}.mp4", open_loop_video(predicted, context=context), fps)
        write_png(picture, open_loop_image(predicted, context=context))
    elif (plot := open_loop_plot(predicted, context=context, report=report)) is not None:
        write_png(picture, plot)


def write_imagined_trajectory(
    directory: Path, name: str, imagined: ImaginedTrajectory, *, context: int, fps: float, report: Callable[[str], None]
) -> None:
    """Writes what an actor imagines [T, B] (pixels: a video, side by side; state vectors: a plot); see `Drawing`."""
    if imagined.observation is not None and imagined.observation.ndim == 5:
        write_video(directory / f"dream_{name}.mp4", imagined_trajectory_video(imagined, context=context), fps)
    elif (plot := imagined_trajectory_plot(imagined, context=context, report=report)) is not None:
        write_png(directory / f"dream_{name}.png", plot)


DRAWINGS: dict[str, Drawing] = {
    "open_loop": write_open_loop,
    "imagined_trajectory": write_imagined_trajectory,
}
"""What a `Diagnostic.drawing` may be."""
