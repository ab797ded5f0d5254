"""Starting a new run from another run's parameters."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import jax

from latentplan.config import ConfigError
from latentplan.driver.checkpoint import describe_leaves
from latentplan.driver.rng import stream_key
from latentplan.presets import Experiment
from latentplan.runs.run import Run
from latentplan.types import Agent, Params

Parts = Literal["all", "world_model"]


class Start(NamedTuple):
    """Parameters of a new run.

    Attributes:
        params: the new agent's parameters.
        message: where they come from, what was taken and what starts afresh.
    """

    params: Params
    message: str


def start_from(run: Run, agent: Agent, seed: int, *, parts: Parts = "all") -> Start:
    """Initialises an agent with another run's parameters, as of its newest checkpoint.

    Optimisers, target networks, schedules, counters and the replay memory are not taken.

    Args:
        run: the other run. Its agent may be of another kind, if its parameters have the same names and shapes.
        agent: of the new run.
        seed: of the new run; initialises what is not taken.
        parts: "all" takes every part (network) that both agents have; "world_model" only those of the world model, so
            that actor, critic or Q-functions start afresh.

    Returns:
        Start.

    Raises:
        ValueError: the agents have no part in common, or a part has other shapes.
    """
    fresh = jax.jit(agent.init)(stream_key(seed, "init")).params
    other, progress = run.restore()
    wanted = fresh if parts == "all" or agent.model is None else jax.eval_shape(agent.model.init, jax.random.key(0))
    taken = [name for name in wanted if name in other and name in fresh]
    if not taken:
        raise ConfigError(
            Experiment,
            "from_run",
            f"expected a run with some of the parts {', '.join(wanted)}, got {run.logdir}, which has "
            f"{', '.join(other)}; choose a run of the same agent",
        )
    for name in taken:
        _check_shapes(name, describe_leaves(fresh[name]), describe_leaves(other[name]), run)
    left = [name for name in fresh if name not in taken]
    message = f"from {run.logdir} at {progress.env_steps} env_steps: {', '.join(taken)}; afresh: "
    message += ", ".join([*left, "optimisers", "replay"])
    return Start(fresh | {name: other[name] for name in taken}, message)


def _check_shapes(part: str, expected: Mapping[str, str], got: Mapping[str, str], run: Run) -> None:
    for name in sorted(expected.keys() | got.keys()):
        one, other = expected.get(name, "nothing"), got.get(name, "nothing")
        if one != other:
            raise ConfigError(
                Experiment,
                "from_run",
                f"expected {part}{name} {one}, got {other} in {run.logdir}; give this run the model settings "
                "and the kind of environment of that one",
            )
