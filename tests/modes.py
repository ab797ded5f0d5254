"""What every agent does, diagnostics included, under modes of JAX that environment variables set; see test_modes."""

import sys

import jax
import jax.numpy as jnp
import numpy as np

from latentplan.agents import AGENTS, make_agent
from latentplan.presets import make_preset
from latentplan.types import Agent, Batch, EnvSpec, Evidence, Params, Sample

STEPS, WINDOWS = 3, 2
EPISODE = 20  # records: more than any horizon of the small agents
SPEC = EnvSpec.single((5,), action_size=2, max_decisions=20)


def windows(steps: int = STEPS) -> Batch:
    """One batch of NumPy arrays."""
    rng = np.random.default_rng(0)
    first, never = np.zeros((2, steps, WINDOWS), bool)
    first[0] = True
    observation = {"state": rng.normal(size=(steps, WINDOWS, 5)).astype(np.float32)}
    action = rng.uniform(-1, 1, (steps, WINDOWS, 2)).astype(np.float32)
    reward = rng.normal(size=(steps, WINDOWS)).astype(np.float32)
    return Batch(observation, action, reward, first, never, never)


def check(name: str, *, trace: bool) -> None:
    """Two decisions, which plan where the agent plans, and two updates; dtypes stay what they were."""
    call = jax.eval_shape if trace else lambda function, *inputs: function(*inputs)
    agent = make_agent(make_preset("debug", "cartpole_swingup", "state", agent=name).agent_config, SPEC)
    state, key = call(agent.init, jax.random.key(0)), jax.random.key(1)
    sample = Sample.uniform(jax.tree.map(jnp.asarray, windows()))
    observation, is_first = {"state": jnp.ones((1, 5), jnp.float32)}, jnp.ones(1, bool)
    for mode in ("explore", "eval") if trace else ("eval",):
        act = lambda *inputs, mode=mode: agent.act(*inputs, mode=mode)  # noqa: E731
        carry = agent.initial(1)
        action, after, infos = call(act, state.params, carry, observation, is_first, key)
        assert action.dtype == jnp.float32 and dtypes(after) == dtypes(carry), f"{name}, {mode}"
        assert trace or np.isfinite(action).all()
    if trace:
        check_diagnostics(agent, state.params, infos)
    for update in agent.updates.values():
        after, metrics = call(update, state, sample, key)
        assert dtypes(after) == dtypes(state), name
        assert trace or metrics["finite"] == 1


def check_diagnostics(agent: Agent, params: Params, infos: dict[str, jax.ShapeDtypeStruct]) -> None:
    """Every diagnostic measures something, and all numbers are float32."""
    told = {name: np.zeros((EPISODE, WINDOWS, *x.shape[1:]), x.dtype) for name, x in infos.items()}
    evidence = Evidence(windows(EPISODE), told)
    for name, diagnostic in agent.diagnostics.items():
        selected = diagnostic.select(evidence)
        assert selected is not None, name
        numbers = jax.eval_shape(diagnostic.measure, params, selected, jax.random.key(2)).numbers
        assert all(x.dtype == jnp.float32 for x in numbers.values()), (name, numbers)


def dtypes(tree):
    return [x.dtype for x in jax.tree.leaves(tree)]


if __name__ == "__main__":
    how, *names = sys.argv[1:]
    for name in names or sorted(AGENTS):
        check(name, trace=how == "trace")
        print(name, flush=True)
