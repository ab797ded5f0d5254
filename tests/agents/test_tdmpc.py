"""TD-MPC's losses against NumPy, its schedules, its figures."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from agents.windows import SPEC, along_rollout, make_batch, make_sample, noisy
from latentplan import presets
from latentplan.agents.tdmpc.v1 import (
    ScheduleConfig,
    TDMPCConfig,
    TDMPCLossConfig,
    TDMPCOptimizerConfig,
    make_model_loss,
    make_policy_loss,
    make_scheduled_planner,
    make_tdmpc,
)
from latentplan.models.decoder_free import Latent, make_decoder_free
from latentplan.planners.mppi import MPPIConfig
from latentplan.types import EnvSpec

CONFIG = TDMPCConfig(
    model=replace(TDMPCConfig().model, latent=6, hidden=8, encoder_hidden=8), policy_std=0.0
)  # a policy without noise: nothing random is left
VALID = np.array([[True, True, True], [True, False, True], [True, False, True]])


def mlp(params, x, norm_first=False):
    """Linear layers with ELU between them; or a LayerNorm and tanh after the first."""
    layers = sum(name.startswith("Dense") for name in params)
    for i in range(layers):
        x = x @ params[f"Dense_{i}"]["kernel"] + params[f"Dense_{i}"]["bias"]
        if i == 0 and norm_first:
            deviation = x - x.mean(-1, keepdims=True)
            x = deviation / np.sqrt((deviation**2).mean(-1, keepdims=True) + 1e-5)
            x = np.tanh(x * params["LayerNorm_0"]["scale"] + params["LayerNorm_0"]["bias"])
        elif i < layers - 1:
            x = np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    return x


def q_values(params, z, a):
    members = [jax.tree.map(lambda x, i=i: x[i], params) for i in range(2)]
    return np.stack([mlp(member, np.concatenate([z, a], -1), norm_first=True)[..., 0] for member in members])


@pytest.fixture(scope="module")
def setup():
    model = make_decoder_free(CONFIG.model, SPEC)
    params = noisy(model.init(jax.random.key(0)))
    target = noisy({name: params[name] for name in ("encoder", "q")}, seed=5)
    networks = {name: part for name, part in params.items() if name != "policy"}
    loss = jax.jit(make_model_loss(CONFIG, model))
    found = loss(networks, params["policy"], target, make_sample(), jax.random.key(1))
    numpy = jax.tree.map(lambda x: np.asarray(x, np.float64), (params, target))
    return model, params, networks, *numpy, found


def test_the_models_losses_are_numpys(setup):
    _, _, _, params, target, (loss, (metrics, latents, valid)) = setup
    batch = make_batch()
    observation, action, reward = (x.astype(np.float64) for x in (batch.observation["state"], *batch[1:3]))
    np.testing.assert_array_equal(valid, VALID)
    ahead = mlp(params["encoder"], observation[1:])
    values = q_values(target["q"], ahead, np.tanh(mlp(params["policy"], ahead)[..., :2])).min(0)
    goals = reward[1:] + 0.99 * np.where(batch.is_terminal[1:], 0, values)
    z = [mlp(params["encoder"], observation[0])]
    for t in range(3):
        z.append(mlp(params["dynamics"], np.concatenate([z[-1], action[t + 1]], -1)))
    z = np.stack(z)
    np.testing.assert_allclose(latents, z, rtol=1e-3, atol=1e-4)
    predicted = mlp(params["reward"], np.concatenate([z[:-1], action[1:]], -1))[..., 0]
    errors = {
        "consistency": ((z[1:] - mlp(target["encoder"], observation[1:])) ** 2).mean(-1),
        "reward": (predicted - reward[1:]) ** 2,
        "value": ((q_values(params["q"], z[:-1], action[1:]) - goals) ** 2).sum(0),
    }
    terms = {name: along_rollout(np.minimum(error, 1e4), VALID) for name, error in errors.items()}
    for name, value in terms.items():
        np.testing.assert_allclose(metrics[f"{name}_loss"], value, rtol=1e-4, err_msg=name)
    expected = 2 * terms["consistency"] + 0.5 * terms["reward"] + 0.1 * terms["value"]
    np.testing.assert_allclose(loss, expected, rtol=1e-4)
    off = np.where(VALID, np.abs(q_values(params["q"], z[:-1], action[1:]) - goals).sum(0), 0)
    np.testing.assert_allclose(metrics["priority"], np.minimum(0.5 ** np.arange(3) @ off, 1e4) + 1e-6, rtol=1e-4)


def test_windows_weigh_what_they_are_given(setup):
    model, params, networks, _, target, (loss, _) = setup
    target = jax.tree.map(jnp.float32, target)

    def loss_with(weight):
        inputs = networks, params["policy"], target, make_sample()._replace(weight=jnp.array(weight)), jax.random.key(1)
        return float(jax.jit(make_model_loss(CONFIG, model))(*inputs)[0])

    np.testing.assert_allclose(loss_with([1.0, 1.0, 1.0]), loss, rtol=1e-6)
    np.testing.assert_allclose(loss_with([0.5, 0.5, 0.5]), 0.5 * loss, rtol=1e-6)
    parts = [loss_with(row) for row in np.eye(3)]
    np.testing.assert_allclose(sum(parts), loss, rtol=1e-5)
    assert len(set(parts)) == 3


def test_the_policys_loss_is_numpys(setup):
    model, jax_params, networks, params, _, (_, (_, latents, valid)) = setup
    loss = make_policy_loss(CONFIG, model)(jax_params["policy"], networks, latents, valid, jax.random.key(2))
    z = np.asarray(latents, np.float64)
    values = q_values(params["q"], z, np.tanh(mlp(params["policy"], z)[..., :2])).min(0)
    everywhere = np.concatenate([np.ones((1, 3), bool), VALID])
    np.testing.assert_allclose(loss, -4 * along_rollout(values, everywhere), rtol=1e-3)


def test_the_target_moves_every_second_update_and_progress_is_counted():
    config = replace(CONFIG, schedule=ScheduleConfig(updates=4))
    agent = make_tdmpc(config, SPEC)
    update = jax.jit(agent.updates["joint"])
    state = jax.jit(agent.init)(jax.random.key(0))
    targets, progress = [], []
    for i in range(5):
        state, _ = update(state, make_sample(), jax.random.key(i))
        targets.append(np.asarray(state.opt_state.target["encoder"]["Dense_0"]["kernel"]))
        progress.append(float(state.params["progress"]))
    assert progress == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert np.array_equal(targets[0], targets[1]) and np.array_equal(targets[2], targets[3])
    assert not np.array_equal(targets[1], targets[2]) and not np.array_equal(targets[3], targets[4])


def test_the_horizon_grows_and_the_floor_of_the_std_falls():
    """With rewards of zero and values that tell states apart, a plan is worth the value where its horizon ends."""
    planner_config = MPPIConfig(horizon=3, num_iterations=2, num_candidates=64, num_elites=8, min_std=0.05)
    config = replace(CONFIG, planner=planner_config)
    model = make_decoder_free(config.model, SPEC)
    params = noisy(model.init(jax.random.key(0)), seed=3)
    plan = jax.jit(make_scheduled_planner(config, model, SPEC))
    latent = jnp.zeros(6)
    outputs = [
        plan(params | {"progress": jnp.float32(x)}, Latent(latent, latent, jnp.zeros(2)), jax.random.key(1))
        for x in (0.0, 0.5, 1.0)
    ]
    least = [float(output.info["explore_std"].min()) for output in outputs]
    assert least[0] >= 0.5 and least[1] >= 0.275 - 1e-6 and least[2] < 0.275
    first = outputs[0].info["elite_return"]
    assert not np.allclose(first, outputs[2].info["elite_return"])
    for output, counted in zip(outputs, (1, 2, 3), strict=True):  # what did not count starts the next plan at zero
        moved = np.any(np.asarray(output.warm_start) != 0, -1)
        np.testing.assert_array_equal(moved, np.arange(3) < counted)


def test_the_papers_figures():
    """TD-MPC, arXiv 2203.04955, table 5, and cfgs/default.yaml of its code."""
    experiment = presets.make_preset("paper", "walker_walk", "state", agent="tdmpc")
    config = experiment.agent_config
    model, loss, planner, optimizer = config.model, config.loss, config.planner, config.optimizer
    assert (model.latent, model.hidden, model.encoder_hidden, model.num_q) == (50, 512, 256, 2)
    assert (model.activation, model.norm, model.simplex, model.num_bins) == ("elu", "none", 0, 1)
    assert (loss.consistency_scale, loss.reward_scale, loss.value_scale) == (2.0, 0.5, 0.1)
    assert (loss.rho, loss.discount) == (0.5, 0.99)
    assert (planner.horizon, planner.num_iterations, planner.num_candidates, planner.num_elites) == (5, 6, 537, 64)
    assert (planner.policy_candidates, planner.min_std, planner.temperature, planner.momentum) == (25, 0.05, 0.5, 0.1)
    schedule = config.schedule
    assert (schedule.updates, schedule.first_horizon, schedule.first_std) == (25_000, 1, 0.5)
    assert (optimizer.learning_rate, optimizer.clip_norm) == (1e-3, 10.0)
    assert (optimizer.target_rate, optimizer.target_every) == (0.01, 2)
    assert (experiment.replay.capacity, experiment.replay.batch_size, experiment.replay.batch_length) == (10**6, 512, 6)
    assert (experiment.replay.priority_exponent, experiment.replay.importance_exponent) == (0.6, 0.4)
    assert (experiment.run.seed_decisions, experiment.run.updates_per_decision) == (5000, 1.0)
    assert experiment.run.eval_every == 20_000


@pytest.mark.parametrize(
    ("env", "repeat", "env_steps", "iterations", "latent", "rate", "batch"),
    [
        ("reacher_easy", 4, 500_000, 6, 50, 1e-3, 512),
        ("cartpole_swingup", 8, 500_000, 6, 50, 1e-3, 512),
        ("finger_spin", 2, 500_000, 6, 50, 1e-3, 512),
        ("walker_walk", 2, 500_000, 6, 50, 1e-3, 512),
        ("humanoid_run", 2, 3_000_000, 12, 100, 1e-3, 512),
        ("dog_run", 2, 5_000_000, 8, 100, 3e-4, 2048),
    ],
)
def test_the_papers_figures_by_task(env, repeat, env_steps, iterations, latent, rate, batch):
    """cfgs/tasks of TD-MPC's code, over its cfgs/default.yaml."""
    experiment = presets.make_preset("paper", env, "state", agent="tdmpc")
    config = experiment.agent_config
    assert (experiment.environment.action_repeat, experiment.run.env_steps) == (repeat, env_steps)
    assert (config.planner.num_iterations, config.model.latent) == (iterations, latent)
    assert (config.optimizer.learning_rate, experiment.replay.batch_size) == (rate, batch)


