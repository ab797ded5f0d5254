"""Losses of actor and critic against NumPy on fixed rollouts, REINFORCE against finite differences, gradient flow."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from agents.dreamers import small
from agents.windows import SPEC, make_batch, make_sample, noisy
from latentplan import distributions
from latentplan.agents import AGENTS
from latentplan.agents.config import KLWeightConfig
from latentplan.agents.dreamer import acting as dreamer_acting
from latentplan.agents.dreamer import v1 as dreamer_v1
from latentplan.agents.dreamer import v2 as dreamer_v2
from latentplan.agents.dreamer import v3 as dreamer_v3
from latentplan.agents.dreamer.acting import make_objective
from latentplan.agents.dreamer.actor_critic import CriticBatch, make_critic_loss
from latentplan.agents.dreamer.imagination import BehaviourConfig, Rollout, imagination_starts
from latentplan.agents.dreamer.world_loss import ModelLossConfig, make_model_loss
from latentplan.distributions import Gaussian, OneHot, TwoHot
from latentplan.losses.returns import Range
from latentplan.models import rollout
from latentplan.models.actor import make_actor
from latentplan.models.heads import make_scalar_head
from latentplan.models.rollout import imagine_with
from latentplan.models.world_model import feature, make_world_model
from latentplan.nets.network import Network, Style
from latentplan.types import Evidence, WorldModel

H, B, F, A = 4, 4, 2, 2
RNG = np.random.default_rng(0)
ACTOR_PARAMS, CRITIC_PARAMS, SLOW = (RNG.normal(size=shape).astype("f") for shape in ((F, A), (F,), (F,)))
STD = 0.7
BINS = jnp.linspace(-10.0, 10.0, 21)

ACTOR = Network(lambda key: ACTOR_PARAMS, lambda params, x: Gaussian(x @ params, jnp.float32(STD)))
CRITIC = Network(lambda key: CRITIC_PARAMS, lambda params, x: Gaussian((x @ params)[..., None], jnp.float32(1.0)))


def two_hot_logits(x, params):
    """Logits [..., 21] that depend on one number per step."""
    number = (x @ params)[..., None]
    return -((np.broadcast_to(BINS, (*number.shape[:-1], 21)) - number) ** 2) / 8


TWO_HOT_CRITIC = Network(lambda key: CRITIC_PARAMS, lambda params, x: TwoHot(two_hot_logits(x, params), BINS))


def a_rollout(seed=0):
    rng = np.random.default_rng(seed)
    return Rollout(
        beliefs=None,
        features=jnp.asarray(rng.normal(size=(H + 1, B, F)), jnp.float32),
        actions=jnp.asarray(rng.uniform(-1, 1, (H, B, A)), jnp.float32),
        reward=jnp.asarray(rng.normal(size=(H + 1, B)), jnp.float32),
        discount=jnp.asarray(rng.uniform(0.5, 1, (H + 1, B)), jnp.float32),
    )


@pytest.fixture
def imagined(monkeypatch, unchecked):
    """Every version imagines the same."""
    for module in (dreamer_v1, dreamer_v2, dreamer_v3):
        monkeypatch.setattr(module, "make_imagination", lambda *args: lambda *inputs: a_rollout())
    return jax.tree.map(lambda x: np.asarray(x, np.float64), a_rollout())


ENDED = np.array([False, True, False, False])


def test_dreamer_v1s_actor_maximises_lambda_returns(imagined):
    config = dreamer_v1.DreamerV1Config(behaviour=BehaviourConfig(horizon=H, lam=0.8))
    loss = dreamer_v1.make_actor_loss(config, None, ACTOR, CRITIC)
    found, (_, critic_batch) = loss(ACTOR_PARAMS, None, CRITIC_PARAMS, None, jnp.asarray(ENDED), jax.random.key(0))
    r, g, v = imagined.reward, imagined.discount, imagined.features @ CRITIC_PARAMS
    # Steps 1..H: V_H = v_H, and V_t = r_t + g_t ((1 - lam) v_{t+1} + lam V_{t+1}) down to 1.
    returns, later = {}, v[H]
    for t in range(H - 1, 0, -1):
        later = returns[t] = r[t] + g[t] * (0.2 * v[t + 1] + 0.8 * later)
    weight = {1: 1.0 - ENDED}
    for t in range(2, H):
        weight[t] = weight[t - 1] * g[t - 1]
    expected = -np.mean([weight[t] * returns[t] for t in range(1, H)])
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_allclose(critic_batch.returns, [returns[t] for t in range(1, H)], rtol=1e-4)
    np.testing.assert_array_equal(critic_batch.features, imagined.features[1:H].astype("f"))


@pytest.mark.parametrize(("gradient", "share"), [("dynamics", 1.0), ("reinforce", 0.0), ("both", 0.3)])
def test_dreamer_v2s_actor_loss_is_numpys(imagined, gradient, share):
    config = dreamer_v2.DreamerV2Config(
        behaviour=BehaviourConfig(horizon=H, lam=0.8, discount=0.9, entropy_scale=0.05),
        actor_gradient=gradient,
        dynamics_share=0.3,
    )
    loss = dreamer_v2.make_actor_loss(config, None, ACTOR, CRITIC, discrete=False)
    found, (_, critic_batch) = loss(ACTOR_PARAMS, None, SLOW, None, jnp.asarray(ENDED), jax.random.key(0))
    r, g, v = imagined.reward, imagined.discount.copy(), imagined.features @ SLOW
    g[0] = 0.9 * (1 - ENDED)  # known, not predicted
    returns, later = np.zeros((H, B)), v[H]
    for t in range(H - 1, -1, -1):
        later = returns[t] = r[t] + g[t] * (0.2 * v[t + 1] + 0.8 * later)
    weight = np.cumprod(np.concatenate([np.ones((1, B)), g[:-2]]), 0)
    mean = imagined.features[:-2] @ ACTOR_PARAMS
    log_prob = stats.norm.logpdf(imagined.actions[:-1], mean, STD).sum(-1)
    entropy = A * stats.norm.entropy(0, STD)
    objective = share * returns[1:] + (1 - share) * log_prob * (returns[1:] - v[:-2]) + 0.05 * entropy
    np.testing.assert_allclose(found, -np.mean(weight[:-1] * objective), rtol=1e-4)
    np.testing.assert_allclose(critic_batch.weight, weight, rtol=1e-5)


def test_the_gaussian_critics_loss_is_numpys():
    imagined = a_rollout()
    critic_batch = CriticBatch(imagined.features[:-1], imagined.reward[:-1], imagined.discount[:-1])
    found = make_critic_loss(CRITIC)(CRITIC_PARAMS, critic_batch)
    log_prob = stats.norm.logpdf(imagined.reward[:-1], imagined.features[:-1] @ CRITIC_PARAMS, 1.0)
    np.testing.assert_allclose(found, -np.mean(imagined.discount[:-1] * log_prob), rtol=1e-5)


def cross_entropy(logits, target):
    """-log p of the two nearest of bins that are 1 apart, from -10."""
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    low = np.clip(np.floor(target), -10, 9).astype(int)
    share = target - low
    pick = lambda i: np.take_along_axis(log_p, (i + 10)[..., None], -1)[..., 0]  # noqa: E731
    return -((1 - share) * pick(low) + share * pick(low + 1))


def softmax_mean(logits):
    p = np.exp(logits)
    return (p / p.sum(-1, keepdims=True)) @ np.asarray(BINS)


@pytest.mark.parametrize(("steps", "gradient"), [(2, "reinforce"), (5, "reinforce"), (2, "dynamics")])
def test_dreamer_v3s_losses_are_numpys(imagined, monkeypatch, steps, gradient):
    """N = 4 imagined rollouts start at the last two steps of two windows."""
    windows = B // 2
    beliefs = jnp.asarray(RNG.normal(size=(steps, windows, F)), jnp.float32)
    monkeypatch.setattr(dreamer_v3, "make_model_loss", lambda *args: lambda *inputs: (jnp.float32(0), ({}, beliefs)))
    monkeypatch.setattr(dreamer_v3, "feature", lambda belief: belief)
    config = small("dreamer_v3", horizon=H, actor_gradient=gradient)
    loss = dreamer_v3.make_loss(config, None, ACTOR, TWO_HOT_CRITIC, discrete=False)
    batch = jax.tree.map(lambda x: jnp.asarray(x[:steps, :windows]), make_batch(length=5))
    reward = RNG.uniform(-1, 1, (steps, windows))
    terminal, last = np.zeros((2, steps, windows), bool)
    terminal[-1, 0] = last[-1, 0] = True  # window 0 ends in a termination
    last[-2, 1] = True  # window 1 is cut off by a time limit, and begins anew
    batch = batch._replace(
        reward=jnp.asarray(reward, jnp.float32), is_last=jnp.asarray(last), is_terminal=jnp.asarray(terminal)
    )
    before = Range(jnp.float32(-5.0), jnp.float32(5.0))
    params = {"actor": ACTOR_PARAMS, "critic": CRITIC_PARAMS}
    found, (metrics, after) = loss(params, SLOW, before, batch, jax.random.key(0))

    logits = two_hot_logits(imagined.features, CRITIC_PARAMS.astype(float))
    v, r, g = softmax_mean(logits), imagined.reward, imagined.discount
    returns, later = np.zeros((H, B)), v[H]
    for t in range(H - 1, -1, -1):  # a reward belongs to the action before it
        later = returns[t] = r[t + 1] + g[t + 1] * (0.05 * v[t + 1] + 0.95 * later)
    weight = np.cumprod(g, 0)[:-1]
    low, high = np.percentile(returns, [5, 95])
    scale = max(1, (5 + 0.01 * (high - 5)) - (-5 + 0.01 * (low + 5)))
    np.testing.assert_allclose(after.scale, scale, rtol=1e-5)
    log_prob = stats.norm.logpdf(imagined.actions, imagined.features[:-1] @ ACTOR_PARAMS, STD).sum(-1)
    advantage = returns - v[:-1]
    gained = advantage if gradient == "dynamics" else log_prob * advantage
    objective = gained / scale + 3e-4 * A * stats.norm.entropy(0, STD)
    np.testing.assert_allclose(metrics["actor_loss"], -np.mean(weight * objective), rtol=1e-4)
    slow = softmax_mean(two_hot_logits(imagined.features, SLOW.astype(float)))[:-1]
    errors = cross_entropy(logits[:-1], returns) + cross_entropy(logits[:-1], slow)
    np.testing.assert_allclose(metrics["critic_loss"], np.mean(weight * errors), rtol=1e-4)

    # Replayed: each window from its last step, whose value is imagined.
    seen, gamma = np.asarray(beliefs, np.float64), 1 - 1 / 333
    ahead = softmax_mean(two_hot_logits(seen, CRITIC_PARAMS.astype(float)))
    for i in range(2):  # the critic's values only where nothing is imagined from
        for window in range(windows):
            ahead[steps - 2 + i, window] = returns[0, i * windows + window]
    goals, later = np.zeros((steps - 1, windows)), ahead[-1]
    for t in range(steps - 2, -1, -1):
        after_it = np.where(last[t + 1], ahead[t + 1], 0.05 * ahead[t + 1] + 0.95 * later)
        later = goals[t] = reward[t + 1] + gamma * np.where(terminal[t + 1], 0.0, after_it)
    logits = two_hot_logits(seen[:-1], CRITIC_PARAMS.astype(float))
    slow = softmax_mean(two_hot_logits(seen[:-1], SLOW.astype(float)))
    errors = cross_entropy(logits, goals) + cross_entropy(logits, slow)
    errors[last[:-1]] = 0.0  # what comes next is another episode's
    np.testing.assert_allclose(metrics["replay_critic_loss"], errors.mean(), rtol=1e-4)
    total = metrics["actor_loss"] + metrics["critic_loss"] + 0.3 * metrics["replay_critic_loss"]
    np.testing.assert_allclose(found, total, rtol=1e-5)


def test_through_the_model_an_action_counts_in_its_own_return_alone(monkeypatch, unchecked):
    """Dreamer V3, against finite differences: the baseline passes its gradient on, so later returns cancel.

    Actions add to the feature that follows, and come from the actor's parameters alone.
    """
    first = RNG.normal(size=(B, F))

    def roll(actions, xp=np):
        features = xp.stack([first + (actions[:t].sum(0, keepdims=True) if t else 0.0) for t in range(H + 1)])
        return features, xp.tanh(features).sum(-1)

    def make_imagination(*args):
        def imagine(params, actor_params, *inputs):
            features, reward = roll(actor_params, jnp)
            return Rollout(None, features, jnp.zeros((H, B, A)), reward, jnp.full((H + 1, B), 0.9))

        return imagine

    monkeypatch.setattr(dreamer_v3, "make_imagination", make_imagination)
    monkeypatch.setattr(dreamer_v3, "feature", lambda belief: belief)
    beliefs = jnp.zeros((2, B // 2, F))
    monkeypatch.setattr(dreamer_v3, "make_model_loss", lambda *args: lambda *inputs: (jnp.float32(0), ({}, beliefs)))
    config = small("dreamer_v3", horizon=H, actor_gradient="dynamics")
    actor = Network(None, lambda params, x: Gaussian(0.0 * x, jnp.float32(STD)))
    loss = dreamer_v3.make_loss(config, None, actor, TWO_HOT_CRITIC, discrete=False)
    batch = jax.tree.map(lambda x: jnp.asarray(x[:2, : B // 2]), make_batch(length=5))
    before = Range(jnp.float32(0.0), jnp.float32(0.1))  # the scale stays 1
    actions = RNG.normal(0, 0.3, (H, F))

    def actor_loss(actor_params):
        params = {"actor": actor_params, "critic": CRITIC_PARAMS}
        _, (metrics, _) = loss(params, SLOW, before, batch, jax.random.key(0))
        return metrics["actor_loss"]

    found = jax.grad(actor_loss)(jnp.asarray(actions, jnp.float32))

    def value(features):
        return softmax_mean(two_hot_logits(features, CRITIC_PARAMS.astype(float)))

    def total(actions):
        features, reward = roll(actions)
        v = value(features)
        returns, later = np.zeros((H, B)), v[H]
        for t in range(H - 1, -1, -1):
            later = returns[t] = reward[t + 1] + 0.9 * (0.05 * v[t + 1] + 0.95 * later)
        weight = 0.9 ** np.arange(1, H + 1)[:, None]
        return -np.mean(weight * (returns - v[:-1]))

    expected = np.zeros((H, F))
    for i in np.ndindex(H, F):
        step = np.zeros((H, F))
        step[i] = 1e-5
        expected[i] = (total(actions + step) - total(actions - step)) / 2e-5
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_replayed_values_need_two_steps(monkeypatch, unchecked):
    beliefs = jnp.zeros((1, B, F))
    monkeypatch.setattr(dreamer_v3, "make_model_loss", lambda *args: lambda *inputs: (jnp.float32(0), ({}, beliefs)))
    monkeypatch.setattr(dreamer_v3, "make_imagination", lambda *args: lambda *inputs: a_rollout())
    monkeypatch.setattr(dreamer_v3, "feature", lambda belief: belief)
    loss = dreamer_v3.make_loss(small("dreamer_v3", horizon=H), None, ACTOR, TWO_HOT_CRITIC, discrete=False)
    batch = jax.tree.map(lambda x: jnp.asarray(x[:1, :B]), make_batch(length=5))
    with pytest.raises(ValueError, match=r"CriticV3Config\.replay_scale: expected 0 with windows of one record"):
        loss({"actor": ACTOR_PARAMS, "critic": CRITIC_PARAMS}, SLOW, Range(0.0, 1.0), batch, jax.random.key(0))


def test_imagination_starts_at_the_last_steps_of_every_window():
    steps = jnp.arange(12).reshape(4, 3)  # [T, B]
    np.testing.assert_array_equal(imagination_starts(steps, 2), [6, 7, 8, 9, 10, 11])
    np.testing.assert_array_equal(imagination_starts(steps, 0), np.arange(12))


@pytest.mark.parametrize(
    ("rewards", "averaged", "terminal"), [("raw", True, False), ("tanh", True, True), ("sign", False, True)]
)
def test_the_models_loss_is_numpys(monkeypatch, unchecked, rewards, averaged, terminal):
    """On fixed posteriors and priors, with every weight another."""
    rng = np.random.default_rng(3)
    steps, windows = 4, 2
    means, stds = rng.normal(size=(2, steps, windows, F)), rng.uniform(0.5, 2, (2, steps, windows, F))
    posterior, prior = (Gaussian(jnp.asarray(m, "f"), jnp.asarray(s, "f")) for m, s in zip(means, stds, strict=True))
    beliefs = rng.normal(size=(steps, windows, F)).astype("f")
    monkeypatch.setattr(rollout, "observe", lambda *args: (beliefs, (posterior, prior)))
    weights = rng.normal(size=(3, F)).astype("f")
    model = WorldModel(
        init=None,
        initial=lambda shape: None,
        preprocess=lambda observation, key: observation,
        postprocess=None,
        encode=lambda params, observation: None,
        observe_step=None,
        imagine_step=None,
        decode=lambda params, belief: {"state": Gaussian(belief * params[0], jnp.float32(STD))},
        reward=lambda params, belief: Gaussian((belief @ params[1])[..., None], jnp.float32(STD)),
        divergence=distributions.kl_divergence,
        terminal=(lambda params, belief: belief @ params[2]) if terminal else None,
    )
    config = ModelLossConfig(
        reward_scale=3.0, terminal_scale=5.0, dynamics_scale=0.8, representation_scale=0.2, free_nats=1.5,
        free_nats_averaged=averaged, rewards=rewards,
    )  # fmt: skip
    batch = jax.tree.map(lambda x: jnp.asarray(x[:, :windows]), make_batch(length=steps))
    seen = batch.observation["state"][..., :F]
    batch = batch._replace(observation={"state": seen}, reward=batch.reward / 20)
    found, (metrics, _) = make_model_loss(config, model, 0.9)(weights, batch, jax.random.key(0))

    learned = {"raw": lambda x: x, "tanh": np.tanh, "sign": np.sign}[rewards](np.asarray(batch.reward))
    observed = stats.norm.logpdf(seen, beliefs * weights[0], STD).sum(-1)
    rewarded = stats.norm.logpdf(learned, beliefs @ weights[1], STD)
    (m, n), (s, q) = means, stds
    kl = (np.log(q / s) + (s**2 + (m - n) ** 2) / (2 * q**2) - 0.5).sum(-1)
    floored = max(kl.mean(), 1.5) if averaged else np.maximum(kl, 1.5).mean()
    expected = -observed.mean() - 3.0 * rewarded.mean() + (0.8 + 0.2) * floored
    if terminal:
        goes_on = 1 / (1 + np.exp(beliefs @ weights[2]))
        target = 0.9 * (1 - np.asarray(batch.is_terminal))
        expected -= 5.0 * np.mean(target * np.log(goes_on) + (1 - target) * np.log(1 - goes_on))
    np.testing.assert_allclose(metrics["kl"], kl.mean(), rtol=1e-5)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    warmed = replace(config, kl=KLWeightConfig(schedule="linear", length=4))
    quarter, _ = make_model_loss(warmed, model, 0.9)(weights, batch, jax.random.key(0), 1)
    np.testing.assert_allclose(quarter, expected - 0.75 * (0.8 + 0.2) * floored, rtol=1e-5)


@pytest.mark.parametrize("value_has_reward", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_plan_is_worth_its_rewards_and_the_critics_value_at_its_end(
    monkeypatch, unchecked, value_has_reward, terminal
):
    """No reward is counted twice, and the discount once: what is learned to continue holds it already."""
    monkeypatch.setattr(dreamer_acting, "feature", lambda belief: belief)
    rng = np.random.default_rng(4)
    weights, ends = rng.normal(size=(2, A)), rng.normal(size=A)
    reward, value = ((lambda x, w=w: np.asarray(x) @ w) for w in weights)
    as_mean = lambda w: lambda params, x: Gaussian((x @ jnp.asarray(w, "f"))[..., None], jnp.float32(1.0))  # noqa: E731
    model = WorldModel(**dict.fromkeys(WorldModel._fields))._replace(
        imagine_step=lambda params, belief, action, key: (belief + action, None),
        reward=as_mean(weights[0]),
        terminal=(lambda params, belief: belief @ jnp.asarray(ends, "f")) if terminal else None,
    )
    critic = Network(None, as_mean(weights[1]))
    behaviour = BehaviourConfig(discount=0.9)
    objective = make_objective(model, critic, behaviour, value_has_reward=value_has_reward)
    actions = rng.uniform(-1, 1, (3, 5, A)).astype("f")
    found = objective({"critic": None}, jnp.zeros(A), jnp.asarray(actions), jax.random.key(0))

    beliefs = np.cumsum(actions.astype(float), 0)
    goes_on = 1 / (1 + np.exp(beliefs @ ends)) if terminal else np.full((3, 5), 0.9)
    alive = np.cumprod(np.concatenate([np.ones((1, 5)), goes_on]), 0)  # before each step, and after the last
    expected = (alive[:-1] * reward(beliefs)).sum(0)
    if value_has_reward:
        assert goes_on[-1].min() > 0.1  # where it may be divided by
        expected += alive[-2] * (value(beliefs[-1]) - reward(beliefs[-1]))
    else:
        expected += alive[-1] * value(beliefs[-1])
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_reinforce_is_the_slope_of_the_expected_reward(monkeypatch, unchecked):
    """Three choices that earn 1, -2 and 3: the mean of many draws against finite differences."""
    count, worth, theta = 100_000, np.array([1.0, -2.0, 3.0]), np.array([0.2, -0.1, 0.4])
    softmax = lambda x: np.exp(x) / np.exp(x).sum()  # noqa: E731
    choice = np.random.default_rng(1).choice(3, count, p=softmax(theta))
    reward = np.zeros((3, count))
    reward[1] = worth[choice]
    imagined = Rollout(
        beliefs=None,
        features=jnp.zeros((3, count, 1)),
        actions=jnp.asarray(np.eye(3)[np.stack([choice, choice])], jnp.float32),
        reward=jnp.asarray(reward, jnp.float32),
        discount=jnp.zeros((3, count)),  # one decision and no more
    )
    monkeypatch.setattr(dreamer_v2, "make_imagination", lambda *args: lambda *inputs: imagined)
    actor = Network(None, lambda params, x: OneHot(jnp.broadcast_to(params, (*x.shape[:-1], 1, 3))))
    critic = Network(None, lambda params, x: Gaussian(jnp.full((*x.shape[:-1], 1), 0.5), jnp.float32(1.0)))
    config = dreamer_v2.DreamerV2Config(behaviour=BehaviourConfig(horizon=2))
    loss = dreamer_v2.make_actor_loss(config, None, actor, critic, discrete=True)
    ended = jnp.zeros(count, bool)
    gradient = jax.grad(lambda x: loss(x, None, None, None, ended, jax.random.key(0))[0])(jnp.asarray(theta))
    expected = [softmax(theta + e) @ worth - softmax(theta - e) @ worth for e in 1e-4 * np.eye(3)]
    np.testing.assert_allclose(-gradient, np.array(expected) / 2e-4, atol=0.02)


@pytest.mark.parametrize("version", ["dreamer_v1", "dreamer_v2", "dreamer_v3"])
def test_all_parts_compute_in_the_models_dtype(version):
    """No matrix product of float32 is left in an update."""
    config = small(version, units=8, horizon=3)
    agent = AGENTS[version].make(replace(config, model=replace(config.model, dtype="bfloat16")), SPEC)
    state = jax.eval_shape(agent.init, jax.random.key(0))
    update = str(jax.make_jaxpr(agent.updates["joint"])(state, make_sample(), jax.random.key(0)))
    products = re.findall(r"(\w+)\[[^\]]*\] = dot_general", update.replace("\n", " "))
    assert len(products) > 50 and set(products) == {"bf16"}


def test_rewards_are_judged_in_the_units_that_are_learned():
    config = small("dreamer_v2", units=8, horizon=3)
    batch = make_batch()
    batch = batch._replace(reward=np.full_like(batch.reward, 100.0))
    for rewards, least, most in (("raw", 90, 110), ("tanh", 0, 3)):
        agent = AGENTS["dreamer_v2"].make(replace(config, loss=replace(config.loss, rewards=rewards)), SPEC)
        params = agent.init(jax.random.key(0)).params
        measure = agent.diagnostics["prediction"].measure
        errors = measure(params, Evidence(batch), jax.random.key(1)).numbers["reward_mae"]
        assert least < errors[0] < most


def test_dreamer_v3s_actor_and_critic_may_learn_at_another_pace():
    """LaProp's first step is the learning rate wherever there is a gradient."""
    config, rate = small("dreamer_v3", units=8, horizon=2), 1e-3
    rates = replace(config.optimizer, learning_rate=rate, warmup=0, actor_scale=0.1, critic_scale=0.5)
    agent = AGENTS["dreamer_v3"].make(replace(config, optimizer=rates), SPEC)
    state = agent.init(jax.random.key(0))
    after, _ = jax.jit(agent.updates["joint"])(state, make_sample(), jax.random.key(1))
    steps = jax.tree.map(lambda x, y: np.abs(np.asarray(x - y)), after.params, state.params)
    for part, found in steps.items():
        step = {"actor": 0.1, "critic": 0.5}.get(part, 1.0) * rate
        found = np.concatenate([np.ravel(x) for x in jax.tree.leaves(found)])
        np.testing.assert_allclose(found[found > 0], step, atol=1e-6)
        assert np.any(found > 0)


