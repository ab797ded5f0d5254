"""An environment that gives what a test says, behind all the wrappers of `make_env`."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from latentplan.envs.env import EnvConfig, make_env
from latentplan.envs.suite import Suite

_MADE = {}


class Given(gymnasium.Env):
    """Observes one thing after the other and keeps the actions that it was given."""

    metadata = {"render_modes": ["rgb_array"]}
    render_mode = "rgb_array"

    def __init__(self, seen=(), *, space=None, actions=None, rewards=1.0, frames=None, ends_after=None):
        self.observation_space = Box(-np.inf, np.inf, (4,)) if space is None else space
        self.action_space = Box(-1.0, 1.0, (1,)) if actions is None else actions
        self.seen, self.rewards, self.frames, self.ends_after = list(seen), rewards, frames, ends_after

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.taken = 0, []
        return self._observation(), {}

    def step(self, action):
        self.taken.append(action)
        self.count += 1
        return self._observation(), self.rewards, self.count == self.ends_after, False, {}

    def render(self):
        return self.frames(self.count)

    def _observation(self):
        if not self.seen:
            return np.zeros(self.observation_space.shape, self.observation_space.dtype)
        one = self.seen[min(self.count, len(self.seen) - 1)]
        return one(self.count) if callable(one) else one


def has(name):
    return name in _MADE


def names():
    return tuple(_MADE)


def load(name, config):
    return _MADE[name]


SUITE = Suite(title="given", example="given", has=has, names=names, load=load)


def made(env, name="given", **config):
    """The environment behind `make_env`'s wrappers."""
    _MADE[name] = env
    return make_env(name, EnvConfig(**({"obs": "state"} | config)), SUITE)