def test_the_papers_figures_from_pixels():
    """cfgs/pixels.yaml of TD-MPC's code, and its `enc`, `NormalizeImg` and `RandomShiftsAug`."""
    experiment = presets.make_preset("paper", "cartpole_swingup", "pixels", agent="tdmpc")
    config, environment, replay = experiment.agent_config, experiment.environment, experiment.replay
    assert (environment.image_size, environment.frame_stack, environment.action_repeat) == (84, 3, 8)
    assert (config.model.conv_depth, config.model.latent, config.planner.num_iterations) == (32, 50, 8)
    assert (config.optimizer.learning_rate, replay.batch_size, config.loss.shift) == (3e-4, 256, 84 // 21)
    assert experiment.run.env_steps == replay.capacity == 100_000
    assert presets.make_preset("paper", "quadruped_run", "pixels", agent="tdmpc").environment.camera == 2
    model = make_decoder_free(
        config.model, EnvSpec.single((84, 84, 9), "uint8", action_size=1, action_repeat=8, max_decisions=125)
    )
    shapes = jax.tree.map(jnp.shape, jax.eval_shape(model.init, jax.random.key(0))["encoder"])
    kernels = [shapes[f"_Conv_{i}"]["kernel"] for i in range(4)]
    assert kernels == [(7, 7, 9, 32), (5, 5, 32, 32), (3, 3, 32, 32), (3, 3, 32, 32)]
    assert shapes["Dense_0"]["kernel"] == (3 * 3 * 32, 50) and len(shapes) == 5


def test_pixels_go_from_0_to_1():
    spec = EnvSpec.single((40, 40, 3), "uint8", action_size=1, action_repeat=1, max_decisions=None)
    world = make_decoder_free(CONFIG.model, spec).world
    image = np.linspace(0, 255, 40 * 40 * 3).astype(np.uint8).reshape(40, 40, 3)
    seen = world.preprocess({"image": jnp.asarray(image)}, jax.random.key(0))
    np.testing.assert_allclose(seen["image"], image.reshape(-1) / 255, rtol=1e-6)
    np.testing.assert_allclose(world.postprocess(seen)["image"], image / 255, rtol=1e-6)


@pytest.mark.parametrize(
    ("make_config", "field"),
    [
        (lambda: TDMPCLossConfig(discount=1.5), "TDMPCLossConfig.discount"),
        (lambda: TDMPCLossConfig(shift=-1), "TDMPCLossConfig.shift"),
        (lambda: TDMPCOptimizerConfig(target_every=0), "TDMPCOptimizerConfig.target_every"),
        (lambda: TDMPCOptimizerConfig(target_rate=2.0), "TDMPCOptimizerConfig.target_rate"),
        (lambda: ScheduleConfig(updates=0), "ScheduleConfig.updates"),
        (lambda: TDMPCConfig(policy_std=-1.0), "policy_std"),
        (
            lambda: TDMPCConfig(model=replace(TDMPCConfig().model, predict_terminal=True)),
            "Config.predict_terminal",
        ),
    ],
)
def test_mistakes_name_the_field(make_config, field):
    with pytest.raises(ValueError, match=field):
        make_config()
