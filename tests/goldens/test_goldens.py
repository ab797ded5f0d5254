"""The library against stored inputs, stored noise and stored results of an independent NumPy implementation.

Noise is put in where the library draws it, so that no result depends on how keys become numbers.
"""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.agents.planet import LossConfig, PlaNetConfig, make_loss
from latentplan.models.dynamics import DynamicsConfig
from latentplan.models.rssm import make_rssm
from latentplan.models.world_model import WorldModelConfig, make_world_model
from latentplan.planners.cem import CEMConfig, make_cem
from latentplan.types import Batch, Belief, EnvSpec

_spec = importlib.util.spec_from_file_location("make_goldens", Path(__file__).parent / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)

SIZES = {"deter": make.DETER, "stoch": make.STOCH, "hidden": make.HIDDEN, "layers": 1, "min_std": make.MIN_STD}


@pytest.fixture
def inject(monkeypatch):
    """(arrays): the draws of `jax.random.normal`, in order; scans run as loops so that each step has its own.

    Afterwards, all must have been used.
    """
    queue: list[np.ndarray] = []

    def normal(key, shape=(), dtype=jnp.float32):
        return jnp.asarray(queue.pop(0), dtype).reshape(shape)

    monkeypatch.setattr(jax.random, "normal", normal)
    with jax.disable_jit():
        yield queue.extend
    assert not queue


@pytest.mark.parametrize("name", sorted(make.make_inputs()))
def test_numpy_still_gives_the_stored_results(name):
    stored = make.load(name)
    for key, value in make.recompute(name, stored).items():
        np.testing.assert_allclose(value, stored[key], rtol=1e-5, atol=1e-7)


def test_rssm_step(inject):
    stored = make.load("rssm")
    x = {key: jax.tree.map(jnp.asarray, value) for key, value in stored.items()}
    inject([stored["noise"]])
    dynamics = make_rssm(DynamicsConfig(**SIZES), make.EMBED, make.ACTION)
    belief, (posterior, prior) = dynamics.observe_step(
        x["params"], Belief(x["deter"], x["stoch"]), x["action"], x["embed"], x["is_first"], jax.random.key(0)
    )
    got = (*belief, *posterior, *prior)
    names = ("deter", "stoch", "posterior_mean", "posterior_std", "prior_mean", "prior_std")
    for key, value in zip(names, got, strict=True):
        np.testing.assert_allclose(value, stored[f"expected_{key}"], rtol=1e-4, atol=1e-5, err_msg=key)


def test_planet_loss_with_every_term(inject):
    stored = make.load("planet_loss")
    x = {key: jax.tree.map(jnp.asarray, value) for key, value in stored.items()}
    inject([*stored["filter_noise"], *stored["overshoot_noise"]])
    heads = {"reward_hidden": make.HIDDEN, "reward_layers": 1, "vector_hidden": make.HIDDEN, "vector_layers": 1}
    config = WorldModelConfig(**SIZES, **heads, vector_std=make.VECTOR_STD)
    model = make_world_model(config, EnvSpec.single((make.OBSERVATION,), action_size=make.ACTION))
    loss = make_loss(PlaNetConfig(model=config, loss=LossConfig(**make.LOSS)), model)
    fields = (x[name] for name in ("action", "reward", "is_first"))
    never = jnp.zeros((make.STEPS, make.BATCH), bool)
    batch = Batch({"state": x["observation"]}, *fields, is_last=never, is_terminal=never)
    total, metrics = loss(x["params"], batch, jax.random.key(0), jnp.int32(0))
    np.testing.assert_allclose(total, stored["expected_loss"], rtol=1e-5)
    assert 0 < metrics["kl_free_share"] < 1  # both sides of the free nats are in it


def test_cem_plan(inject):
    stored = make.load("cem")
    assert stored["expected_margin"].min() > 1e-3  # float32 picks the same elites
    inject(stored["noise"])

    def evaluate(params, belief, actions, key):
        weight, frequency, phase = (jnp.asarray(stored[name])[:, None] for name in ("weight", "frequency", "phase"))
        return jnp.sum(weight * jnp.cos(frequency * actions + phase), (0, 2))

    config = CEMConfig(
        horizon=make.HORIZON,
        num_iterations=make.ITERATIONS,
        num_candidates=make.CANDIDATES,
        num_elites=make.ELITES,
        min_std=make.CEM_MIN_STD,
    )
    output = make_cem(config, make.ACTION, evaluate)(None, None, jax.random.key(0))
    np.testing.assert_allclose(output.plan, stored["expected_plan"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(output.action, output.plan[0])
