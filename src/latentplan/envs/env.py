"""One interface to every environment: actions in [-1, 1], uint8 images and float32 vectors by name, action repeat.

Worker processes import this module, so it must not import JAX.
"""

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

import gymnasium
from gymnasium.spaces import Box, Dict, Space

from latentplan.config import Bound, Config, PositiveInt
from latentplan.envs import masking, suite_of, unknown_environment
from latentplan.envs.actions import action_notes
from latentplan.envs.atari import AtariConfig
from latentplan.envs.boundary import Boundary
from latentplan.envs.env_kwargs import parse_pairs, problem_of
from latentplan.envs.observations import by_name, observation_notes, used_paths
from latentplan.envs.suite import Suite, UnknownTask
from latentplan.envs.wrappers import ActionRepeat, CheckFinite, FreezeAfterEnd

if TYPE_CHECKING:
    from latentplan.types import EnvSpec


@dataclass(frozen=True, kw_only=True)
class EnvConfig(Config):
    """Observation and action settings of an environment."""

    obs: str = "pixels"
    """What to observe. pixels: the environment's image observation, or rendered frames if it has none; state: the
    simulator's state vector; or names separated by commas, such as image,state. image is the observed or else rendered
    image, state the state vector, any other name an entry of the dictionary that the environment observes; * stands for
    any letters (camera*)."""

    action_repeat: PositiveInt | None = None
    """Control steps for which each action is held. None: PlaNet's value for the task (Atari: 4, gymnasium: 1)."""

    mask: str = ""
    """Numbers of the state vector to hide: velocities, or their indices separated by commas (1,3)."""

    image_size: PositiveInt = 64
    """Height and width of a frame, in pixels."""

    grayscale: bool = False
    """Convert frames to one luminance channel."""

    frame_stack: PositiveInt = 1
    """Number of most recent frames stacked as channels of an image observation. A model without memory needs more than
    one to infer velocities; TD-MPC2 uses 3."""

    camera: Annotated[int, Bound(ge=-1)] = 0
    """Index of the dm_control camera that renders frames; -1 is the free camera."""

    render_quality: Literal["full", "fast"] = "full"
    """MuJoCo's rendering quality. full: the environment's own; fast: fewer facets on round bodies and coarser shadows,
    several times faster without a GPU."""

    supersample: PositiveInt = 1
    """Anti-aliasing: dm_control frames are rendered this many times larger in each direction and averaged down, so that
    small frames show subpixel positions of thin bodies."""

    max_decisions: PositiveInt | None = None
    """Cuts episodes off after this many decisions, as a time limit does. None: episodes end where the environment ends
    them, or by its registered time limit, however long they are."""

    env_kwargs: tuple[str, ...] = ()
    """Arguments of the environment's constructor, as key=value. Values are Python literals (3, 0.5, True, None,
    [1, 2], also true, false and null) or else strings. gymnasium: of gymnasium.make; dm_control: of the task
    (time_limit) or its Environment (control_timestep)."""

    atari: AtariConfig = field(default_factory=AtariConfig)
    """Settings of Atari games (ALE/...)."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names in `obs`, some of which may be patterns; empty for pixels and state."""
        return () if self.obs in ("pixels", "state") else tuple(self.obs.split(","))

    @property
    def pixels(self) -> bool:
        """Whether images may be observed."""
        return self.obs != "state" and self.names != ("state",)

    @property
    def renders(self) -> bool:
        """Whether frames are rendered if the environment observes no image."""
        return self.obs == "pixels" or "image" in self.names

    @property
    def filmed(self) -> "EnvConfig":
        """The same environment with frames as its observation, to render an episode that was run without."""
        return replace(self, obs="pixels", mask="")

    @property
    def kwargs(self) -> dict[str, Any]:
        """`env_kwargs` as keyword arguments."""
        return parse_pairs(self.env_kwargs)

    def check(self) -> None:
        """Checks constraints between fields."""
        named = all(re.fullmatch(r"[\w.*?\[\]-]+", name) for name in self.names)
        expected = "pixels, state, or different names separated by commas"
        self.require(named and len(set(self.names)) == len(self.names), "obs", expected, "for example image,state")
        expected = masking.problem_of(self.mask)
        self.require(not expected, "mask", expected, "for example velocities")
        expected = problem_of(self.env_kwargs)
        self.require(not expected, "env_kwargs", expected, "for example map_name=8x8")
        for name, plain in {"grayscale": False, "frame_stack": 1}.items():
            fits = self.pixels or getattr(self, name) == plain
            self.require(fits, name, f"{plain}, since obs = state has no frames", "use obs = pixels")


