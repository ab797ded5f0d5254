"""The KL's weight over the updates, and in the losses of the agents."""

import numpy as np
import pytest

from latentplan.losses.annealing import KLWeightConfig, kl_weight


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 0.5, 0.5, 0.5, 0.5, 0.5]),
        ("linear", [0.0, 0.125, 0.25, 0.5, 0.5, 0.5]),
        ("cyclical", [0.0, 0.25, 0.5, 0.0, 0.25, 0.5]),
    ],
)
def test_schedules(schedule, expected):
    config = KLWeightConfig(weight=0.5, schedule=schedule, updates=100)
    found = [float(kl_weight(config, updates)) for updates in (0, 25, 50, 100, 125, 175)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
