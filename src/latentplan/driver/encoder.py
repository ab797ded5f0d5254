"""Image and video files, written atomically."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from latentplan.files import atomic_path

_SMALLEST_SIDE = 256  # pixels; many players display smaller videos poorly


def write_video(path: str | os.PathLike, frames: np.ndarray, fps: float) -> Path:
    """Writes an H.264 video for common players.

    Small frames are enlarged by an integer factor without smoothing, to a shorter side of at least 256 pixels.

    Args:
        path: ends in `.mp4`.
        frames: [T, height, width, 3], uint8.
        fps: frames per second.

    Returns:
        The path.

    Raises:
        ValueError: the frames are not uint8 RGB, or empty.
        DiskFull: the disk is full; no unfinished video is left.
        RuntimeError: ffmpeg failed; the message holds its output.
        ModuleNotFoundError: there is no ffmpeg; it comes with the extra `video`.
    """
    path = Path(path)
    frames = np.asarray(frames)
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(
            f"frames: expected uint8 [T, height, width, 3] with T > 0, got {frames.dtype} {list(frames.shape)}; "
            "a video needs pixels, for state vectors use open_loop_plot"
        )
    if not fps > 0:
        raise ValueError(f"fps: expected a positive number of frames per second, got {fps}; set it above 0")
    height, width = frames.shape[1:3]
    scale = -(-_SMALLEST_SIDE // min(height, width))
    even = "pad=ceil(iw/2)*2:ceil(ih/2)*2"  # the codec needs even sides
    with atomic_path(path) as temporary:
        command = [find_ffmpeg(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24"]
        command += ["-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
        command += ["-vf", f"scale=iw*{scale}:ih*{scale}:flags=neighbor,{even}", "-c:v", "libx264", "-crf", "18"]
        command += ["-pix_fmt", "yuv420p", "-movflags", "+faststart", str(temporary)]
        _run(command, frames.tobytes(), path)
    return path


def try_write_video(path: Path, frames: np.ndarray, fps: float, report: Callable[[str], None]) -> None:
    """Writes a video as `write_video` does, or reports that it is left out, where there is no ffmpeg."""
    try:
        write_video(path, frames, fps)
    except ModuleNotFoundError:
        report(f"{path.name} left out: imageio-ffmpeg is not installed; it comes with latentplan[video]")


def find_ffmpeg() -> str:
    """The path of ffmpeg.

    Raises:
        ModuleNotFoundError: there is none; it comes with the extra `video`.
    """
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def write_png(path: str | os.PathLike, image: np.ndarray) -> Path:
    """Writes an image [height, width, 3], uint8, atomically."""
    path = Path(path)
    with atomic_path(path) as temporary:
        Image.fromarray(np.asarray(image)).save(temporary, format="PNG")
    return path


def _run(command: list[str], data: bytes, path: Path) -> None:
    """Runs ffmpeg and checks its exit status.

    imageio's own writer is not used: it does not notice a video truncated by a full disk, and it runs Python code
    between fork and exec, which can deadlock a process with JAX's threads.
    """
    # Shielded from Ctrl-C.
    result = subprocess.run(command, input=data, capture_output=True, check=False, process_group=0)
    if result.returncode:
        raise RuntimeError(f"video {path}: ffmpeg failed: {result.stderr.decode(errors='replace').strip()[-500:]}")