def make_env(name: str, config: EnvConfig, suite: Suite | None = None) -> gymnasium.Env:
    """Builds an environment with normalised actions and observations.

    Actions are float32 [A] in [-1, 1], scaled to the environment's bounds; a discrete action is the argmax of A values,
    and several discrete ones are one choice among their combinations.
    Observations are dictionaries: {"state": float32 [n]}, or
    {"image": uint8 [image_size, image_size, C * frame_stack]} with the newest frame last; C is 3 for rendered frames
    and whatever an observed image has, or 1 without colour.
    If the environment's own observation is a dictionary with images, obs pixels includes all its entries that are
    images or vectors; with names in `obs`, those are chosen. One `step` is one decision: `action_repeat` control steps,
    rewards summed.
    After the end of an episode, further steps repeat the last observation with reward 0 and the same flags. Resetting
    with the same seed reproduces an episode bit for bit, whatever ran before.

    Args:
        name: "walker_walk", "Pendulum-v1", "ALE/Pong-v5", "module:Id" or any other name of a suite in `SUITES`.
        config: its settings.
        suite: the environment's suite; None looks it up in `SUITES`.

    Returns:
        The environment. `terminated` and `truncated` (the time limit) are distinguished.

    Raises:
        ValueError: the name is unknown, a required package is missing, the action or observation space is not
            supported, an argument, a camera or a number to mask does not exist, or frames cannot be rendered. What
            `reset` and `step` return is held against the declared spaces, and refused by `boundary.SpaceMismatch`.
        GLUnavailable: pixels are requested, but OpenGL does not work.

    Examples:
        >>> env = make_env("Pendulum-v1", EnvConfig(obs="state"))
        >>> observation, _ = env.reset(seed=0)
        >>> observation["state"].shape, observation["state"].dtype
        ((3,), dtype('float32'))
    """
    suite = suite or suite_of(name)
    if config.env_kwargs and not suite.takes_kwargs:
        got = ", ".join(config.env_kwargs)
        raise ValueError(f"env_kwargs: expected none, since {suite.title}'s tasks take none, got {got}; leave them out")
    try:
        raw = suite.load(name, config)
    except UnknownTask as error:
        raise unknown_environment(name) from error
    for kind in ("observation_space", "action_space"):
        space = getattr(raw, kind, None)
        if not isinstance(space, Space):
            got = f"{type(space).__module__}.{type(space).__name__}"
            raise ValueError(
                f"env: {name}.{kind}: expected one of gymnasium.spaces, got {got}. Declare it in __init__."
            )
    notes = *observation_notes(raw.observation_space, config), *action_notes(raw.action_space)
    env: gymnasium.Env = Boundary(raw, name, used=used_paths(raw.observation_space, config), notes=notes)
    repeat = config.action_repeat or suite.action_repeat(name)
    env = ActionRepeat(env, repeat, suite.step_limit(raw), config.max_decisions)
    env = masking.masked(by_name(env, name, config), raw, name, config.mask)
    return FreezeAfterEnd(CheckFinite(env, name))


def env_spec(env: gymnasium.Env) -> "EnvSpec":
    """The spec of an environment built by `make_env`."""
    from latentplan.types import EnvSpec

    return EnvSpec.from_fields(spec_fields(env))


def spec_fields(env: gymnasium.Env) -> dict[str, object]:
    """The input of `EnvSpec.from_fields`, whose module imports JAX, which worker processes must not."""
    observations, actions = env.observation_space, env.action_space
    assert isinstance(observations, Dict) and isinstance(actions, Box)
    return {
        "observations": {name: _fields(box, 0) for name, box in observations.spaces.items()},
        "actions": {"action": _fields(actions, env.get_wrapper_attr("num_choices"))},
        "action_repeat": env.get_wrapper_attr("action_repeat"),
        "max_decisions": env.get_wrapper_attr("max_decisions"),
    }


def env_notes(env: gymnasium.Env) -> tuple[str, ...]:
    """What a user might not expect of how an environment built by `make_env` is used: sentences, often none."""
    return env.get_wrapper_attr("notes")


def _fields(box: Any, num_choices: int) -> dict[str, object]:
    return {"shape": box.shape, "dtype": box.dtype.name, "num_choices": num_choices}
