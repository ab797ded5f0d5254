"""Published curves: where they are from, what they say at a number of env_steps."""

import json
from importlib import resources

import numpy as np
import pytest

from latentplan.cli import published


def test_every_curve_names_its_source_protocol_and_rises_in_env_steps():
    data = json.loads((resources.files("latentplan.cli") / "published.json").read_text())
    assert len(data["curves"]) >= 50
    for curve in data["curves"]:
        assert curve["source"] and curve["seeds"] >= 1 and curve["agent"] in data["protocols"]
        steps, mean, low, high = np.array(curve["points"], float).T
        assert (np.diff(steps) > 0).all()
        ranged = ~np.isnan(low)
        assert (low <= mean)[ranged].all() and (mean <= high)[ranged].all()


def test_means_are_read_at_equal_env_steps_and_never_beyond_what_was_published():
    by_title = {curve.title: curve for curve in published.curves("cartpole_swingup", "state")}
    dreamer = by_title["Dreamer V3"]
    assert dreamer.at(100_000) == pytest.approx(527.7)
    assert dreamer.at(150_000) == pytest.approx((527.7 + 787.7) / 2)
    assert dreamer.at(24_999) is None and dreamer.at(500_001) is None
    assert published.curves("my_env", "state") == [] and published.oracle("walker_walk") == 994


def test_protocols_are_compared_in_the_same_words():
    assert published.describe_protocol(2, 100, 2500) == (
        "action repeat 2, 100 updates per 1,000 env_steps, replay ratio 500"
    )
    walker = {curve.title: curve.protocol for curve in published.curves("walker_walk", "pixels")}
    assert walker["PlaNet as run by CURL"].endswith("replay ratio 500") and walker["CURL"] == ""