# Which loss teaches what


def moved(gradient):
    """The parts that a gradient is not zero for."""
    return {name for name, part in gradient.items() if any(np.any(x != 0) for x in jax.tree.leaves(part))}


MODEL = {"encoder", "dynamics", "decoder", "reward", "terminal"}


@pytest.mark.parametrize("gradient", ["reinforce", "dynamics"])
def test_dreamer_v3s_losses_teach_their_own_parts_alone(gradient):
    config = small("dreamer_v3", units=8, horizon=3, actor_gradient=gradient)
    model = make_world_model(config.model, SPEC)
    size = feature(model.initial((1,))).shape[-1]
    actor = make_actor(config.actor, size, SPEC)
    critic = make_scalar_head(size, "two_hot", hidden=8, layers=2, style=Style(activation="silu", norm="rms"))
    loss = dreamer_v3.make_loss(config, model, actor, critic, discrete=SPEC.discrete)
    keys = jax.random.split(jax.random.key(0), 3)
    params = model.init(keys[0]) | {"actor": actor.init(keys[1]), "critic": critic.init(keys[2])}
    params, slow = noisy(params), noisy(params["critic"], seed=1)
    batch = jax.tree.map(jnp.asarray, make_batch())
    zeros = Range(jnp.float32(0), jnp.float32(0))

    def parts(params):
        total, (metrics, _) = loss(params, slow, zeros, batch, jax.random.key(1))
        names = ("actor_loss", "critic_loss", "replay_critic_loss")
        terms = {name: metrics[name] for name in names}
        own = total - terms["actor_loss"] - terms["critic_loss"] - 0.3 * terms["replay_critic_loss"]
        return terms | {"model": own}

    gradients = jax.jit(jax.jacrev(parts))(params)
    assert moved(gradients["actor_loss"]) == {"actor"}
    assert moved(gradients["critic_loss"]) == {"critic"}
    assert moved(gradients["replay_critic_loss"]) == {"critic", "encoder", "dynamics"}
    flat = lambda x: np.concatenate([np.ravel(y) for y in jax.tree.leaves(x)])  # noqa: E731
    model_gradient = {name: np.abs(flat(part)).max() for name, part in gradients["model"].items()}
    assert min(model_gradient[name] for name in MODEL) > 1e-3
    assert max(model_gradient[name] for name in ("actor", "critic")) < 1e-4 * max(model_gradient.values())


