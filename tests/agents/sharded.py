"""Agents and replay with their batch split over two devices, against the same on one; needs a process that has two.

What is to be checked is given as AGENT:CHECK.
"""

import functools
import sys

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from agents.test_conformance import SMALLEST, get_case
from latentplan.replay.ring import ReplayConfig, make_replay
from latentplan.types import Batch, Sample

ENVS = 4


def on(*axes):
    """Over both devices along the axis that is called "batch"."""
    return NamedSharding(Mesh(np.array(jax.devices()), ("batch",)), PartitionSpec(*axes))


def assert_close(found, expected):
    close = functools.partial(np.testing.assert_allclose, rtol=5e-3, atol=5e-3)
    jax.tree.map(close, jax.device_get(found), jax.device_get(expected))


def check_learning(case):
    """Sampling, update and priorities as one program, with the sample split by windows."""
    config = ReplayConfig(capacity=32, batch_size=4, batch_length=5, priority_exponent=0.6 * (case.name == "tdmpc"))
    replay = make_replay(config, case.spec)
    records = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(-1, *x.shape[2:]), case.batch())
    memory = replay.add(replay.init(), records)
    windows = Sample(Batch(*[on(None, "batch")] * 6), on("batch"), on("batch"))

    def learn(state, memory, key, split):
        sample = replay.sample(memory, key)
        sample = jax.lax.with_sharding_constraint(sample, windows) if split else sample
        state, metrics = case.update(state, sample, key, case.agent.updates)
        if "priority" in metrics:
            memory = replay.reprioritise(memory, sample.indices, metrics["priority"])
        return sample, state.params, metrics, replay.priorities(memory)

    learn, inputs = jax.jit(learn, static_argnames="split"), (case.state, memory, jax.random.key(0))
    found = learn(*jax.device_put(inputs, on()), split=True)
    assert found[0].batch.action.sharding.is_equivalent_to(on(None, "batch"), 3)
    assert_close(found, learn(*inputs, split=False))


def check_acting(case):
    """Environments split over the devices."""
    act, key = jax.jit(functools.partial(case.agent.act, mode="explore")), jax.random.key(1)
    inputs = case.agent.initial(ENVS), case.observation(ENVS), np.ones(ENVS, bool)
    found = act(jax.device_put(case.state.params, on()), *jax.device_put(inputs, on("batch")), key)
    assert_close(found, act(case.state.params, *inputs, key))


def check_diagnostics(case):
    """Evidence split by episodes."""
    evidence, key = case.evidence(), jax.random.key(2)
    for measure in case.measures.values():
        found = measure(jax.device_put(case.state.params, on()), jax.device_put(evidence, on(None, "batch")), key)
        assert_close(found, measure(case.state.params, evidence, key))


CHECKS = {"learning": check_learning, "acting": check_acting, "diagnostics": check_diagnostics}


if __name__ == "__main__":
    members = {member[0]: member for member in SMALLEST}
    for chosen in sys.argv[1:]:
        agent, check = chosen.split(":")
        CHECKS[check](get_case(*members[agent]))
        print(chosen, flush=True)
