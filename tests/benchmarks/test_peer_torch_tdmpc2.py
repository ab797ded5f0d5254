"""TD-MPC2's peer computes what latentplan computes: same parameters, same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import peer_torch_tdmpc2 as peer  # noqa: E402
import update  # noqa: E402

from latentplan.agents.tdmpc.v2 import TDMPC2Config, make_objective, make_tdmpc2, sample_two_members  # noqa: E402
from latentplan.models.decoder_free import DecoderFreeConfig, Latent, make_decoder_free  # noqa: E402
from latentplan.types import EnvSpec, Sample  # noqa: E402

SPEC = EnvSpec.single((5,), action_size=2, action_repeat=2, max_decisions=500)
CONFIG = TDMPC2Config(  # two Q-functions, no dropout and a policy of little spread: hardly anything random
    model=DecoderFreeConfig(
        latent=16, hidden=24, encoder_hidden=12, num_q=2, num_bins=21, dropout=0.0, min_log_std=-9.0, max_log_std=-8.9
    )
)


def copy_mlp(module, params):
    linear = [layer for layer in module if isinstance(layer, torch.nn.Linear)]
    norms = [layer for layer in module if isinstance(layer, torch.nn.LayerNorm)]
    for i, layer in enumerate(linear):
        layer.weight.data = torch.tensor(np.array(params[f"Dense_{i}"]["kernel"]).T.copy())
        layer.bias.data = torch.tensor(np.array(params[f"Dense_{i}"]["bias"]))
    for i, layer in enumerate(norms):
        layer.weight.data = torch.tensor(np.array(params[f"LayerNorm_{i}"]["scale"]))
        layer.bias.data = torch.tensor(np.array(params[f"LayerNorm_{i}"]["bias"]))


def copy_ensemble(module, params):
    for i in range(3):
        module.weights[i].data = torch.tensor(np.array(params[f"Dense_{i}"]["kernel"]))
        module.biases[i].data = torch.tensor(np.array(params[f"Dense_{i}"]["bias"])[:, None])
    for i in range(2):
        module.scales[i].data = torch.tensor(np.array(params[f"LayerNorm_{i}"]["scale"])[:, None])
        module.shifts[i].data = torch.tensor(np.array(params[f"LayerNorm_{i}"]["bias"])[:, None])


@pytest.fixture(scope="module")
def both():
    agent = make_tdmpc2(CONFIG, SPEC)
    state = agent.init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(state.params)
    rng = np.random.default_rng(0)
    params = tree.unflatten([x + jnp.asarray(0.2 * rng.normal(size=x.shape), jnp.float32) for x in leaves])
    learning = state.opt_state._replace(target_q=params["q"])
    model = peer.Model(CONFIG, SPEC)
    for name in ("encoder", "dynamics", "reward", "policy"):
        copy_mlp(getattr(model, name), params[name])
    copy_ensemble(model.q, params["q"])
    return agent, state._replace(params=params, opt_state=learning), model


def test_values_of_action_sequences(both):
    _, state, model = both
    told = make_decoder_free(CONFIG.model, SPEC)
    rng = np.random.default_rng(1)
    observation = rng.normal(size=5).astype("f")
    actions = rng.uniform(-1, 1, (3, 7, 2)).astype("f")
    z = told.world.encode(state.params, {"state": observation})
    belief = Latent(z, z, jnp.zeros(2))
    expected = jax.jit(make_objective(told, model.discount))(
        state.params, belief, jnp.asarray(actions), jax.random.key(0)
    )
    with torch.no_grad():
        found = model.value_of(model.encoder(torch.tensor(observation)).expand(7, -1), torch.tensor(actions), [0, 1])
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    assert jax.tree.leaves(sample_two_members(state.params["q"], jax.random.key(0)))[0].shape[0] == 2


def test_an_update_moves_parameters_the_same_way(both):
    agent, state, model = both
    batch = update.random_batch(SPEC, 6, 4)
    after, metrics = jax.jit(agent.updates["joint"])(state, Sample.uniform(batch), jax.random.key(2))
    observation, action, reward = (torch.tensor(x) for x in (batch.observation["state"], *batch[1:3]))
    loss = peer.make_update(model, CONFIG, compiled=False)(observation, action[1:], reward[1:])
    np.testing.assert_allclose(float(loss), metrics["loss"], rtol=2e-3)
    for name, module in (("dynamics", model.dynamics), ("encoder", model.encoder), ("policy", model.policy)):
        kernel = lambda params, name=name: np.array(params[name]["Dense_1"]["kernel"])  # noqa: E731
        ours = kernel(after.params) - kernel(state.params)
        linear = [layer for layer in module if isinstance(layer, torch.nn.Linear)]
        theirs = linear[1].weight.detach().numpy().T - kernel(state.params)
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.97, name
        assert np.abs(theirs).max() == pytest.approx(np.abs(ours).max(), rel=0.05)


def test_a_plan_is_an_action(both):
    _, _, model = both
    z = torch.full((1, 16), 1 / 8)
    action = peer.make_plan(model, CONFIG, model.value_of)(z)
    assert action.shape == (2,) and action.abs().max() <= 1
