"""The peer computes what latentplan computes: same parameters, same draws, same numbers."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import peer_torch  # noqa: E402
import update  # noqa: E402

from latentplan import transforms  # noqa: E402
from latentplan.agents.planet import LossConfig, PlaNetConfig, make_optimizer, make_planet  # noqa: E402
from latentplan.models.world_model import make_world_model  # noqa: E402
from latentplan.planners import for_each_belief  # noqa: E402
from latentplan.planners.cem import CEMConfig, make_cem  # noqa: E402
from latentplan.planners.objectives import model_returns  # noqa: E402
from latentplan.types import Belief, Sample, TrainState  # noqa: E402


def set_linear(layer, *parts) -> None:
    """Sets one Linear to several dense layers of the same inputs, side by side."""
    set_layer(layer, np.concatenate([part["kernel"] for part in parts], 1).T, *(part["bias"] for part in parts))


def set_layer(layer, weight, *biases) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.array(weight)))
        layer.bias.copy_(torch.tensor(np.concatenate(biases)))


def linear_layers(module):
    return [layer for layer in module.modules() if isinstance(layer, torch.nn.Linear)]


def set_mlp(module, params) -> None:
    for layer, name in zip(linear_layers(module), sorted(params), strict=True):
        set_linear(layer, params[name])


def set_gaussian(module, params) -> None:
    *hidden, head = linear_layers(module)
    for layer, name in zip(hidden, sorted(params["_MLP_0"]), strict=True):
        set_linear(layer, params["_MLP_0"][name])
    set_linear(head, params["mean"], params["std"])


def copy_params(params, model: peer_torch.WorldModel) -> None:
    """From ours to the peer's: dense kernels transposed, convolutions and what reads them from NHWC to NCHW."""
    params = jax.tree.map(np.array, params)
    dynamics = params["dynamics"]
    if model.is_pixels:
        for net, axes in (("encoder", (3, 2, 0, 1)), ("decoder", (2, 3, 0, 1))):
            convs = [layer for layer in getattr(model, net) if hasattr(layer, "kernel_size")]
            for i, layer in enumerate(convs):
                conv = params[net][f"_Conv_{i}"]
                set_layer(layer, conv["kernel"].transpose(axes), conv["bias"])
        set_linear(*linear_layers(model.decoder), params["decoder"]["Dense_0"])
        first = dynamics["posterior"]["_MLP_0"]["Dense_0"]
        deter, embed = np.split(first["kernel"], [model.config.deter])
        embed = embed.reshape(2, 2, -1, embed.shape[-1]).transpose(2, 0, 1, 3).reshape(embed.shape)
        first["kernel"] = np.concatenate([deter, embed])
    else:
        set_mlp(model.encoder, params["encoder"])
        set_mlp(model.decoder, params["decoder"])
    gru = dynamics["recurrent"].pop("gru")
    set_mlp(model.inputs, dynamics["recurrent"])
    set_linear(model.gru.gates, gru["gates"])
    set_linear(model.gru.candidate, gru["candidate"])
    set_gaussian(model.prior, dynamics["prior"])
    set_gaussian(model.posterior, dynamics["posterior"])
    set_mlp(model.reward, params["reward"])


@pytest.fixture
def same_draws(monkeypatch):
    """Makes both draw the same: normal values that depend on the last two axes only, and no dequantisation noise."""

    def normal(*shape) -> np.ndarray:
        return np.broadcast_to(np.random.default_rng(0).normal(size=shape[-2:]), shape).astype(np.float32)

    monkeypatch.setattr(jax.random, "normal", lambda key, shape=(), dtype=None: jnp.asarray(normal(*shape)))
    monkeypatch.setattr(transforms, "dequantise", lambda image, bits, key: transforms.quantise(image, bits))
    monkeypatch.setattr(torch, "randn", lambda *shape, device=None: torch.tensor(normal(*shape)))
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.tensor(normal(*x.shape)))
    monkeypatch.setattr(torch, "rand_like", torch.zeros_like)


