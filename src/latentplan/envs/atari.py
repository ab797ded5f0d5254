"""Atari games (ALE/Pong-v5), as DreamerV2 and DreamerV3 play them.

What both codes agree on (danijar/dreamerv2 common/envs.py, danijar/dreamerv3 embodied/envs/atari.py, their
configs.yaml): an action is held for 4 frames; each frame repeats the action of the one before with probability 0.25
(sticky actions, Machado et al. 2018); the observation is the maximum of the last two frames, pixel by pixel, since many
games draw their sprites in every other frame only; losing a life ends nothing; a game is cut off after 108,000 frames,
27,000 decisions. Rewards are the game's, unclipped. Where they differ (no-ops, actions, colour, size):
docs/environments.md.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit

from latentplan.config import Config, NonNegativeInt, Share
from latentplan.envs.gymnasium import import_module
from latentplan.envs.suite import DebugRun, Suite, UnknownTask

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig

PREFIX = "ALE/"
ACTION_REPEAT = 4
"""Frames an action is held for."""

FRAME_LIMIT = 108_000
"""Frames of the longest episode: 30 minutes of the console, at 60 frames per second."""

_NOOP = 0  # the first action, where a game has it


@dataclass(frozen=True, kw_only=True)
class AtariConfig(Config):
    """How Atari games are played; of no meaning elsewhere."""

    sticky_actions: Share = 0.25
    """Probability with which a frame repeats the action before, whatever is chosen. Atari 100k has 0."""

    noops: NonNegativeInt = 30
    """Most frames of doing nothing that begin an episode; how many is drawn evenly from 0 to this. DreamerV3 had 0 when
    it was published."""

    all_actions: bool = False
    """Choose among all 18 actions of the joystick, as DreamerV3, and not among those that the game uses."""


def has(name: str) -> bool:
    """Whether a name is "ALE/Game-v5", or "module:ALE/Game-v5"."""
    return name.rpartition(":")[2].startswith(PREFIX)


def names() -> tuple[str, ...]:
    """The games that gymnasium knows; none before one has been loaded."""
    return tuple(env_id for env_id in gymnasium.registry if env_id.startswith(PREFIX))


def load(name: str, config: "EnvConfig") -> gymnasium.Env:
    """Builds a game in which one control step is one frame.

    Args:
        name: "ALE/Pong-v5".
        config: how to present it. Pixels are the screen, uint8 [210, 160, 3] for most games; else the console's memory,
            uint8 [128].

    Returns:
        The environment. Neither the no-ops that begin an episode nor their rewards are counted.

    Raises:
        UnknownTask: there is no such game.
        ValueError: ale-py is not installed, or the module before the colon cannot be imported.
    """
    module, _, env_id = name.rpartition(":")
    import_module(name, module)
    _register(name)
    if env_id not in gymnasium.registry:
        raise UnknownTask(env_id)
    pixels, played = config.obs == "pixels", config.atari
    env = gymnasium.make(
        env_id,
        obs_type="rgb" if pixels else "ram",
        frameskip=1,
        repeat_action_probability=played.sticky_actions,
        full_action_space=played.all_actions,
        max_num_frames_per_episode=0,  # it would count the no-ops, too
        render_mode="rgb_array" if pixels else None,
        disable_env_checker=True,
    )
    env = TimeLimit(NoopStart(env, played.noops), FRAME_LIMIT)
    return MaxOfTwoFrames(env) if pixels else env


def _action_repeat(name: str) -> int:
    return ACTION_REPEAT


def _register(name: str) -> None:
    """Makes gymnasium know the games, or says which extra brings them."""
    try:
        import ale_py
    except ImportError as error:
        raise ValueError(
            f"env: {name} needs the package ale-py, which cannot be imported ({error}). "
            "Install the extra: pip install 'latentplan[atari]', or uv sync --extra atari."
        ) from error
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # else every emulator greets


class NoopStart(gymnasium.Wrapper):
    """Begins each episode with a random number of frames, 0 to `noops`, in which nothing is done.

    None in games that cannot do nothing: Backgammon and VideoCheckers, unless all actions are allowed.
    """

    def __init__(self, env: gymnasium.Env, noops: int):
        super().__init__(env)
        idles = env.unwrapped.get_action_meanings()[_NOOP] == "NOOP"  # type: ignore[attr-defined]
        self._noops = noops if idles else 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets, waits, and gives the last frame of waiting."""
        observation, info = self.env.reset(seed=seed, options=options)
        for _ in range(self.np_random.integers(self._noops + 1)):
            observation, _, terminated, truncated, info = self.env.step(_NOOP)
            if terminated or truncated:
                observation, info = self.env.reset(options=options)
        return observation, info


class MaxOfTwoFrames(gymnasium.Wrapper):
    """Observes, pixel by pixel, the larger of this frame and the one before; the first frame as it is."""

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Resets, and forgets the frames of the last episode."""
        self._before, info = self.env.reset(**kwargs)
        return self._before, info

    def step(self, action: Any) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """One frame."""
        frame, reward, terminated, truncated, info = self.env.step(action)
        brighter = np.maximum(frame, self._before)
        self._before = frame
        return brighter, reward, terminated, truncated, info


SUITE = Suite(
    title="Atari",
    example="an Atari game (ALE/Pong-v5)",
    has=has,
    names=names,
    load=load,
    action_repeat=_action_repeat,
    short_tasks=False,
    debug=DebugRun(action_repeat=None, env_steps=12_000),
)
