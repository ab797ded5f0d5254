"""One interface to every environment: actions in [-1, 1], uint8 images and float32 vectors by name, action repeat.

Worker processes import this module, so it must not import JAX.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space, flatten, flatten_space
from gymnasium.wrappers import (
    AddRenderObservation,
    FlattenObservation,
    RescaleAction,
    TransformAction,
    TransformObservation,
)
from numpy.typing import ArrayLike

from latentplan.config import Bound, Config, PositiveInt
from latentplan.envs import images, suite_of, unknown_environment
from latentplan.envs.atari import AtariConfig
from latentplan.envs.suite import Suite, UnknownTask
from latentplan.envs.wrappers import UNBOUNDED, ActionRepeat, CheckFinite, FreezeAfterEnd, check_actions

if TYPE_CHECKING:
    from latentplan.types import EnvSpec


@dataclass(frozen=True, kw_only=True)
class EnvConfig(Config):
    """Observation and action settings of an environment."""

    obs: Literal["pixels", "state"] = "pixels"
    """Observation type. pixels: the environment's image observation, or rendered frames if it has none; state: the
    simulator's state vector."""

    action_repeat: PositiveInt | None = None
    """Control steps for which each action is held. None: PlaNet's value for the task (Atari: 4, gymnasium: 1)."""

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

    atari: AtariConfig = field(default_factory=AtariConfig)
    """Settings of Atari games (ALE/...)."""

    def check(self) -> None:
        """Checks constraints between fields."""
        for name, plain in {"grayscale": False, "frame_stack": 1}.items():
            fits = self.obs == "pixels" or getattr(self, name) == plain
            self.require(fits, name, f"{plain}, since obs = state has no frames", "use obs = pixels")


def make_env(name: str, config: EnvConfig, suite: Suite | None = None) -> gymnasium.Env:
    """Builds an environment with normalised actions and observations.

    Actions are float32 [A] in [-1, 1], scaled to the environment's bounds; a discrete action is the argmax of A values.
    Observations are dictionaries: {"state": float32 [n]}, or
    {"image": uint8 [image_size, image_size, C * frame_stack]} with the newest frame last; C is 3, or 1 without colour.
    If the environment's own observation is a dictionary with images, obs pixels includes all its entries, images and
    vectors. One `step` is one decision: `action_repeat` control steps, rewards summed.
    After the end of an episode, further steps repeat the last observation with reward 0 and the same flags. Resetting
    with the same seed reproduces an episode bit for bit, whatever ran before.

    Args:
        name: "walker_walk", "Pendulum-v1", "ALE/Pong-v5", "module:Id" or any other name of a suite in `SUITES`.
        config: its settings.
        suite: the environment's suite; None looks it up in `SUITES`.

    Returns:
        The environment. `terminated` and `truncated` (the time limit) are distinguished.

    Raises:
        ValueError: the name is unknown, a required package is missing, actions are neither a bounded Box nor Discrete,
            observations are not numeric, the camera does not exist, or frames cannot be rendered.
        GLUnavailable: pixels are requested, but OpenGL does not work.

    Examples:
        >>> env = make_env("Pendulum-v1", EnvConfig(obs="state"))
        >>> observation, _ = env.reset(seed=0)
        >>> observation["state"].shape, observation["state"].dtype
        ((3,), dtype('float32'))
    """
    suite = suite or suite_of(name)
    try:
        env = suite.load(name, config)
    except UnknownTask as error:
        raise unknown_environment(name) from error
    env = ActionRepeat(env, config.action_repeat or suite.action_repeat(name), suite.step_limit(env))
    env = _unit_actions(env, name)  # outside the action repeat: once per decision
    env = _with_images(env, name, config) if config.obs == "pixels" else _as_vector(env, name)
    return FreezeAfterEnd(CheckFinite(env, name))


def env_spec(env: gymnasium.Env) -> "EnvSpec":
    """The spec of an environment built by `make_env`."""
    from latentplan.types import EnvSpec

    return EnvSpec.from_fields(spec_fields(env))


def spec_fields(env: gymnasium.Env) -> dict[str, object]:
    """The input of `EnvSpec.from_fields`, whose module imports JAX, which worker processes must not."""
    observations, actions = env.observation_space, env.action_space
    assert isinstance(observations, Dict) and isinstance(actions, Box)
    choices = actions.shape[0] if env.get_wrapper_attr("discrete") else 0
    return {
        "observations": {name: _fields(box, 0) for name, box in observations.spaces.items()},
        "actions": {"action": _fields(actions, choices)},
        "action_repeat": env.get_wrapper_attr("action_repeat"),
        "max_decisions": env.get_wrapper_attr("max_decisions"),
    }


def _fields(box: Any, num_choices: int) -> dict[str, object]:
    return {"shape": box.shape, "dtype": box.dtype.name, "num_choices": num_choices}


