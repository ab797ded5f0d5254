"""Environments with one observation, as plain arrays: shorter to compare."""

import gymnasium

from latentplan.envs import env


class Single(gymnasium.Wrapper):
    """Gives the only entry of each observation."""

    def __init__(self, inner):
        super().__init__(inner)
        (self.observation_space,) = inner.observation_space.spaces.values()

    def reset(self, **kwargs):
        seen, info = self.env.reset(**kwargs)
        (observation,) = seen.values()
        return observation, info

    def step(self, action):
        seen, *rest = self.env.step(action)
        (observation,) = seen.values()
        return observation, *rest


def make_single(name, config):
    return Single(env.make_env(name, config))


def env_spec(single):
    return env.env_spec(single.env)
