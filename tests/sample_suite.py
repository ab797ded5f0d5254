"""A suite of a user's own: all that it takes to add one, but for its line in SUITES."""

from gymnasium.wrappers import TimeLimit
from sample_envs import Counter

from latentplan.envs.suite import DebugRun, Suite, UnknownTask

LIMIT = 75  # control steps


def has(name):
    """Whether a name is "sample_TASK"."""
    return name.startswith("sample_")


def names():
    """Its tasks."""
    return ("sample_slow",)


def load(name, config):
    """The environment, control step by control step."""
    if name not in names():
        raise UnknownTask(name)
    return TimeLimit(Counter(), LIMIT)


def action_repeat(name):
    """Control steps per decision."""
    return 3


def step_limit(env):
    """The time limit."""
    return LIMIT


SUITE = Suite(
    title="sample",
    example="a sample task (sample_slow)",
    has=has,
    names=names,
    load=load,
    action_repeat=action_repeat,
    step_limit=step_limit,
    may_terminate=False,
    debug=DebugRun(action_repeat=None, env_steps=225),
)
