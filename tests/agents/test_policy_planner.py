"""The policy as a planner, for every agent that has one: it acts by its mean, and noise is what explores."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from agents.test_conformance import tdmpc, tdmpc2
from latentplan.agents import AGENTS
from latentplan.planners.policy import PolicyConfig
from latentplan.types import EnvSpec

SPEC = EnvSpec.single((3,), action_size=2, action_repeat=2, max_decisions=50)


@pytest.mark.parametrize(("name", "config"), [("tdmpc", tdmpc()), ("tdmpc2", tdmpc2())])
def test_only_exploration_is_random(name, config):
    agent = AGENTS[name].make(replace(config, planner=PolicyConfig(horizon=3)), SPEC)
    params = agent.init(jax.random.key(0)).params
    observation, is_first = {"state": np.ones((4, 3), np.float32)}, np.ones(4, bool)
    act = jax.jit(agent.act, static_argnames="mode")

    def actions(seed, mode):
        return np.asarray(act(params, agent.initial(4), observation, is_first, jax.random.key(seed), mode=mode)[0])

    np.testing.assert_array_equal(actions(0, "eval"), actions(1, "eval"))
    np.testing.assert_array_equal(actions(0, "eval")[0], actions(0, "eval")[1])
    moved = actions(0, "explore") - actions(0, "eval")
    assert np.std(moved) > 0.05 and not np.allclose(moved, actions(1, "explore") - actions(1, "eval"))
