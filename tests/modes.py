"""Every agent's init, act and update, under whatever mode of JAX the environment variables set; run by test_modes."""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from latentplan.agents import AGENTS, make_agent
from latentplan.presets import make_preset
from latentplan.types import Batch, EnvSpec, Sample

STEPS, WINDOWS = 3, 2
SPEC = EnvSpec.single((5,), action_size=2, max_decisions=20)


def windows() -> Sample:
    """One batch."""
    rng = np.random.default_rng(0)
    first, never = np.zeros((2, STEPS, WINDOWS), bool)
    first[0] = True
    observation = {"state": rng.normal(size=(STEPS, WINDOWS, 5)).astype(np.float32)}
    action = rng.uniform(-1, 1, (STEPS, WINDOWS, 2)).astype(np.float32)
    reward = rng.normal(size=(STEPS, WINDOWS)).astype(np.float32)
    return Sample.uniform(jax.tree.map(jnp.asarray, Batch(observation, action, reward, first, never, never)))


def check(name: str, *, trace: bool) -> None:
    """Two decisions, which plan where the agent plans, and two updates; dtypes stay what they were."""
    call = jax.eval_shape if trace else lambda function, *inputs: function(*inputs)
    agent = make_agent(make_preset("debug", "cartpole_swingup", "state", agent=name).agent_config, SPEC)
    state, sample, key = call(agent.init, jax.random.key(0)), windows(), jax.random.key(1)
    observation, is_first = {"state": jnp.ones((1, 5), jnp.float32)}, jnp.ones(1, bool)
    for mode in ("explore", "eval") if trace else ("eval",):
        act = lambda *inputs, mode=mode: agent.act(*inputs, mode=mode)  # noqa: E731
        carry = agent.initial(1)
        action, after, _ = call(act, state.params, carry, observation, is_first, key)
        assert action.dtype == jnp.float32 and dtypes(after) == dtypes(carry), f"{name}, {mode}"
        assert trace or np.isfinite(action).all()
    for update in agent.updates.values():
        after, metrics = call(update, state, sample, key)
        assert dtypes(after) == dtypes(state), name
        assert trace or metrics["finite"] == 1


def dtypes(tree):
    return [x.dtype for x in jax.tree.leaves(tree)]


if __name__ == "__main__":
    how, *names = sys.argv[1:]
    for name in names or sorted(AGENTS):
        check(name, trace=how == "trace")
        print(name, flush=True)
