"""Running episodes: environments in lock-step, with one policy call per decision for all of them."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from latentplan.driver.compilation import compiled
from latentplan.driver.timing import Stopwatch
from latentplan.envs.workers import StepResult, Workers
from latentplan.types import Agent, Array, Batch, EnvSpec, Key, Params, Trajectory


class Policy(NamedTuple):
    """An acting policy.

    Attributes:
        initial: (num_envs) -> carry.
        act: (carry, observation, is_first, keys [num_envs], decision) -> (action [num_envs, A], carry, info). A row
            depends on its own key only, so an episode does not depend on how many run side by side.
    """

    initial: Callable[[int], Any]
    act: Callable[..., tuple[Array, Any, dict[str, Array]]]


def random_policy(spec: EnvSpec) -> Policy:
    """Uniform actions in [-1, 1], or uniform discrete ones, as in PlaNet's seed episodes."""

    def draw(key: Key, decision: int) -> Array:
        key, size = jax.random.fold_in(key, decision), spec.action_size
        if spec.discrete:
            return jax.nn.one_hot(jax.random.randint(key, (), 0, size), size)
        return jax.random.uniform(key, (size,), minval=-1.0)

    def act(carry: None, observation: dict[str, np.ndarray], is_first: np.ndarray, keys: Key, decision: int):
        return jax.vmap(draw, (0, None))(keys, decision), carry, {}

    return Policy(lambda num_envs: None, act)


def compile_act(agent: Agent, mode: str) -> jax.stages.Wrapped:
    """`agent.act` jitted for a mode, with a key per environment, into which each decision folds its index.

    Args:
        agent: the agent.
        mode: "explore" or "eval". Infos are returned in mode "eval" only.

    Returns:
        (params, carry, observation, is_first, keys [num_envs], decision) -> (action, carry, info).
    """

    def act(params: Params, carry: Any, observation: dict[str, Array], is_first: Array, keys: Key, decision: Array):
        def row(inputs: Any, key: Key) -> tuple[Array, Any, dict[str, Array]]:
            alone = jax.tree.map(lambda x: x[None], inputs)
            return jax.tree.map(lambda x: x[0], agent.act(params, *alone, jax.random.fold_in(key, decision), mode=mode))

        inputs: Any = carry, observation, is_first
        if len(is_first) == 1:
            action, carry, info = agent.act(params, *inputs, jax.random.fold_in(keys[0], decision), mode=mode)
        else:
            action, carry, info = jax.vmap(row)(inputs, keys)
        return action, carry, info if mode == "eval" else {}

    return compiled(act)


def precompile_act(agent: Agent, spec: EnvSpec, num_envs: int, params: Params, mode: str) -> jax.stages.Compiled:
    """`compile_act`, compiled ahead of time for a number of environments.

    Args:
        agent: the agent.
        spec: of the environment.
        num_envs: number of environments.
        params: of the agent; used for their shapes only.
        mode: "explore" or "eval".

    Returns:
        The compiled program, for `agent_policy`.
    """
    rows = _groups(num_envs)[0].stop
    observation = {name: np.zeros((rows, *space.shape), space.dtype) for name, space in spec.observations.items()}
    carry, is_first, keys = agent.initial(rows), np.ones(rows, bool), jax.random.split(jax.random.key(0), rows)
    return compile_act(agent, mode).lower(params, carry, observation, is_first, keys, jnp.int32(0)).compile()


def agent_policy(agent: Agent, params: Callable[[], Params], act: Callable) -> Policy:
    """The agent as a policy.

    Args:
        agent: acts.
        params: the parameters of the next decision.
        act: from `compile_act`.

    Returns:
        The policy.
    """

    def initial(num_envs: int) -> list[Any]:
        return [agent.initial(group.stop - group.start) for group in _groups(num_envs)]

    def act_in_groups(
        carries: list[Any], observation: dict[str, np.ndarray], is_first: np.ndarray, keys: Key, decision: Array
    ) -> tuple[Array, list[Any], dict[str, Array]]:
        ran = []
        for before, group in zip(carries, _groups(len(is_first)), strict=True):
            whole = group.stop - group.start == len(is_first)
            rows = {name: x[group] for name, x in observation.items()}
            ran.append(act(params(), before, rows, is_first[group], keys if whole else keys[group], decision))
        actions, after, infos = zip(*ran, strict=True)
        if len(ran) == 1:
            return actions[0], list(after), infos[0]
        return jnp.concatenate(actions), list(after), jax.tree.map(lambda *x: jnp.concatenate(x), *infos)

    return Policy(initial, act_in_groups)


def _groups(num_envs: int) -> list[slice]:
    """The environments that are acted for in one call: all, or one by one on CPU, where a batch is not faster.

    There, every environment is acted for by the same program, with the same rounding, however many there are.
    """
    alone = jax.default_backend() == "cpu"
    return [slice(i, i + 1) for i in range(num_envs)] if alone else [slice(0, num_envs)]


