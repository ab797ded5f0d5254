"""What every world model obeys: one battery over the registry of dynamics, on pixels and on state vectors."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import one_of_each

from latentplan.models.decoder_free import DecoderFreeConfig, make_decoder_free
from latentplan.models.rollout import imagine, observe, previous_beliefs
from latentplan.models.world_model import DYNAMICS, WorldModelConfig, make_world_model
from latentplan.types import Belief, EnvSpec, WorldModel

STEPS, BATCH = 4, 2
CLASSES = 3
VARIANTS = {
    **{kind: {"kind": kind} for kind in DYNAMICS},
    "normed": {"classes": CLASSES, "cell": "normed", "activation": "elu"},  # Dreamer V2's
    "block": {
        "classes": CLASSES, "cell": "block", "blocks": 2, "unimix": 0.01, "norm": "rms", "activation": "silu",
        "weights": "truncated", "prior_layers": 1, "vector_output": "activated", "reward": "two_hot",
    },  # Dreamer V3's
}  # fmt: skip
KEY = jax.random.key(7)
KEYS = jax.random.split(KEY, STEPS)


class Case(NamedTuple):
    """A model with parameters, recorded inputs, and its functions compiled."""

    kind: str
    observations: str
    model: WorldModel
    params: dict
    belief: Belief  # [B, ...], anything but the initial one
    actions: jax.Array
    embeds: jax.Array
    is_first: jax.Array  # none
    observe_step: Callable
    imagine_step: Callable
    observe: Callable
    imagine: Callable


def uniform(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, shape), jnp.float32)


CASES = [(kind, "state") for kind in VARIANTS] + [(kind, "pixels") for kind in DYNAMICS]


@pytest.fixture(scope="module", params=one_of_each(CASES))
def case(request, tiny_model_config, tiny_specs, numpy_params) -> Case:
    kind, observations = request.param
    model = make_world_model(tiny_model_config(**VARIANTS[kind]), tiny_specs[observations])
    params = numpy_params(model.init)
    belief = jax.tree.map(lambda x: uniform(1, *x.shape), model.initial((BATCH,)))
    embed_size = {"pixels": 128, "state": 8}[observations]
    return Case(
        kind, observations, model, params, belief,
        actions=uniform(2, STEPS, BATCH, 2),
        embeds=uniform(3, STEPS, BATCH, embed_size),
        is_first=jnp.zeros((STEPS, BATCH), bool),
        observe_step=jax.jit(model.observe_step),
        imagine_step=jax.jit(model.imagine_step),
        observe=jax.jit(lambda *args: observe(model, *args)),
        imagine=jax.jit(lambda *args: imagine(model, *args)),
    )  # fmt: skip


def assert_same(got, expected):
    jax.tree.map(np.testing.assert_array_equal, got, expected)


def assert_close(got, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, expected)


def differs(got, expected) -> bool:
    return any(np.any(np.asarray(a != b)) for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True))


def row(tree, *index):
    return jax.tree.map(lambda x: x[index], tree)


def raw_observation(case: Case, *lead: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(4)
    if case.observations == "pixels":
        return {"image": jnp.asarray(rng.integers(0, 256, (*lead, 64, 64, 3)), jnp.uint8)}
    return {"state": jnp.asarray(5 * rng.normal(size=(*lead, 5)), jnp.float32)}


def first_step(case: Case):
    return case.belief, case.actions[0], case.embeds[0], case.is_first[0]


# Shapes, dtypes, values


def test_steps_have_the_promised_shapes_in_finite_float32(case):
    width, one_hot = (0 if case.kind == "ssm" else 8), "classes" in VARIANTS[case.kind]
    belief, (posterior, prior) = case.observe_step(case.params, *first_step(case), KEY)
    imagined, imagined_prior = case.imagine_step(case.params, case.belief, case.actions[0], KEY)
    for x in (belief, imagined, case.model.initial((BATCH,))):
        assert (x.deter.shape, x.stoch.shape) == ((BATCH, width), (BATCH, 4 * CLASSES if one_hot else 4))
    for latent in (posterior, prior, imagined_prior):
        if one_hot:
            assert latent.logits.shape == (BATCH, 4, CLASSES)
        else:
            assert latent.mean.shape == latent.std.shape == (BATCH, 4)
            assert np.all(np.asarray(latent.std) >= (0.0 if case.kind == "rnn" else 0.1))
    for leaf in jax.tree.leaves((belief, posterior, prior, imagined, imagined_prior, case.params)):
        assert leaf.dtype == jnp.float32
        assert np.all(np.isfinite(leaf))
    kl = case.model.divergence(posterior, prior)
    assert (kl.shape, kl.dtype) == ((BATCH,), jnp.float32)


def test_steps_stay_finite_over_a_long_rollout_of_extreme_actions(case):
    actions = jnp.sign(uniform(5, 200, BATCH, 2))
    beliefs, _ = case.imagine(case.params, case.belief, actions, KEY)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(beliefs))


@pytest.mark.parametrize("kind", sorted(DYNAMICS))
def test_init_gives_float32_trees(kind, tiny_model_config, tiny_specs):
    shapes = jax.eval_shape(make_world_model(tiny_model_config(kind=kind), tiny_specs["state"]).init, KEY)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_the_key_decides_the_parameters_and_no_two_layers_share_theirs(tiny_model_config, tiny_specs):
    init = jax.jit(
        make_world_model(tiny_model_config(layers=0, vector_layers=0, reward_layers=0), tiny_specs["state"]).init
    )
    one, again, other = (init(jax.random.key(i)) for i in (0, 0, 1))
    assert_same(one, again)
    assert differs(one, other)
    kernels = [np.asarray(leaf) for leaf in jax.tree.leaves(one) if leaf.ndim == 2]
    assert len({kernel.tobytes() for kernel in kernels}) == len(kernels)


# Compilation, batching, keys


def test_eager_is_jit(case):
    args = first_step(case)
    assert_close(case.model.observe_step(case.params, *args, KEY), case.observe_step(case.params, *args, KEY))
    args = case.belief, case.actions[0]
    assert_close(case.model.imagine_step(case.params, *args, KEY), case.imagine_step(case.params, *args, KEY))


def test_vmap_is_the_loop_over_rows(case):
    keys = jax.random.split(KEY, BATCH)
    axes = (None, 0, 0, 0, 0, 0)
    together = jax.jit(jax.vmap(case.model.observe_step, axes))(case.params, *first_step(case), keys)
    for i in range(BATCH):
        assert_close(row(together, i), case.observe_step(case.params, *row(first_step(case), i), keys[i]))


def test_leading_axes_are_free(case):
    belief, action, embed, first = jax.tree.map(lambda x: jnp.stack([x, 0.5 * x, -x]), first_step(case)[:3]) + (
        jnp.zeros((3, BATCH), bool),
    )
    got, (posterior, prior) = case.observe_step(case.params, belief, action, embed, first, KEY)
    kl = case.model.divergence(posterior, prior)
    reward = case.model.reward(case.params, belief).mean
    assert reward.shape == (3, BATCH, 1)
    for i, j in np.ndindex(3, BATCH):
        one, statistics = case.observe_step(case.params, *row((belief, action, embed, first), i, j), KEY)
        assert_close((row(got.deter, i, j), row((posterior, prior), i, j)), (one.deter, statistics))
        assert_close(kl[i, j], case.model.divergence(*statistics))
        assert_close(reward[i, j], case.model.reward(case.params, row(belief, i, j)).mean)


def test_rows_of_a_batch_draw_different_noise_and_do_not_touch_each_other(case):
    alike = jax.tree.map(lambda x: jnp.stack([x[0], x[0]]), first_step(case))
    belief, _ = case.observe_step(case.params, *alike, KEY)
    assert differs(belief.stoch[0], belief.stoch[1]) == (case.kind != "rnn")
    changed = jax.tree.map(lambda x: x.at[1].set(0.3), first_step(case)[:3]) + (case.is_first[0],)
    before, after = (case.observe_step(case.params, *args, KEY) for args in (first_step(case), changed))
    assert_same(row(before, 0), row(after, 0))
    assert differs(row(before, 1), row(after, 1))


def test_the_key_decides_the_sample_and_nothing_else(case):
    args = first_step(case)
    one, again, other = (case.observe_step(case.params, *args, jax.random.key(i)) for i in (0, 0, 1))
    assert_same(one, again)
    assert_same((one[0].deter, one[1]), (other[0].deter, other[1]))
    assert differs(one[0].stoch, other[0].stoch) == (case.kind != "rnn")


# Time


def test_is_first_wipes_belief_and_action_exactly_and_only_where_it_is_set(case):
    belief, action, embed, _ = first_step(case)
    first = jnp.array([True, False])
    initial, no_action = case.model.initial((BATCH,)), jnp.zeros_like(action)
    wiped = case.observe_step(case.params, belief, action, embed, first, KEY)
    fresh = case.observe_step(case.params, initial, no_action, embed, jnp.zeros(BATCH, bool), KEY)
    kept = case.observe_step(case.params, belief, action, embed, jnp.zeros(BATCH, bool), KEY)
    assert_same(row(wiped, 0), row(fresh, 0))
    assert_same(row(wiped, 1), row(kept, 1))
    assert differs(row(fresh, 0), row(kept, 0))


def test_is_first_wipes_even_a_belief_that_is_not_a_number(case):
    belief = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), case.belief)
    action, first = jnp.full((BATCH, 2), jnp.nan), jnp.ones(BATCH, bool)
    wiped = case.observe_step(case.params, belief, action, case.embeds[0], first, KEY)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(wiped))


def test_one_scan_is_single_steps(case):
    first = case.is_first.at[2, 0].set(True)
    beliefs, statistics = case.observe(case.params, case.belief, case.actions, case.embeds, first, KEY)
    imagined, priors = case.imagine(case.params, case.belief, case.actions, KEY)
    filtered = rolled = case.belief
    for t in range(STEPS):
        filtered, one = case.observe_step(case.params, filtered, case.actions[t], case.embeds[t], first[t], KEYS[t])
        assert_close((row(beliefs, t), row(statistics, t)), (filtered, one))
        rolled, prior = case.imagine_step(case.params, rolled, case.actions[t], KEYS[t])
        assert_close((row(imagined, t), row(priors, t)), (rolled, prior))


def test_split_and_continued_is_the_whole(case):
    @jax.jit
    def scan(belief, inputs):
        def step(belief, inputs):
            belief, statistics = case.model.observe_step(case.params, belief, *inputs)
            return belief, (belief, statistics)

        return jax.lax.scan(step, belief, inputs)

    inputs = (case.actions, case.embeds, case.is_first, KEYS)
    middle, early = scan(case.belief, row(inputs, slice(0, 2)))
    _, late = scan(middle, row(inputs, slice(2, 4)))
    whole = case.observe(case.params, case.belief, *inputs[:3], KEY)
    assert_close(jax.tree.map(lambda a, b: jnp.concatenate([a, b]), early, late), whole)


@pytest.mark.parametrize("changed", ["action", "embed", "is_first"])
def test_filtering_is_causal(case, changed):
    inputs = {"action": case.actions, "embed": case.embeds, "is_first": case.is_first}
    other = inputs | {changed: inputs[changed].at[2].set(True if changed == "is_first" else 0.25)}
    before = case.observe(case.params, case.belief, *inputs.values(), KEY)
    after = case.observe(case.params, case.belief, *other.values(), KEY)
    assert_same(row(before, slice(0, 2)), row(after, slice(0, 2)))
    assert differs(row(before, 2), row(after, 2))
    forgets = case.kind == "vae" and changed != "embed"  # its belief depends on the latest transition only
    if forgets:
        assert_same(row(before, 3), row(after, 3))
    elif changed != "embed" or "classes" not in VARIANTS[case.kind]:  # the same classes may be drawn in spite of it
        assert differs(row(before, 3), row(after, 3))
    if changed == "embed":  # the prior of a step does not see the observation of that step
        assert_same(row(before[1][1], 2), row(after[1][1], 2))


def test_imagining_is_causal_and_reads_neither_posterior_nor_encoder(case):
    before = case.imagine(case.params, case.belief, case.actions, KEY)
    after = case.imagine(case.params, case.belief, case.actions.at[2].set(0.25), KEY)
    assert_same(row(before, slice(0, 2)), row(after, slice(0, 2)))
    assert differs(row(before, 2), row(after, 2))
    broken = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), case.params)
    used = {name: case.params["dynamics"][name] for name in case.params["dynamics"] if name != "posterior"}
    broken["dynamics"] |= used
    assert_same(case.imagine(broken, case.belief, case.actions, KEY), before)


def test_one_imagined_step_has_the_prior_that_filtering_has(case):
    _, (_, prior) = case.observe_step(case.params, *first_step(case), KEY)
    assert_close(case.imagine_step(case.params, case.belief, case.actions[0], KEY)[1], prior)


def test_previous_beliefs_shifts_by_one_and_starts_afresh_with_every_episode(case):
    first = case.is_first.at[2, 1].set(True)
    beliefs, _ = case.observe(case.params, case.belief, case.actions, case.embeds, first, KEY)
    initial = case.model.initial((BATCH,))
    previous = previous_beliefs(initial, beliefs, first)
    for t, i in np.ndindex(STEPS, BATCH):
        assert_same(row(previous, t, i), row(initial, i) if t == 0 or first[t, i] else row(beliefs, t - 1, i))


# Observations and heads


def test_encoding_and_decoding_leave_leading_axes_free_and_give_float32(case):
    observation = raw_observation(case, 2, BATCH)
    ((name, raw),) = observation.items()
    size = int(np.prod(raw.shape[2:]))
    seen = jax.jit(case.model.preprocess)(observation, KEY)
    assert (seen[name].shape, seen[name].dtype) == ((2, BATCH, size), jnp.float32)
    encode, decode = jax.jit(case.model.encode), jax.jit(case.model.decode)
    beliefs = jax.tree.map(lambda x: jnp.stack([x, -x]), case.belief)
    if case.observations == "pixels" and case.kind != "rssm":  # the same networks: their shapes are enough
        embeds, decoded = jax.eval_shape(encode, case.params, seen), jax.eval_shape(decode, case.params, beliefs)
    else:
        embeds, decoded = encode(case.params, seen), decode(case.params, beliefs)
        for i in range(2):
            assert_close(embeds[i], encode(case.params, row(seen, i)))
            assert_close(decoded[name].mean[i], decode(case.params, row(beliefs, i))[name].mean)
    assert (embeds.shape, embeds.dtype) == ((2, BATCH, case.embeds.shape[-1]), jnp.float32)
    assert (decoded[name].mean.shape, decoded[name].mean.dtype) == (seen[name].shape, jnp.float32)


def test_postprocess_undoes_preprocess_up_to_the_bit_depth(case):
    observation = raw_observation(case, 3)
    back = case.model.postprocess(case.model.preprocess(observation, KEY))
    ((back,), (observation,)) = back.values(), observation.values()
    assert (back.shape, back.dtype) == (observation.shape, jnp.float32)
    if case.observations == "state":
        np.testing.assert_allclose(back, observation, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_allclose(back, np.asarray(observation) / 256, atol=1 / 32)
        assert back.min() >= 0 and back.max() <= 1


# What sets the three kinds apart


def test_only_the_rnn_has_no_divergence_and_no_spread(case):
    posterior, prior = case.observe_step(case.params, *first_step(case), KEY)[1]
    kl = case.model.divergence(posterior, prior)
    if case.kind == "rnn":
        np.testing.assert_array_equal(kl, 0.0)
        np.testing.assert_array_equal((posterior.std, prior.std), 0.0)
        for function in (case.observe, case.imagine):
            inputs = (case.embeds, case.is_first) if function is case.observe else ()
            one, other = (function(case.params, case.belief, case.actions, *inputs, jax.random.key(i)) for i in (0, 1))
            assert_same(one, other)
    else:
        assert np.all(np.asarray(kl) > 0)
        np.testing.assert_allclose(case.model.divergence(posterior, posterior), 0.0, atol=1e-6)


# Compute precision


@pytest.mark.parametrize("kind", sorted(DYNAMICS))
def test_bfloat16_is_for_computing_only(kind, tiny_model_config, tiny_specs, numpy_params):
    low, exact = (
        make_world_model(tiny_model_config(kind=kind, dtype=dtype), tiny_specs["state"])
        for dtype in ("bfloat16", "float32")
    )
    params = numpy_params(low.init)
    assert {leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(low.init, KEY))} == {jnp.dtype("float32")}

    def run(model):
        @jax.jit
        def both(params):
            embeds = model.encode(params, {"state": uniform(1, STEPS, BATCH, 5)})
            actions, first = uniform(2, STEPS, BATCH, 2), jnp.zeros((STEPS, BATCH), bool)
            beliefs, statistics = observe(model, params, model.initial((BATCH,)), actions, embeds, first, KEY)
            heads = model.decode(params, beliefs), model.reward(params, beliefs)
            return beliefs, statistics, heads, model.divergence(*statistics)

        return both(params)

    got, expected = run(low), run(exact)
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {jnp.dtype("float32")}
    assert differs(got, expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=0.15), got[:3], expected[:3])


def test_bfloat16_pixels_are_encoded_and_decoded_to_float32(tiny_model_config, tiny_specs):
    model = make_world_model(tiny_model_config(dtype="bfloat16"), tiny_specs["pixels"])
    params = jax.eval_shape(model.init, KEY)
    flat = {"image": jax.ShapeDtypeStruct((2, 64 * 64 * 3), jnp.float32)}
    embed = jax.eval_shape(model.encode, params, flat)
    image = jax.eval_shape(lambda params: model.decode(params, model.initial((2,)))["image"].mean, params)
    assert embed.dtype == image.dtype == jnp.float32


# A user's mistakes


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("deter", 0), ("stoch", 0), ("hidden", -1), ("layers", -1), ("min_std", 0.0),
        ("image_bits", -1), ("image_bits", 9), ("pixel_std", 0.0), ("vector_std", -1.0),
        ("conv_depth", 0), ("reward_hidden", 0), ("vector_hidden", 0),
    ],
)  # fmt: skip
def test_a_wrong_config_names_its_field_and_the_value(field, value):
    with pytest.raises(ValueError, match=rf"WorldModelConfig\.{field}.*{value}"):
        WorldModelConfig(**{field: value})


@pytest.mark.parametrize(("observation", "got"), [(np.ones(5), "ndarray"), ({"image": np.ones(5)}, "image"), ({}, "")])
def test_observations_without_their_names_are_refused(observation, got, tiny_model_config, tiny_specs, unchecked):
    decoder_free = make_decoder_free(DecoderFreeConfig(latent=8, hidden=8), tiny_specs["state"]).world
    for model in (make_world_model(tiny_model_config(), tiny_specs["state"]), decoder_free):
        with pytest.raises(ValueError, match=f"observation: expected .*state, got {got}"):
            model.preprocess(observation, KEY)


@pytest.mark.parametrize("shape", [(48, 48, 3), (64, 48, 3), (4, 4), ()])
def test_observations_that_no_model_fits_are_refused_with_their_shape(shape, tiny_model_config):
    with pytest.raises(ValueError, match="observations: expected.*got") as error:
        make_world_model(tiny_model_config(), EnvSpec.single(shape, action_size=2))
    assert str(shape) in str(error.value)
