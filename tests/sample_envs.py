"""Small environments for the driver's tests, registered when this module is imported, as a user's own would be."""

import signal
import sys
import time

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Sequence


class Counter(gymnasium.Env):
    """Observes the control steps so far; rewards 1 per step. `fault` happens at control step 3."""

    action_space = Box(-1.0, 1.0, (2,), np.float32)
    observation_space = Box(-np.inf, np.inf, (1,), np.float64)

    def __init__(self, ends_after=None, fault=None):
        self.ends_after, self.fault, self.count = ends_after, fault, 0
        if fault == "build":
            raise RuntimeError("the simulator has no licence")

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1), {}

    def step(self, action):
        self.count += 1
        if self.count == 3:
            self._break()
        observation = np.array([np.nan if self.fault == "nan" and self.count == 3 else self.count], np.float64)
        return observation, 1.0, self.count == self.ends_after, False, {}

    def _break(self):
        class Unpicklable(Exception):
            pass

        if self.fault == "raise":
            raise Unpicklable("the arm fell off")
        if self.fault == "hang":
            time.sleep(600)
        if self.fault == "exit":
            sys.exit(3)


class Process(Counter):
    """Observes its own process: is JAX imported, is SIGINT ignored."""

    observation_space = Box(0.0, 1.0, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        return np.array(["jax" in sys.modules, ignored], np.float64), {}


class Wrong(Counter):
    """Observes two numbers for the declared one, from control step 2 on."""

    def step(self, action):
        observation, *rest = super().step(action)
        return np.repeat(observation, 2 if self.count == 2 else 1), *rest


class Many(Counter):
    """Several choices at once."""

    action_space = MultiDiscrete([2, 3])


class Odd(Many):
    """Observes an image of four channels, which come first; rewards the choices 1 and `goal`."""

    observation_space = Box(0, 255, (4, 20, 10), np.uint8)

    def __init__(self, goal):
        super().__init__()
        self.goal = goal

    def reset(self, *, seed=None, options=None):
        return np.full((4, 20, 10), 90, np.uint8), super().reset(seed=seed)[1]

    def step(self, action):
        return self.reset()[0], float(np.array_equal(action, [1, self.goal])), False, False, {}


class Shapes(Counter):
    """Actions of any shape and bounds, observations in a dictionary."""

    observation_space = Dict({"b": Box(0.0, 1.0, (2, 2), np.float64), "a": Box(-5.0, 5.0, (), np.float64)})

    def __init__(self, low=-1.0, high=1.0, shape=(2, 2), endless=False):
        super().__init__()
        self.action_space = Box(low, high, shape, np.float64)
        self.seen = None
        if endless:
            self.observation_space = Sequence(Discrete(3))

    def reset(self, *, seed=None, options=None):
        return {"b": np.ones((2, 2)), "a": np.array(-3.0)}, {}

    def step(self, action):
        self.seen = action
        return self.reset()[0], 0.0, False, False, {}


class Picture(Counter):
    """Observes a picture of 20 x 10, red, as bright as ten times the control steps so far; renders another one."""

    observation_space = Box(0, 255, (20, 10, 3), np.uint8)
    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode=None, shape=(20, 10, 3)):
        super().__init__()
        self.render_mode, self.observation_space = render_mode, Box(0, 255, shape, np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._picture(), {}

    def step(self, action):
        _, *rest = super().step(action)
        return self._picture(), *rest

    def _picture(self):
        picture = np.zeros(self.observation_space.shape, np.uint8)
        picture[..., 0] = 10 * self.count
        return picture

    def render(self):
        return np.full((8, 8, 3), 255, np.uint8)


class BarePicture(Picture):
    """Cannot render."""

    metadata = {"render_modes": []}

    def __init__(self):
        super().__init__()


class FloatFrames(Counter):
    """Renders numbers from 0 to 1."""

    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, render_mode=None):
        super().__init__()
        self.render_mode = render_mode

    def render(self):
        return np.ones((8, 8, 3))


class Both(Counter):
    """Observes an image and a vector, as much as the control steps so far; the best action is the middle one."""

    observation_space = Dict(
        {"camera": Box(0, 255, (20, 10, 3), np.uint8), "joints": Dict({"a": Box(-1.0, 1.0, (2,)), "b": Discrete(3)})}
    )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._observation(), {}

    def step(self, action):
        _, *_ = super().step(action)
        return self._observation(), 1.0 - float(np.abs(action).mean()), False, False, {}

    def _observation(self):
        share = self.count / 100
        joints = {"a": np.full(2, share, np.float32), "b": self.count % 3}
        return {"camera": np.full((20, 10, 3), 255 * share, np.uint8), "joints": joints}


for name, entry_point, options in [
    ("Counter-v0", Counter, {}),
    ("Ends5-v0", Counter, {"kwargs": {"ends_after": 5}}),
    ("Limit7-v0", Counter, {"max_episode_steps": 7}),
    ("Raises-v0", Counter, {"kwargs": {"fault": "raise"}}),
    ("Hangs-v0", Counter, {"kwargs": {"fault": "hang"}}),
    ("Exits-v0", Counter, {"kwargs": {"fault": "exit"}}),
    ("Nan-v0", Counter, {"kwargs": {"fault": "nan"}}),
    ("NoBuild-v0", Counter, {"kwargs": {"fault": "build"}}),
    ("Process-v0", Process, {}),
    ("Wrong-v0", Wrong, {}),
    ("Many-v0", Many, {}),
    ("Odd-v0", Odd, {"max_episode_steps": 1}),
    ("Shapes-v0", Shapes, {"kwargs": {"low": 0.0, "high": 4.0}}),
    ("Unbounded-v0", Shapes, {"kwargs": {"low": -np.inf, "high": np.inf}}),
    ("Picture-v0", Picture, {}),
    ("GreyPicture-v0", Picture, {"kwargs": {"shape": (20, 10, 1)}}),
    ("BarePicture-v0", BarePicture, {}),
    ("FloatFrames-v0", FloatFrames, {}),
    ("Both-v0", Both, {"max_episode_steps": 50}),
    ("Endless-v0", Shapes, {"kwargs": {"endless": True}}),
]:
    gymnasium.register(name, entry_point, **options)
