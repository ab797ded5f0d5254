"""How much detail MuJoCo draws."""

from typing import Any

FAST_RENDERING = {"numslices": 12, "numstacks": 4, "shadowsize": 256}
"""Upper limits on a MuJoCo model's `vis.quality` for fast frames: facets around and along a round body, shadow map.

In software nearly all of a frame's time goes there: each body is drawn for the picture, for its shadow and for its
reflection. Multisampling, shadows and reflections stay, since a frame without them looks different.
"""


def render_fast(model: Any) -> None:
    """Lowers a MuJoCo model's rendering quality to `FAST_RENDERING`; what is lower already stays."""
    for name, limit in FAST_RENDERING.items():
        setattr(model.vis.quality, name, min(limit, getattr(model.vis.quality, name)))