@pytest.mark.parametrize("version", ["dreamer_v1", "dreamer_v2"])
def test_what_the_critic_learns_from_has_no_gradient(version):
    """The actor's loss reaches the actor through the model; what is handed to the critic reaches nobody."""
    module = {"dreamer_v1": dreamer_v1, "dreamer_v2": dreamer_v2}[version]
    config = small(version, units=8, horizon=3)
    model = make_world_model(config.model, SPEC)
    size = feature(model.initial((1,))).shape[-1]
    actor = make_actor(config.actor, size, SPEC)
    critic = make_scalar_head(size, "gaussian", hidden=8, layers=2, style=Style(activation="elu"))
    extra = {"discrete": False} if version == "dreamer_v2" else {}
    loss = module.make_actor_loss(config, model, actor, critic, **extra)
    keys = jax.random.split(jax.random.key(0), 3)
    actor_params, params, critic_params = (
        noisy(x.init(key)) for x, key in zip((actor, model, critic), keys, strict=True)
    )

    def terms(actor_params):
        total, (_, critic_batch) = loss(
            actor_params, params, critic_params, model.initial((4,)), jnp.zeros(4, bool), jax.random.key(1)
        )
        return total, jax.tree.map(jnp.sum, critic_batch)

    to_actor, to_critic_batch = jax.jit(jax.jacrev(terms))(actor_params)
    assert any(np.any(x != 0) for x in jax.tree.leaves(to_actor))
    assert all(np.all(x == 0) for x in jax.tree.leaves(to_critic_batch))


