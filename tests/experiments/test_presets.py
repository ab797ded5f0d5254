"""What the presets promise."""

import presets
import pytest


@pytest.mark.parametrize(("preset", "quality"), [("paper", "full"), ("cpu", "fast"), ("debug", "fast")])
def test_only_the_paper_preset_draws_every_detail(preset, quality):
    assert presets.make_preset(preset, "walker_walk", "pixels").environment.render_quality == quality