def _unit_actions(env: gymnasium.Env, name: str) -> gymnasium.Env:
    """Checks float32 actions [A] in [-1, 1] and scales them to the environment's own bounds and shape."""
    space = env.action_space
    if isinstance(space, Discrete):
        one_hot = Box(-1.0, 1.0, (int(space.n),), np.float32)
        chosen = TransformAction(env, partial(_choose, size=int(space.n), first=int(space.start)), one_hot)
        return _WithDiscrete(chosen, discrete=True)
    if isinstance(space, MultiDiscrete):
        raise ValueError(
            f"env: {name} has several discrete actions, {space}; expected one. "
            "Wrap it into one Discrete action over their combinations."
        )
    if not isinstance(space, Box) or not np.issubdtype(space.dtype, np.floating):
        raise ValueError(
            f"env: {name} has the action space {space}; expected a Box of floats or Discrete. "
            "Choose another version of the task, or wrap it into one."
        )
    if not np.all(np.abs([space.low, space.high]) < UNBOUNDED):
        raise ValueError(
            f"env: {name} has the unbounded action space {space}, to which [-1, 1] cannot be scaled. "
            "Give its Box finite bounds, for example with gymnasium.wrappers.RescaleAction in its entry point."
        )
    size = int(np.prod(space.shape))
    unit = Box(-1.0, 1.0, (size,), np.float32)
    scaled = RescaleAction(env, space.dtype.type(-1.0), space.dtype.type(1.0))
    return _WithDiscrete(
        TransformAction(scaled, partial(_shape_action, size=size, shape=space.shape), unit), discrete=False
    )


class _WithDiscrete(gymnasium.Wrapper):
    """Records whether actions are discrete, which the Box of one-hot vectors no longer shows."""

    def __init__(self, env: gymnasium.Env, *, discrete: bool):
        super().__init__(env)
        self.discrete = discrete


def _choose(action: ArrayLike, *, size: int, first: int) -> int:
    return first + int(np.argmax(check_actions(action, (size,))))


def _shape_action(action: ArrayLike, *, size: int, shape: tuple[int, ...]) -> np.ndarray:
    return check_actions(action, (size,)).reshape(shape)


def _with_images(env: gymnasium.Env, name: str, config: EnvConfig) -> gymnasium.Env:
    """Observations by name with at least one image: the environment's own, or else a rendered "image"."""
    space = env.observation_space
    if isinstance(space, Dict) and images.has_images(space):
        env = _as_images_and_vectors(env, name, space)
    else:
        if not images.is_image(space):
            env = _rendered(env, name)
        env = TransformObservation(env, _as_image, Dict({"image": env.observation_space}))
    return images.stack(images.fit(env, config.image_size, grayscale=config.grayscale), config.frame_stack)


def _rendered(env: gymnasium.Env, name: str) -> gymnasium.Env:
    env = AddRenderObservation(env)
    frame = np.asarray(env.render())  # the wrapper does not check its type
    if frame.dtype != np.uint8 or not images.is_image(env.observation_space):
        raise ValueError(
            f"obs: {name} renders {frame.dtype} {list(frame.shape)}; expected frames uint8 [height, width, 3]. "
            "Use obs=state, or convert what its render returns."
        )
    return env


def _as_images_and_vectors(env: gymnasium.Env, name: str, space: Dict) -> gymnasium.Env:
    """Leaves images unchanged and flattens every other entry into a float32 vector."""
    vectors = {entry: inner for entry, inner in space.spaces.items() if not images.is_image(inner)}
    for entry, inner in vectors.items():
        _check_flattenable(inner, f"{name}'s entry {entry!r}")
    boxes = {entry: Box(-np.inf, np.inf, flatten_space(inner).shape, np.float32) for entry, inner in vectors.items()}
    named = {entry: boxes.get(entry, inner) for entry, inner in space.spaces.items()}
    return TransformObservation(env, partial(_flatten_vectors, vectors=vectors), Dict(named))


def _as_vector(env: gymnasium.Env, name: str) -> gymnasium.Env:
    """Flattens the whole observation into one vector, "state"."""
    _check_flattenable(env.observation_space, name)
    flat = FlattenObservation(env)
    vector = Box(-np.inf, np.inf, flat.observation_space.shape, np.float32)
    return TransformObservation(flat, _as_state, Dict({"state": vector}))


def _check_flattenable(space: Space, name: str) -> None:
    if not space.is_np_flattenable:
        raise ValueError(
            f"env: {name} has the observation space {space}, which has no fixed size. Use obs=pixels, or wrap it."
        )


def _as_image(observation: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": observation}


def _as_state(observation: np.ndarray) -> dict[str, np.ndarray]:
    return {"state": observation.astype(np.float32)}


def _flatten_vectors(observation: dict[str, np.ndarray], *, vectors: dict[str, Space]) -> dict[str, object]:
    flat = {name: np.asarray(flatten(space, observation[name]), np.float32) for name, space in vectors.items()}
    return {name: flat.get(name, value) for name, value in observation.items()}
