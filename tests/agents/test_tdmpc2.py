"""TD-MPC2's losses against NumPy, its sizes against the paper, and that it learns one batch by heart."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.windows import SPEC, along_rollout, make_batch, make_sample, noisy
from latentplan import presets
from latentplan.agents.tdmpc.v2 import (
    TDMPC2Config,
    TDMPC2LossConfig,
    TDMPC2OptimizerConfig,
    make_model_loss,
    make_optimizers,
    make_policy_loss,
    make_tdmpc2,
)
from latentplan.diagnostics.prediction import multi_step_errors
from latentplan.models.decoder_free import DecoderFreeConfig, make_decoder_free
from latentplan.nets.conv_world_models import make_conv_encoder
from latentplan.nets.network import Style
from latentplan.types import EnvSpec

# With no dropout, a policy of little spread and two Q-functions hardly anything random is left.
SIZES = dict(latent=8, hidden=8, encoder_hidden=8, simplex=4, num_q=2, num_bins=21, dropout=0.0, predict_terminal=True)
SURE = TDMPC2Config(model=DecoderFreeConfig(min_log_std=-9.0, max_log_std=-8.9, **SIZES))
DEEP = DecoderFreeConfig(conv="world_models", conv_depth=4, latent=8, hidden=8, simplex=4)
BINS = np.linspace(-10, 10, 21)


class NumpyModel:
    """The networks once more, in NumPy, float64."""

    def __init__(self, params):
        self.params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    @staticmethod
    def mlp(params, x, simplex=False):
        def norm(x, p):
            deviation = x - x.mean(-1, keepdims=True)
            return deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]

        layers = sum(name.startswith("Dense") for name in params)
        for i in range(layers):
            x = x @ params[f"Dense_{i}"]["kernel"] + params[f"Dense_{i}"]["bias"]
            if i < layers - 1:
                x = norm(x, params[f"LayerNorm_{i}"])
                x = x * np.tanh(np.log1p(np.exp(x)))  # mish
        if simplex:
            x = np.exp(norm(x, params[f"LayerNorm_{layers - 1}"]))
            groups = x.reshape(*x.shape[:-1], -1, 4)
            x = (groups / groups.sum(-1, keepdims=True)).reshape(x.shape)
        return x

    def encode(self, observation):
        return self.mlp(self.params["encoder"], observation, simplex=True)

    def next(self, z, a):
        return self.mlp(self.params["dynamics"], np.concatenate([z, a], -1), simplex=True)

    def reward(self, z, a):
        return self.mlp(self.params["reward"], np.concatenate([z, a], -1))

    def terminal(self, z):
        return self.mlp(self.params["terminal"], z)[..., 0]

    def q(self, z, a, params=None):
        params = self.params["q"] if params is None else jax.tree.map(lambda x: np.asarray(x, np.float64), params)
        members = [jax.tree.map(lambda x, i=i: x[i], params) for i in range(2)]
        return np.stack([self.mlp(member, np.concatenate([z, a], -1)) for member in members])

    def act(self, z):
        return np.tanh(self.mlp(self.params["policy"], z)[..., :2])


def symlog(x):
    return np.sign(x) * np.log1p(np.abs(x))


def number(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    x = (p / p.sum(-1, keepdims=True)) @ BINS
    return np.sign(x) * np.expm1(np.abs(x))


def soft_cross_entropy(logits, target):
    log_p = logits - logits.max(-1, keepdims=True)
    log_p = log_p - np.log(np.exp(log_p).sum(-1, keepdims=True))
    total = np.zeros(target.shape)
    for index in np.ndindex(target.shape):
        place = np.clip(symlog(target[index]), -10, 10) + 10  # bins are 1 apart
        low = min(int(place), 19)
        total[index] = -((1 - (place - low)) * log_p[index][low] + (place - low) * log_p[index][low + 1])
    return total


@pytest.fixture(scope="module")
def setup():
    model = make_decoder_free(SURE.model, SPEC)
    params = noisy(model.init(jax.random.key(0)))
    target_q = noisy(params["q"], seed=7)
    batch = jax.tree.map(jnp.asarray, make_batch())
    rest = {name: part for name, part in params.items() if name != "policy"}
    loss, (metrics, latents, valid) = make_model_loss(SURE, model, 0.9)(
        rest, params["policy"], target_q, batch, jax.random.key(1)
    )
    return model, params, target_q, batch, loss, metrics, latents, valid


def test_the_models_losses_are_numpys(setup):
    _, params, target_q, batch, loss, metrics, latents, valid = setup
    numpy = NumpyModel(params)
    observation, action, reward = (np.asarray(x, np.float64) for x in (batch.observation["state"], *batch[1:3]))
    ended, is_first = batch.is_terminal[1:], batch.is_first
    expected_valid = np.array([[True, True, True], [True, False, True], [True, False, True]])
    assert is_first[2, 1] and np.array_equal(valid, expected_valid)

    targets = numpy.encode(observation[1:])
    values = number(numpy.q(targets, numpy.act(targets), target_q)).min(0)
    goals = reward[1:] + 0.9 * np.where(ended, 0, values)
    z = [numpy.encode(observation[0])]
    for t in range(3):
        z.append(numpy.next(z[-1], action[t + 1]))
    z = np.stack(z)
    np.testing.assert_allclose(latents, z, atol=1e-5)
    q = numpy.q(z[:-1], action[1:])
    terminal = numpy.terminal(z[1:])
    expected = {
        "consistency": along_rollout(((z[1:] - targets) ** 2).mean(-1), expected_valid),
        "reward": along_rollout(soft_cross_entropy(numpy.reward(z[:-1], action[1:]), reward[1:]), expected_valid),
        "value": along_rollout((soft_cross_entropy(q[0], goals) + soft_cross_entropy(q[1], goals)) / 2, expected_valid),
        "terminal": np.mean(
            [(np.log1p(np.exp(x)) - y * x)[v].mean() for x, y, v in zip(terminal, ended, expected_valid, strict=True)]
        ),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[f"{name}_loss"], value, rtol=1e-3, err_msg=name)
    weighed = 20 * expected["consistency"] + 0.1 * expected["reward"] + 0.1 * expected["value"] + expected["terminal"]
    np.testing.assert_allclose(loss, weighed, rtol=1e-3)
    np.testing.assert_allclose(metrics["value_target"], goals.mean(), rtol=1e-3)


def test_the_policys_loss_is_numpys(setup):
    model, params, _, _, _, _, latents, valid = setup
    rest = {name: part for name, part in params.items() if name != "policy"}
    loss, (metrics, scale) = make_policy_loss(SURE, model)(
        params["policy"], rest, latents, valid, jnp.float32(3.0), jax.random.key(2)
    )
    numpy = NumpyModel(params)
    z = np.asarray(latents, np.float64)
    values = number(numpy.q(z, numpy.act(z))).mean(0)
    spread = max(np.percentile(values[0], 95) - np.percentile(values[0], 5), 1.0)
    np.testing.assert_allclose(scale, 3.0 + 0.01 * (spread - 3.0), rtol=1e-5)
    valid = np.concatenate([np.ones((1, 3), bool), valid])
    # log-density of a draw: -log std - log sqrt(2 pi) - noise^2 / 2, so its mean over draws is known up to the noise
    log_std = -9.0 + 0.05 * (1 + np.tanh(numpy.mlp(numpy.params["policy"], z)[..., 2:]))
    entropy = (log_std + 0.5 * np.log(2 * np.pi * np.e)).sum(-1)
    assert abs(metrics["policy_entropy"] - entropy.mean()) < 1.0
    without = along_rollout(-values / float(scale), valid)
    np.testing.assert_allclose(loss, without - 1e-4 * 2 * along_rollout(entropy, valid), atol=5e-4)


def test_gradients_of_the_policys_entropy_are_those_of_its_spread_alone():
    """d entropy / d log_std is 1 per dimension, whatever was drawn; the mean does not change it."""
    model = make_decoder_free(SURE.model, SPEC)
    params = noisy(model.init(jax.random.key(0)))
    rest = {name: jax.tree.map(jnp.zeros_like, part) for name, part in params.items() if name != "policy"}
    latents, valid = jnp.ones((1, 5, 8)) / 4, jnp.zeros((0, 5), bool)

    def entropy_loss(bias):
        last = params["policy"]["Dense_2"]
        policy = params["policy"] | {"Dense_2": {"kernel": jnp.zeros_like(last["kernel"]), "bias": bias}}
        return make_policy_loss(SURE, model)(policy, rest, latents, valid, jnp.float32(1.0), jax.random.key(0))[0]

    gradient = jax.grad(entropy_loss)(jnp.zeros(4))
    slope = 0.05  # of log_std in the network's output, at zero
    np.testing.assert_allclose(gradient, [0, 0, -2e-4 * slope, -2e-4 * slope], atol=1e-8)


def test_nothing_after_an_episodes_end_counts(setup):
    model, params, target_q, batch, loss, *_ = setup
    rest = {name: part for name, part in params.items() if name != "policy"}
    for name in ("observation", "action", "reward"):
        changed = jax.tree.map(lambda x: x.at[2:, 1].set(5.0), getattr(batch, name))
        other, _ = make_model_loss(SURE, model, 0.9)(
            rest, params["policy"], target_q, batch._replace(**{name: changed}), jax.random.key(1)
        )
        np.testing.assert_allclose(other, loss, rtol=1e-6)


def test_targets_move_slowly_and_learn_nothing():
    agent = make_tdmpc2(SURE, SPEC)
    state = agent.init(jax.random.key(0))
    state = state._replace(params=noisy(state.params))
    after, _ = jax.jit(agent.updates["joint"])(state, make_sample(), jax.random.key(1))
    for before, target, online in zip(
        *(jax.tree.leaves(x) for x in (state.opt_state.target_q, after.opt_state.target_q, after.params["q"])),
        strict=True,
    ):
        np.testing.assert_allclose(target, before + 0.01 * (online - before), atol=1e-6)


def of_images(height, width):
    return EnvSpec.single((height, width, 3), "uint8", action_size=2)


def test_planets_convolutions_are_followed_by_a_linear_layer_and_simnorm():
    model = make_decoder_free(DEEP, of_images(16, 16))
    params = noisy(model.init(jax.random.key(0)))
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16, 3), np.uint8))
    flat = model.world.preprocess({"image": images}, jax.random.key(1))
    encoder = params["encoder"]
    conv = make_conv_encoder(16, 3, depth=4, style=Style(activation="mish", norm="layer"))
    features = np.asarray(conv.apply(encoder["first"], flat["image"]), np.float64)
    head = jax.tree.map(lambda x: np.asarray(x, np.float64), encoder["second"])
    expected = NumpyModel.mlp(head, features, simplex=True)
    np.testing.assert_allclose(model.world.encode(params, flat), expected, rtol=1e-4, atol=1e-6)


def test_the_encoder_takes_smaller_steps():
    optimizer, _ = make_optimizers(TDMPC2OptimizerConfig(learning_rate=0.1, encoder_scale=0.3))
    params = {"encoder": jnp.zeros(2), "dynamics": jnp.zeros(2)}
    gradients = {"encoder": jnp.array([1.0, -1.0]), "dynamics": jnp.array([1.0, -1.0])}
    steps, _ = optimizer.update(gradients, optimizer.init(params))
    np.testing.assert_allclose(steps["dynamics"], [-0.1, 0.1], rtol=1e-5)
    np.testing.assert_allclose(steps["encoder"], [-0.03, 0.03], rtol=1e-5)


def test_the_policy_may_take_smaller_steps():
    _, optimizer = make_optimizers(TDMPC2OptimizerConfig(learning_rate=0.1, policy_scale=0.3))
    steps, _ = optimizer.update(jnp.array([1.0, -1.0]), optimizer.init(jnp.zeros(2)))
    np.testing.assert_allclose(steps, [-0.03, 0.03], rtol=1e-4)


def test_the_papers_figures():
    """TD-MPC2, arXiv 2310.16828, table 8, and config.yaml of its code."""
    experiment = presets.make_preset("paper", "walker_walk", "state", agent="tdmpc2")
    config = experiment.agent_config
    model, loss, planner, optimizer = config.model, config.loss, config.planner, config.optimizer
    assert (model.latent, model.hidden, model.encoder_hidden, model.simplex) == (512, 512, 256, 8)
    assert (model.num_q, model.dropout, model.num_bins, model.low, model.high) == (5, 0.01, 101, -10.0, 10.0)
    assert (model.min_log_std, model.max_log_std, model.predict_terminal) == (-10.0, 2.0, False)
    assert (loss.consistency_scale, loss.reward_scale, loss.value_scale, loss.terminal_scale) == (20.0, 0.1, 0.1, 1.0)
    assert (loss.rho, loss.entropy_scale, loss.shift) == (0.5, 1e-4, 3)
    assert (loss.discount_denominator, loss.discount_min, loss.discount_max) == (5.0, 0.95, 0.995)
    assert (optimizer.learning_rate, optimizer.encoder_scale, optimizer.clip_norm) == (3e-4, 0.3, 20.0)
    assert (optimizer.eps, optimizer.policy_eps, optimizer.target_rate) == (1e-8, 1e-5, 0.01)
    assert (planner.horizon, planner.num_iterations, planner.num_candidates, planner.num_elites) == (3, 6, 512, 64)
    assert (planner.policy_candidates, planner.min_std, planner.max_std, planner.init_std) == (24, 0.05, 2.0, 2.0)
    assert (planner.temperature, planner.momentum, planner.choose, planner.warm_start) == (0.5, 0.0, "elite", True)
    assert (experiment.replay.capacity, experiment.replay.batch_size, experiment.replay.batch_length) == (10**6, 256, 4)
    run = experiment.run
    assert (run.seed_episodes, run.seed_decisions, run.updates_per_decision) == (5, 1000, 1.0)
    assert experiment.environment.action_repeat == 2
    assert run.eval_every == 2 * 50_000  # decisions, of two env_steps each
    pixels = presets.make_preset("paper", "quadruped_run", "pixels", agent="tdmpc2").environment
    assert (pixels.image_size, pixels.frame_stack, pixels.camera) == (64, 3, 2)
    assert presets.make_preset("paper", "Pendulum-v1", "state", agent="tdmpc2").agent_config.model.predict_terminal


@pytest.mark.parametrize("size", presets.PRESETS["tdmpc2"].sizes)
def test_sizes_are_what_they_are_called(size):
    config = presets.make_preset("paper", "walker_walk", "state", agent="tdmpc2", size=size).agent_config
    model = make_decoder_free(config.model, EnvSpec.single((24,), action_size=6))
    millions = sum(x.size for x in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)))) / 1e6
    assert float(size[:-1]) == pytest.approx(millions, rel=0.25)


@pytest.mark.parametrize(
    ("make_config", "field"),
    [
        (lambda: DecoderFreeConfig(latent=10), "DecoderFreeConfig.latent"),
        (lambda: DecoderFreeConfig(num_q=1), "DecoderFreeConfig.num_q"),
        (lambda: DecoderFreeConfig(dropout=1.0), "DecoderFreeConfig.dropout"),
        (lambda: DecoderFreeConfig(low=1.0, high=0.0), "DecoderFreeConfig.low"),
        (lambda: DecoderFreeConfig(activation="gelu"), "DecoderFreeConfig.activation"),
        (lambda: TDMPC2LossConfig(rho=0.0), "TDMPC2LossConfig.rho"),
        (lambda: TDMPC2LossConfig(value_scale=-1.0), "TDMPC2LossConfig.value_scale"),
        (lambda: TDMPC2LossConfig(discount_min=0.999), "TDMPC2LossConfig.discount_min"),
        (lambda: TDMPC2OptimizerConfig(learning_rate=0.0), "TDMPC2OptimizerConfig.learning_rate"),
        (lambda: TDMPC2OptimizerConfig(target_rate=0.0), "TDMPC2OptimizerConfig.target_rate"),
        (lambda: make_decoder_free(DecoderFreeConfig(), SPEC._replace(discrete=True)), "discrete"),
        (
            lambda: make_decoder_free(DecoderFreeConfig(), EnvSpec.single((3,), action_size=2, discrete=True)),
            "discrete",
        ),
        (
            lambda: make_decoder_free(DecoderFreeConfig(), of_images(32, 32)),
            "observations: expected",
        ),
        (lambda: DecoderFreeConfig(conv="deep"), "DecoderFreeConfig.conv"),
        (lambda: make_decoder_free(DEEP, of_images(48, 48)), "16, 32, 64, 128"),
        (lambda: make_decoder_free(DEEP, of_images(32, 16)), "16, 32, 64, 128"),
    ],
)
def test_mistakes_name_the_field(make_config, field, unchecked):
    with pytest.raises(ValueError, match=field):
        make_config()


def test_one_batch_can_be_learned_by_heart():
    """Rewards and latent dynamics of a batch, and values that follow from them."""
    config = TDMPC2Config(
        model=DecoderFreeConfig(latent=32, hidden=64, encoder_hidden=64, num_q=2),
        optimizer=TDMPC2OptimizerConfig(learning_rate=1e-3),
    )
    agent = make_tdmpc2(config, SPEC)
    update = jax.jit(agent.updates["joint"], donate_argnums=0)
    state = agent.init(jax.random.key(0))
    sample = make_sample(size=8, length=4)
    state, first = update(state, sample, jax.random.key(1))
    for i in range(500):
        state, metrics = update(state, sample, jax.random.key(i))
    assert metrics["consistency_loss"] < 0.1 * first["consistency_loss"]
    assert metrics["reward_loss"] < 0.4 * first["reward_loss"]  # two-hot targets have an entropy of their own
    measure = jax.jit(partial(multi_step_errors, agent.model, distance=1))
    errors = measure(state.params, sample.batch, jax.random.key(2))
    assert errors.reward_mae[0] < 0.4 * np.abs(sample.batch.reward).mean()
