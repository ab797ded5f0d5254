"""MuJoCo's rendering quality."""

from typing import Any

FAST_RENDERING = {"numslices": 12, "numstacks": 4, "shadowsize": 256}
"""Upper limits on a MuJoCo model's `vis.quality` for fast frames: facets around and along a round body, shadow map.

They account for nearly all of a frame's time in software rendering, where each body is drawn for the image, its shadow
and its reflection. Multisampling, shadows and reflections are kept, since frames without them look different.
"""


def render_fast(model: Any) -> None:
    """Lowers a MuJoCo model's rendering quality to `FAST_RENDERING`; settings that are already lower are kept."""
    for name, limit in FAST_RENDERING.items():
        setattr(model.vis.quality, name, min(limit, getattr(model.vis.quality, name)))