def run_episodes(
    workers: Workers,
    policy: Policy,
    seeds: Sequence[int],
    keys: Key,
    *,
    on_decision: Callable[[], None] = lambda: None,
    on_record: Callable[[Batch], None] | None = None,
    stopwatch: Stopwatch | None = None,
) -> list[Trajectory]:
    """Runs one episode in every environment until all have ended, however long that takes.

    The records are held in memory until then, as many per environment as the longest of the episodes has.

    Args:
        workers: the environments.
        policy: the acting policy.
        seeds: one per environment.
        keys: [num_envs], one per episode; each decision folds in its index.
        on_decision: called before every decision; may raise to stop.
        on_record: called with the newest record of every environment, [num_envs, ...] each, as soon as it is there.
        stopwatch: accumulates seconds of "act" (until the action is on the host) and "step" (physics and rendering).

    Returns:
        One Trajectory of NumPy arrays per environment, in order: n + 1 records and the policy's infos at n decisions.
    """
    num_envs, spec = workers.num_envs, workers.spec
    stopwatch = stopwatch or Stopwatch()
    with stopwatch("step"):
        observation = workers.reset(seeds)
    nothing = np.zeros(num_envs, bool)
    steps = [StepResult(observation, np.zeros(num_envs, np.float32), nothing, nothing)]
    actions = [np.zeros((num_envs, spec.action_size), np.float32)]
    carry, infos = policy.initial(num_envs), []
    if on_record:
        on_record(_newest(steps, actions, spec.max_decisions))
    for decision in itertools.count() if spec.max_decisions is None else range(spec.max_decisions):
        on_decision()
        is_first = np.full(num_envs, decision == 0)
        with stopwatch("act"):
            action, carry, info = policy.act(carry, steps[-1].observation, is_first, keys, jnp.int32(decision))
            actions.append(np.asarray(action))
            infos.append(info)
        with stopwatch("step"):
            steps.append(workers.step(actions[-1]))
        if on_record:
            on_record(_newest(steps, actions, spec.max_decisions))
        if steps[-1].is_last.all():
            break
    side_by_side = lambda *x: np.stack(x, 1)  # noqa: E731  # [num_envs, n + 1, ...]
    every = jax.tree.map(side_by_side, *steps), np.stack(actions, 1), jax.tree.map(side_by_side, *jax.device_get(infos))
    return [_cut(*jax.tree.map(lambda x, i=i: x[i], every)) for i in range(num_envs)]


def _newest(steps: list[StepResult], actions: list[np.ndarray], max_decisions: int | None) -> Batch:
    """The newest record of every environment, [num_envs, ...] each, as `_cut` makes it of the whole episode."""
    newest, decisions = steps[-1], len(steps) - 1
    is_last = newest.is_last | (decisions == max_decisions)
    return Batch(
        observation=newest.observation,
        action=actions[-1].astype(np.float32),
        reward=newest.reward,
        is_first=np.full_like(is_last, decisions == 0),
        is_last=is_last,
        is_terminal=newest.is_terminal & is_last,
    )


def _cut(steps: StepResult, actions: np.ndarray, infos: dict[str, np.ndarray]) -> Trajectory:
    """One environment's episode up to its own end, truncated at the time limit."""
    ended = np.flatnonzero(steps.is_last)
    length = int(ended[0]) + 1 if len(ended) else len(actions)
    first, last = np.arange(length) == 0, np.arange(length) == length - 1
    batch = Batch(
        observation={name: x[:length] for name, x in steps.observation.items()},
        action=actions[:length].astype(np.float32),
        reward=steps.reward[:length],
        is_first=first,
        is_last=last,
        is_terminal=steps.is_terminal[:length] & last,
    )
    return Trajectory(batch, {name: x[: length - 1] for name, x in infos.items()})


def evaluate(
    workers: Workers,
    policy: Policy,
    seeds: Sequence[int],
    key: Key,
    *,
    on_decision: Callable[[], None] = lambda: None,
    stopwatch: Stopwatch | None = None,
) -> list[Trajectory]:
    """Runs one episode per seed, `workers.num_envs` at a time.

    Args:
        workers: the environments.
        policy: the acting policy, without exploration noise.
        seeds: one per episode.
        key: for the planner; every episode folds in its index.
        on_decision: called before every decision; may raise to stop.
        stopwatch: as in `run_episodes`.

    Returns:
        One Trajectory per seed, the same for any number of environments.
    """
    trajectories: list[Trajectory] = []
    while len(trajectories) < len(seeds):
        # In the last round, environments without an episode of their own repeat the last one.
        first = len(trajectories)
        episodes = np.minimum(np.arange(first, first + workers.num_envs), len(seeds) - 1)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, episodes)
        ran = run_episodes(
            workers, policy, [seeds[i] for i in episodes], keys, on_decision=on_decision, stopwatch=stopwatch
        )
        trajectories += ran[: len(seeds) - first]
    return trajectories


def cut_message(trajectories: Sequence[Trajectory], max_decisions: int | None) -> str:
    """A line for the user if `EnvConfig.max_decisions` has cut an episode off; else the empty string."""
    ends = ((len(one.batch.reward) - 1, bool(one.batch.is_terminal[-1])) for one in trajectories)
    if max_decisions is None or (max_decisions, False) not in ends:
        return ""
    return (
        f"an episode was cut off after {max_decisions} decisions, as max_decisions says; it counts as truncated, not "
        "as terminated"
    )


def episode_return(episode: Batch) -> float:
    """The sum of an episode's rewards, in the environment's units."""
    return float(np.sum(episode.reward, dtype=np.float64))


def rerender_episode(workers: Workers, episode: Batch, seed: int) -> np.ndarray:
    """Renders an episode that was run from state vectors by repeating its actions in an environment with pixels.

    Args:
        workers: one environment with pixels.
        episode: the recorded episode.
        seed: with which it was reset.

    Returns:
        [n + 1, height, width, 3] uint8.
    """
    (name, *_) = workers.spec.images
    first = workers.reset([seed])[name][0]
    return np.stack([first, *(workers.step(action[None]).observation[name][0] for action in episode.action[1:])])
