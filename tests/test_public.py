"""The front door: what `import latentplan as lp` gives, and that it costs nothing before it is used."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import latentplan as lp

PACKAGE = Path(lp.__file__).parent
NAMES = {
    # records
    "Agent", "ArraySpec", "Batch", "Belief", "EnvSpec", "PlanOutput", "Planner", "Sample", "TrainState", "WorldModel",
    # models
    "DecoderFreeConfig", "WorldModelConfig", "imagine", "make_decoder_free", "make_world_model", "observe",
    # planners
    "CEMConfig", "GradientConfig", "ICEMConfig", "MPPIConfig", "ShootingConfig", "make_planner", "model_returns",
    # agents
    "DreamerV1Config", "DreamerV2Config", "DreamerV3Config", "PlaNetConfig", "TDMPC2Config", "TDMPCConfig",
    "make_agent",
    # losses
    "ElboTerms", "distributions", "elbo", "lambda_returns", "latent_overshooting", "overshoot",
    # environments
    "EnvConfig", "make_env",
    # runs on disk
    "Run", "load_run",
}  # fmt: skip


def test_the_public_names_are_these():
    assert set(lp.__all__) == NAMES | {"__version__"}
    assert dir(lp) == lp.__all__
    assert all(getattr(lp, name) is not None for name in lp.__all__)


def test_type_checkers_are_told_the_same_names_under_the_same_names():
    stub = ast.parse((PACKAGE / "__init__.pyi").read_text())
    aliases = [alias for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert all(alias.name == alias.asname for alias in aliases)  # what is not renamed to itself is private in a stub
    assert {alias.name for alias in aliases} == NAMES
    assert (PACKAGE / "py.typed").exists()


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_says_what_it_is(name):
    value = getattr(lp, name)
    text = inspect.getdoc(value) or ""
    assert len(text.splitlines()[0]) > 15 and not text.startswith(f"{name}(")  # dataclasses write such a one
    if inspect.isfunction(value):
        assert "Args:" in text and "Returns:" in text
        for argument in inspect.signature(value).parameters:
            assert f"{argument}:" in text or f"{argument}, " in text, argument
    if name.startswith("make_") or name in ("load_run", "model_returns"):
        assert ">>>" in text


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'latentplan' has no attribute 'make_plan'"):
        lp.make_plan()
    with pytest.raises(ImportError, match="make_plan"):
        from latentplan import make_plan  # noqa: F401


def test_importing_the_package_loads_nothing_heavy():
    heavy = "{'jax', 'numpy', 'gymnasium', 'flax', 'tyro'} & sys.modules.keys()"
    program = f"import sys, latentplan; assert latentplan.__all__ and dir(latentplan); print({heavy})"
    program += "; latentplan.EnvConfig; print('jax' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[:2] == ["set()", "False"]


def test_a_version_is_given():
    assert lp.__version__[0].isdigit() or lp.__version__ == "unknown"


def test_a_model_is_planned_over_with_public_names_alone(tiny_model_config):
    spec = lp.EnvSpec.single((5,), action_size=2, action_repeat=1, max_decisions=None)
    model = lp.make_world_model(tiny_model_config(), spec)
    config = lp.CEMConfig(horizon=3, num_candidates=20, num_elites=4, num_iterations=2)
    planner = lp.make_planner(config, spec.action_size, lp.model_returns(model))
    params = model.init(jax.random.key(0))
    planned = planner(params, model.initial(()), jax.random.key(1))
    assert isinstance(planner, lp.Planner) and planned.plan.shape == (3, 2)
    returns = lp.model_returns(model, discount=0.5)
    beliefs, _ = lp.imagine(model, params, model.initial((1,)), planned.plan[:, None], jax.random.key(2))
    assert beliefs.deter.shape == (3, 1, 8)
    assert returns(params, model.initial(()), planned.plan[:, None], jax.random.key(2)).shape == (1,)


def test_model_returns_counts_steps_by_the_predicted_probability_of_reaching_them(tiny_model_config, numpy_params):
    """Against a loop over the steps, for a deterministic model with and without a termination head."""
    spec = lp.EnvSpec.single((5,), action_size=2, action_repeat=1, max_decisions=None)
    for predicts in (False, True):
        model = lp.make_world_model(tiny_model_config(kind="rnn", predict_terminal=predicts), spec)
        params, key = numpy_params(model.init), jax.random.key(3)
        actions = jax.random.uniform(jax.random.key(4), (4, 6, 2), minval=-1.0)
        value = lambda params, belief, key: jnp.sum(belief.deter, -1)  # noqa: E731
        got = lp.model_returns(model, discount=0.9, value=value)(params, model.initial(()), actions, key)
        belief, weight, total = model.initial((6,)), jnp.ones(6), jnp.zeros(6)
        for action in actions:
            belief, _ = model.imagine_step(params, belief, action, key)
            total += weight * model.reward(params, belief).mean[..., 0]
            weight *= 0.9
            if predicts:
                weight *= jax.nn.sigmoid(-model.terminal(params, belief))
        np.testing.assert_allclose(got, total + weight * jnp.sum(belief.deter, -1), rtol=1e-5)