def test_choices_keep_their_whole_gradient_in_imagination():
    """A one-hot action lies on the bounds, where clipping would halve what passes."""

    def imagine_step(params, belief, action, key):
        return action, None

    model = WorldModel(None, None, None, None, None, None, imagine_step, None, None, None)
    weights = jnp.array([1.0, -2.0, 3.0])

    def worth(logits):
        policy = lambda belief, key: distributions.sample(OneHot(logits[None]), key)  # noqa: E731
        beliefs, _ = imagine_with(model, None, jnp.zeros(3), policy, jax.random.key(0), horizon=1)
        return beliefs[-1] @ weights

    logits = jnp.array([0.3, -0.1, 0.2])
    exact = jax.grad(lambda x: jax.nn.softmax(x) @ weights)(logits)
    np.testing.assert_allclose(jax.grad(worth)(logits), exact, rtol=1e-5)


@pytest.mark.parametrize(
    ("version", "parts", "field"),
    [
        ("dreamer_v1", {"model": {"kind": "rnn"}}, "WorldModelConfig.kind"),
        ("dreamer_v2", {"model": {"kind": "rnn", "classes": 0, "cell": "gru"}}, "WorldModelConfig.kind"),
        ("dreamer_v1", {"behaviour": {"entropy_scale": 0.1}}, "BehaviourConfig.entropy_scale"),
        ("dreamer_v2", {"actor": {"kind": "tanh_normal"}}, "ActorConfig.kind"),
        ("dreamer_v3", {"actor": {"kind": "tanh_normal"}}, "ActorConfig.kind"),
    ],
)
def test_parts_that_do_not_fit_a_version_are_refused(version, parts, field):
    config = small(version)
    with pytest.raises(ValueError, match=field):
        replace(config, **{name: replace(getattr(config, name), **values) for name, values in parts.items()})
