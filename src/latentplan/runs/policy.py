"""A trained agent for somebody's own control loop: as a Python object, or exported to a file that runs without us."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import ArrayLike

from latentplan.envs.boundary import described, received
from latentplan.types import Agent, Array, EnvSpec, Params

_TIMED_CALLS = 10


class StatefulPolicy:
    """Acts for one environment: remembers the belief, the last action and the plan between calls.

    Compiled once, when it is built, which also measures `latency_ms`.

    Args:
        agent: the agent.
        spec: of the environment, for which the agent was built.
        params: of the agent.
        seed: of the random numbers of planning.

    Attributes:
        latency_ms: median milliseconds per action on this machine.

    Examples:
        >>> policy = load_run("runs/walker_walk-planet-cpu-state-seed0").policy()  # doctest: +SKIP
        >>> action = policy(observation, is_first=True)  # doctest: +SKIP
    """

    def __init__(self, agent: Agent, spec: EnvSpec, params: Params, *, seed: int = 0) -> None:
        """See the class."""
        self._spec, self._params = spec, params
        self._boxes = {
            name: Box(-np.inf, np.inf, space.shape, np.float32)
            if space.dtype == "float32"
            else Box(0, 255, space.shape, np.uint8)
            for name, space in spec.observations.items()
        }
        self._start = _start(agent, seed)
        step = jax.jit(make_step(agent))
        zeros = {name: np.zeros(space.shape, space.dtype) for name, space in spec.observations.items()}
        self._step = step.lower(params, self._start, zeros, np.bool_(True)).compile()
        self._state = self._start
        self.latency_ms = self._measure(zeros)

    def __call__(self, observation: ArrayLike | Mapping[str, ArrayLike], is_first: bool = False) -> np.ndarray:
        """Selects the next action.

        Args:
            observation: by the names of the spec's observations; or the array alone, if there is only one.
            is_first: whether this is the first observation of an episode; the memory is then cleared.

        Returns:
            float32 [A] in [-1, 1], as `make_env`'s environments take it; one-hot for discrete actions.

        Raises:
            ValueError: an observation has another name, shape or dtype than the spec's, or a number that is not
                finite; or `is_first` is neither True nor False. The memory is then as before.
        """
        named, first = self._named(observation), _flag(is_first)
        action, self._state = self._step(self._params, self._state, named, first)
        return np.asarray(action)

    def reset(self) -> None:
        """Returns to the state in which the policy was built, random numbers included."""
        self._state = self._start

    def _named(self, observation: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
        spaces = self._spec.observations
        if not isinstance(observation, Mapping):
            observation = {next(iter(spaces)): observation} if len(spaces) == 1 else {"": observation}
        self._spec.check_names(observation)
        named = {name: received(self._boxes[name], observation[name], _refusal(name)) for name in spaces}
        for name, array in named.items():
            if not np.isfinite(array).all():
                where = np.argwhere(~np.isfinite(array))[0]
                raise ValueError(
                    f"observation {name}: expected finite numbers, got {array[tuple(where)]} at {where.tolist()}; the "
                    "policy would remember it until the episode's end"
                )
        return named

    def _measure(self, observation: dict[str, np.ndarray]) -> float:
        seconds, state = [], self._start
        for _ in range(_TIMED_CALLS):
            started = time.perf_counter()
            action, state = jax.block_until_ready(self._step(self._params, state, observation, np.bool_(False)))
            seconds.append(time.perf_counter() - started)
        return 1000 * float(np.median(seconds))


def _flag(is_first: object) -> np.bool_:
    flag = np.asarray(is_first)
    if flag.shape or flag.dtype.kind not in "biu":
        raise ValueError(f"is_first: expected True or False, got {described(is_first)}; give one for one observation")
    return np.bool_(flag[()])


def _refusal(name: str) -> Callable[[str, Any, object], ValueError]:
    def refuse(where: str, declared: Any, got: object) -> ValueError:
        return ValueError(
            f"observation {name}: expected {declared.dtype} {list(declared.shape)}, got {described(got)}; give one "
            "observation, as the training environment did"
        )

    return refuse


def export_policy(file: str | Path, agent: Agent, params: Params, spec: EnvSpec) -> int:
    """Writes the agent, with its parameters, as a program that runs with JAX alone, on CPU or CUDA.

    The program is a function (state, observation by name, is_first) -> (action [A], state); a state of zeros starts it:

        from jax import export

        program = export.deserialize(bytearray(open("policy.jax", "rb").read()))
        (state, observation, is_first), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
        state = jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), state)
        action, state = program.call(state, {"state": vector}, True)

    Args:
        file: to write; "~" is the home directory.
        agent: the agent.
        params: of the agent; they become part of the program.
        spec: of the environment.

    Returns:
        The size of the file in bytes.

    Raises:
        ModuleNotFoundError: flatbuffers is missing; it comes with the extra `export`.
    """
    import flatbuffers  # noqa: F401  # which serialize needs

    step = make_step(agent)
    start = _start(agent, 0)
    leaves, structure = jax.tree.flatten(start)

    def act(state: list[Array], observation: dict[str, Array], is_first: Array) -> tuple[Array, list[Array]]:
        action, after = step(params, jax.tree.unflatten(structure, state), observation, is_first)
        return action, jax.tree.leaves(after)

    spaces = {name: jax.ShapeDtypeStruct(space.shape, space.dtype) for name, space in spec.observations.items()}
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves]
    exported = jax.export.export(jax.jit(act), platforms=("cpu", "cuda"))(
        shapes, spaces, jax.ShapeDtypeStruct((), jnp.bool_)
    )
    data = exported.serialize()
    Path(file).expanduser().write_bytes(data)
    return len(data)


State = tuple[Any, Array, Array]
"""(the agent's carry for one environment, the data of the random key, the number of decisions)."""


def make_step(agent: Agent) -> Callable[..., tuple[Array, State]]:
    """Builds one decision for one environment, without exploration noise.

    Args:
        agent: the agent.

    Returns:
        (params, State, observation by name [*shape], is_first scalar bool) -> (action [A], State).
    """

    def step(params: Params, state: State, observation: dict[str, Array], is_first: Array) -> tuple[Array, State]:
        carry, seed, decision = state
        key = jax.random.fold_in(jax.random.wrap_key_data(seed), decision)
        rows = jax.tree.map(lambda x: jnp.asarray(x)[None], observation)
        action, carry, _ = agent.act(params, carry, rows, jnp.asarray(is_first)[None], key, mode="eval")
        return action[0], (carry, seed, decision + 1)

    return step


def _start(agent: Agent, seed: int) -> State:
    return agent.initial(1), jax.random.key_data(jax.random.key(seed)), jnp.int32(0)
