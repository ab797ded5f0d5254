"""One interface to every environment: actions in [-1, 1], uint8 images and float32 vectors by name, action repeat.

Worker processes import this module and not JAX: keep JAX out of what it imports.
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

from latentplan.config import Bound, Config, PositiveInt
from latentplan.envs import images, suite_of, unknown_environment
from latentplan.envs.atari import AtariConfig
from latentplan.envs.suite import Suite, UnknownTask
from latentplan.envs.wrappers import UNBOUNDED, ActionRepeat, CheckFinite, FreezeAfterEnd, check_actions

if TYPE_CHECKING:
    from latentplan.types import EnvSpec


@dataclass(frozen=True, kw_only=True)
class EnvConfig(Config):
    """How an environment is presented to an agent."""

    obs: Literal["pixels", "state"] = "pixels"
    """What the agent sees: frames, which are the environment's observation where that is an image and rendered where
    it is not, or the simulator's own vector."""

    action_repeat: PositiveInt | None = None
    """Control steps each action is held for. None: the paper's for the task (Atari: 4, gymnasium: 1)."""

    image_size: PositiveInt = 64
    """Height and width of a frame, in pixels."""

    grayscale: bool = False
    """Frames have one channel, how bright a pixel is, and not three."""

    frame_stack: PositiveInt = 1
    """How many of the newest frames an observation of pixels holds, one behind the other as channels. A model without
    memory needs more than one to see speed; TD-MPC2 has 3."""

    camera: Annotated[int, Bound(ge=-1)] = 0
    """Which camera of a dm_control model renders the frames, from 0; -1 is the free camera."""

    render_quality: Literal["full", "fast"] = "full"
    """How MuJoCo draws frames. full: as the environment does; fast: round bodies with fewer facets and coarser
    shadows, several times faster where no GPU renders."""

    supersample: PositiveInt = 1
    """dm_control draws frames this many times as wide and high, and they are averaged down: small frames then show
    where between two pixels a thin body lies."""

    atari: AtariConfig = field(default_factory=AtariConfig)
    """How Atari games (ALE/...) are played."""

    def check(self) -> None:
        """Rules between fields."""
        for name, plain in {"grayscale": False, "frame_stack": 1}.items():
            fits = self.obs == "pixels" or getattr(self, name) == plain
            self.require(fits, name, f"{plain}, as obs = state has no frames", "use obs = pixels")


def make_env(name: str, config: EnvConfig, suite: Suite | None = None) -> gymnasium.Env:
    """Builds one environment, normalised.

    Actions are float32 [A] in [-1, 1], scaled to the environment's bounds; for discrete ones the largest of A values
    is the choice. Observations are dictionaries: {"state": float32 [n]}, or
    {"image": uint8 [image_size, image_size, C * frame_stack]} with the newest frame last; C is 3, or 1 without colour.
    Where an environment itself observes a dictionary with images, pixels are all of its entries: images, and vectors
    beside them. One `step` is one decision: `action_repeat` control steps, rewards summed.
    After the episode's end, steps repeat the last observation with reward 0 and the same flags. The same seed to
    `reset` gives the same episode, bit for bit, whatever ran before.

    Args:
        name: "walker_walk", "Pendulum-v1", "ALE/Pong-v5", "module:Id" or another that a suite in `SUITES` has.
        config: how to present it.
        suite: where it comes from; None for the one in `SUITES` that has the name.

    Returns:
        The environment. `terminated` and `truncated` (the time limit) are told apart.

    Raises:
        ValueError: unknown name, a package that it needs is missing, actions that are neither a bounded Box nor
            Discrete, observations that are not numbers, no such camera, or no frames to be had.
        GLUnavailable: pixels are asked for and OpenGL does not work.

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
    env = _unit_actions(env, name)  # outside the repeat: once per decision
    env = _with_images(env, name, config) if config.obs == "pixels" else _as_vector(env, name)
    return FreezeAfterEnd(CheckFinite(env, name))


def env_spec(env: gymnasium.Env) -> "EnvSpec":
    """What an agent has to know about an environment that `make_env` built."""
    from latentplan.types import EnvSpec

    return EnvSpec.from_fields(spec_fields(env))


def spec_fields(env: gymnasium.Env) -> dict[str, Any]:
    """What `EnvSpec.from_fields` reads: its module imports JAX, and worker processes must not."""
    observations, actions = env.observation_space, env.action_space
    assert isinstance(observations, Dict) and isinstance(actions, Box)
    choices = actions.shape[0] if env.get_wrapper_attr("discrete") else 0
    return {
        "observations": {name: _fields(box, 0) for name, box in observations.spaces.items()},
        "actions": {"action": _fields(actions, choices)},
        "action_repeat": env.get_wrapper_attr("action_repeat"),
        "max_decisions": env.get_wrapper_attr("max_decisions"),
    }


def _fields(box: Any, num_choices: int) -> dict[str, Any]:
    return {"shape": box.shape, "dtype": box.dtype.name, "num_choices": num_choices}


def _unit_actions(env: gymnasium.Env, name: str) -> gymnasium.Env:
    """Actions float32 [A] in [-1, 1], checked, scaled to the environment's own bounds and shape."""
    space = env.action_space
    if isinstance(space, Discrete):
        one_hot = Box(-1.0, 1.0, (int(space.n),), np.float32)
        chosen = TransformAction(env, partial(_choose, size=int(space.n), first=int(space.start)), one_hot)
        return _WithDiscrete(chosen, discrete=True)
    if isinstance(space, MultiDiscrete):
        raise ValueError(
            f"env: {name} has several choices at once, {space}; expected one. "
            "Wrap it so that one Discrete choice stands for each of their combinations."
        )
    if not isinstance(space, Box) or not np.issubdtype(space.dtype, np.floating):
        raise ValueError(
            f"env: {name} has the action space {space}; expected a Box of floats or Discrete. "
            "Choose another version of the task, or wrap it into one."
        )
    if not np.all(np.abs([space.low, space.high]) < UNBOUNDED):
        raise ValueError(
            f"env: {name} has the unbounded action space {space}, which [-1, 1] cannot be scaled to. "
            "Give its Box finite bounds, for example with gymnasium.wrappers.RescaleAction in its entry point."
        )
    size = int(np.prod(space.shape))
    unit = Box(-1.0, 1.0, (size,), np.float32)
    scaled = RescaleAction(env, space.dtype.type(-1.0), space.dtype.type(1.0))
    return _WithDiscrete(
        TransformAction(scaled, partial(_shape_action, size=size, shape=space.shape), unit), discrete=False
    )


