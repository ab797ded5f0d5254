"""Atari games (ALE/Pong-v5) in the protocol of DreamerV2 and DreamerV3.

Common to both codes (danijar/dreamerv2 common/envs.py, danijar/dreamerv3 embodied/envs/atari.py, their configs.yaml):
an action is held for 4 frames; each frame repeats the previous frame's action with probability 0.25 (sticky actions,
Machado et al. 2018); the observation is the pixelwise maximum of the last two frames, since many games draw sprites in
every other frame only; losing a life does not end the episode; a game is truncated after 108,000 frames, 27,000
decisions. Rewards are the game's, unclipped. For the differences (no-ops, actions, colour, size) see
docs/environments.md.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit

from latentplan.config import Config, NonNegativeInt, Share
from latentplan.envs.gymnasium import RESERVED, import_registering, make
from latentplan.envs.suite import DebugRun, Suite, UnknownTask
from latentplan.envs.wrappers import Reset, Stepped

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig

PREFIX = "ALE/"
ACTION_REPEAT = 4
"""Frames for which an action is held."""

FRAME_LIMIT = 108_000
"""Maximum episode length in frames: 30 minutes of play at 60 frames per second."""

_RESERVED = RESERVED | {
    "obs_type": "obs",
    "frameskip": "action_repeat",
    "repeat_action_probability": "atari.sticky_actions",
    "full_action_space": "atari.all_actions",
    "max_num_frames_per_episode": "max_decisions",
    **dict.fromkeys(("game", "continuous", "continuous_action_threshold", "sound_obs"), "the protocol"),
}

_NOOP = 0  # index of the no-op action, in games that have one


@dataclass(frozen=True, kw_only=True)
class AtariConfig(Config):
    """Atari settings; ignored by other suites."""

    sticky_actions: Share = 0.25
    """Probability that a frame repeats the previous frame's action. Atari 100k uses 0."""

    noops: NonNegativeInt = 30
    """Maximum number of no-op frames at the start of an episode, drawn uniformly from 0 to this. DreamerV3 used 0 when
    it was published."""

    all_actions: bool = False
    """Use all 18 joystick actions, as in DreamerV3, instead of the game's minimal set."""


def has(name: str) -> bool:
    """Whether a name has the form "ALE/Game-v5" or "module:ALE/Game-v5"."""
    return name.rpartition(":")[2].startswith(PREFIX)


def names() -> tuple[str, ...]:
    """The games registered with gymnasium; none until the first is loaded."""
    return tuple(env_id for env_id in gymnasium.registry if env_id.startswith(PREFIX))


def load(name: str, config: "EnvConfig") -> gymnasium.Env:
    """Builds a game whose control step is one frame.

    Args:
        name: "ALE/Pong-v5".
        config: with obs pixels, observations are the screen, uint8 [210, 160, 3] for most games; with obs state, the
            console's RAM, uint8 [128].

    Returns:
        The environment. Initial no-ops and their rewards are not counted.

    Raises:
        UnknownTask: there is no such game.
        ValueError: ale-py is not installed, the module before the colon cannot be imported, or the emulator does not
            take an argument.
    """
    module, _, env_id = name.rpartition(":")
    import_registering(name, module)
    _register(name)
    if env_id not in gymnasium.registry:
        raise UnknownTask(env_id)
    pixels, played = config.renders, config.atari
    env = make(
        env_id,
        config.kwargs,
        _RESERVED,
        obs_type="rgb" if pixels else "ram",
        frameskip=1,
        repeat_action_probability=played.sticky_actions,
        full_action_space=played.all_actions,
        max_num_frames_per_episode=0,  # it would count no-ops, too
        render_mode="rgb_array" if pixels else None,
    )
    env = TimeLimit(NoopStart(env, played.noops), FRAME_LIMIT)
    return MaxOfTwoFrames(env) if pixels else env


def _action_repeat(name: str) -> int:
    return ACTION_REPEAT


def _register(name: str) -> None:
    """Registers the games with gymnasium, or raises an error that names the missing extra."""
    try:
        import ale_py
    except ImportError as error:
        raise ValueError(
            f"env: {name} needs the package ale-py, which cannot be imported ({error}). "
            "Install the extra: pip install 'latentplan[atari]', or uv sync --extra atari."
        ) from error
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # suppresses the emulator's banner


class NoopStart(gymnasium.Wrapper):
    """Starts each episode with a random number of no-op frames, 0 to `noops`.

    Games without a no-op are unaffected: Backgammon and VideoCheckers, unless all actions are allowed.
    """

    def __init__(self, env: gymnasium.Env, noops: int):
        super().__init__(env)
        idles = env.unwrapped.get_action_meanings()[_NOOP] == "NOOP"  # type: ignore[attr-defined]
        self._noops = noops if idles else 0

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> Reset:
        """Resets, takes the no-ops, and returns the last frame."""
        observation, info = self.env.reset(seed=seed, options=options)
        for _ in range(self.np_random.integers(self._noops + 1)):
            observation, _, terminated, truncated, info = self.env.step(_NOOP)
            if terminated or truncated:
                observation, info = self.env.reset(options=options)
        return observation, info


class MaxOfTwoFrames(gymnasium.Wrapper):
    """Observes the pixelwise maximum of the last two frames; the first frame is unchanged."""

    def reset(self, **kwargs: Any) -> Reset:
        """Resets, and discards the last episode's frames."""
        self._before, info = self.env.reset(**kwargs)
        return self._before, info

    def step(self, action: int) -> Stepped:
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
    takes_kwargs=True,
    short_tasks=False,
    debug=DebugRun(action_repeat=None, env_steps=12_000),
)