@pytest.fixture
def both(tiny_model_config, numpy_params):
    """(obs) -> (config, spec, our params, the peer with the same ones)."""

    def make(obs: str):
        config, spec = tiny_model_config(layers=2), update.SPECS[obs]
        params = numpy_params(make_world_model(config, spec).init)
        peer = peer_torch.make_model(config, spec, "cpu")
        copy_params(params, peer)
        return config, spec, params, peer

    return make


def test_returns_and_plan(both, same_draws):
    config, spec, params, peer = both("state")
    model, rng = make_world_model(config, spec), np.random.default_rng(1)
    belief = Belief(*(rng.normal(size=(1, size)).astype(np.float32) for size in (config.deter, config.stoch)))
    evaluate = model_returns(model)
    actions = jnp.asarray(rng.uniform(-1, 1, (5, 40, spec.action_size)), jnp.float32)
    starts = [torch.tensor(x) for x in belief]
    key = jax.random.key(0)

    ours = evaluate(params, jax.tree.map(lambda x: x[0], belief), actions, key)
    theirs = peer.imagined_return(*(x.expand(40, -1) for x in starts), torch.tensor(np.array(actions)))
    assert np.std(ours) > 0.1
    np.testing.assert_allclose(theirs.detach(), ours, rtol=1e-4, atol=1e-4)

    sizes = CEMConfig(horizon=5, num_iterations=3, num_candidates=40, num_elites=4)
    planned = for_each_belief(make_cem(sizes, spec.action_size, evaluate))(params, belief, key[None])
    action = peer_torch.make_planner(sizes, spec.action_size, peer.imagined_return)(*starts)
    assert np.std(planned.action) > 0.1
    np.testing.assert_allclose(action, planned.action, rtol=1e-4, atol=1e-4)


def test_several_beliefs_are_planned_for_by_themselves(both, same_draws):
    config, spec, _, peer = both("state")
    sizes = CEMConfig(horizon=3, num_iterations=2, num_candidates=20, num_elites=4)
    plan = peer_torch.make_planner(
        sizes, spec.action_size, lambda deter, stoch, actions: actions.sum((0, 2)) * deter[:, 0]
    )
    deter = torch.ones(2, config.deter) * torch.tensor([[1.0], [-1.0]])
    up, down = plan(deter, torch.zeros(2, config.stoch))
    alone = plan(deter[1:], torch.zeros(1, config.stoch))
    assert up.sum() > 0 > down.sum()
    torch.testing.assert_close(down, alone[0])


@pytest.mark.parametrize("obs", ["pixels", "state"])
def test_updates(both, same_draws, obs):
    model, spec, params, peer = both(obs)
    config = PlaNetConfig(model=model, loss=LossConfig(free_nats=0.5))
    batch = update.random_batch(spec, 3, 4)
    batch.is_first[0] = batch.is_first[2, 1] = True
    agent = make_planet(config, spec)
    state = TrainState(params, make_optimizer(config.optimizer).init(params), jnp.int32(0))
    step = jax.jit(agent.updates["joint"])
    theirs = peer_torch.make_update(peer, config, peer_torch.make_loss(peer, config, peer.observe_step))
    tensors = peer_torch.to_torch(batch, "cpu")
    for _ in range(2):  # the second loss depends on the gradients of the first, on clipping and on Adam
        state, metrics = step(state, Sample.uniform(batch), jax.random.key(0))
        assert theirs(tensors).item() == pytest.approx(float(metrics["loss"]), rel=1e-6)


def test_other_models_are_refused(tiny_model_config):
    with pytest.raises(SystemExit, match="expected kind rssm and activation relu, got rssm and elu"):
        peer_torch.make_model(replace(tiny_model_config(), activation="elu"), update.SPECS["state"], "cpu")
