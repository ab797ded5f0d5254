"""The front door: what `import latentplan as lp` gives, and that it costs nothing before it is used."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import jaxtyping
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
    "CEMConfig", "GradientConfig", "ICEMConfig", "MPPIConfig", "ShootingConfig", "for_each_belief", "make_planner",
    "model_returns", "sum_of_rewards",
    # agents
    "DreamerV1Config", "DreamerV2Config", "DreamerV3Config", "PlaNetConfig", "TDMPC2Config", "TDMPCConfig",
    "make_agent",
    # losses
    "ElboTerms", "distributions", "elbo", "lambda_returns", "latent_overshooting", "overshoot",
    # environments
    "EnvConfig", "make_env",
    # what is registered, and how more is
    "AGENTS", "DIAGNOSTICS", "DYNAMICS", "PLANNERS", "PRESETS", "SUITES", "Diagnostic", "Measurement", "Suite",
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
    for name, hint in {
        "make_cem": r"; use lp.make_planner\(lp.CEMConfig\(\), action_size, evaluate\)",
        "make_dreamer_v1": r"; use lp.make_agent\(lp.DreamerV1Config\(\), spec\)",
        "CEMconfig": r"; did you mean CEMConfig\?",
    }.items():
        with pytest.raises(AttributeError, match=f"no attribute '{name}'{hint}$"):
            getattr(lp, name)
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


WRONG = {
    "config: expected WorldModelConfig, got an EnvSpec; the config": lambda c, s, m: lp.make_world_model(s, c),
    "spec: expected EnvSpec, got a str": lambda c, s, m: lp.make_world_model(c, "walker_walk"),
    "shape: expected a tuple such as .*, got 5": lambda c, s, m: lp.EnvSpec.single(5, action_size=2),
    "action_size: expected a whole number, at least 1, got 0": lambda c, s, m: lp.EnvSpec.single((5,), action_size=0),
    r"initial: expected a batch_shape such as \(3,\), .* got 3": lambda c, s, m: m.initial(3),
    r"preprocess: observation state: expected \[..., 5\], got \(2, 4\)": lambda c, s, m: m.preprocess(
        {"state": jnp.zeros((2, 4))}, KEY
    ),
    r"encode: observation state: expected \[..., 5\], got \(2, 4\); give": lambda c, s, m: m.encode(
        None, {"state": jnp.zeros((2, 4))}
    ),
    r"observe: actions: expected \[10, 4, size\], got \(4, 10, 2\)": lambda c, s, m: observed(m, (4, 10, 2)),
    r"observe_step: action: expected \[..., 2\], got \(4, 3\)": lambda c, s, m: observed(m, (10, 4, 3)),
    r"observe_step: embed: expected \[..., 8\], got \(4, 7\)": lambda c, s, m: observed(m, (10, 4, 2), embed=7),
    r"observe: belief: expected \[4, ...\], got \(3, 8\)": lambda c, s, m: observed(m, (10, 4, 2), batch=3),
    r"imagine: belief: expected \[3, ...\], got \(4, 8\)": lambda c, s, m: imagined(m, (10, 3, 2)),
    r"imagine_step: action: expected \[..., 2\], got \(4, 1\)": lambda c, s, m: imagined(m, (10, 4, 1)),
    "model: expected WorldModel, got the function imagined; a function": lambda c, s, m: lp.model_returns(imagined),
}
"""What is said -> (config, spec, model) -> the mistake."""
KEY = jax.random.key(0)


def observed(model, actions, embed=8, batch=4):
    sequence = jnp.zeros(actions), jnp.zeros((10, 4, embed)), jnp.zeros((10, 4), bool)
    return lp.observe(model, None, model.initial((batch,)), *sequence, KEY)


def imagined(model, actions):
    return lp.imagine(model, None, model.initial((4,)), jnp.zeros(actions), KEY)


@pytest.mark.parametrize("message", WRONG)
def test_what_does_not_fit_is_told_in_the_librarys_words(message, tiny_model_config, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' own check of types comes first
    config, spec = tiny_model_config(), lp.EnvSpec.single((np.int64(5),), action_size=np.int64(2))
    with pytest.raises(ValueError, match=f"^{message}"):
        WRONG[message](config, spec, lp.make_world_model(config, spec))