class _WithDiscrete(gymnasium.Wrapper):
    """Says whether actions are discrete, which the space of one-hot vectors no longer shows."""

    def __init__(self, env: gymnasium.Env, *, discrete: bool):
        super().__init__(env)
        self.discrete = discrete


def _choose(action: Any, *, size: int, first: int) -> int:
    return first + int(np.argmax(check_actions(action, (size,))))


def _shape_action(action: Any, *, size: int, shape: tuple[int, ...]) -> np.ndarray:
    return check_actions(action, (size,)).reshape(shape)


def _with_images(env: gymnasium.Env, name: str, config: EnvConfig) -> gymnasium.Env:
    """Observations by name, with at least one image: what the environment observes, or "image", which it renders."""
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
    frame = np.asarray(env.render())  # whose type the wrapper takes for granted
    if frame.dtype != np.uint8 or not images.is_image(env.observation_space):
        raise ValueError(
            f"obs: {name} renders {frame.dtype} {list(frame.shape)}; expected frames uint8 [height, width, 3]. "
            "Use obs=state, or convert what its render returns."
        )
    return env


def _as_images_and_vectors(env: gymnasium.Env, name: str, space: Dict) -> gymnasium.Env:
    """Images as they are; every other entry as a float32 vector."""
    vectors = {entry: inner for entry, inner in space.spaces.items() if not images.is_image(inner)}
    for entry, inner in vectors.items():
        _check_flattenable(inner, f"{name}'s entry {entry!r}")
    boxes = {entry: Box(-np.inf, np.inf, flatten_space(inner).shape, np.float32) for entry, inner in vectors.items()}
    named = {entry: boxes.get(entry, inner) for entry, inner in space.spaces.items()}
    return TransformObservation(env, partial(_flatten_vectors, vectors=vectors), Dict(named))


def _as_vector(env: gymnasium.Env, name: str) -> gymnasium.Env:
    """Everything that the environment observes as one vector, "state"."""
    _check_flattenable(env.observation_space, name)
    flat = FlattenObservation(env)
    vector = Box(-np.inf, np.inf, flat.observation_space.shape, np.float32)
    return TransformObservation(flat, _as_state, Dict({"state": vector}))


def _check_flattenable(space: Space, name: str) -> None:
    if not space.is_np_flattenable:
        raise ValueError(
            f"env: {name} has the observation space {space}, which is no fixed number of numbers. "
            "Use obs=pixels, or wrap it."
        )


def _as_image(observation: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": observation}


def _as_state(observation: np.ndarray) -> dict[str, np.ndarray]:
    return {"state": observation.astype(np.float32)}


def _flatten_vectors(observation: dict[str, Any], *, vectors: dict[str, Space]) -> dict[str, Any]:
    flat = {name: np.asarray(flatten(space, observation[name]), np.float32) for name, space in vectors.items()}
    return {name: flat.get(name, value) for name, value in observation.items()}
