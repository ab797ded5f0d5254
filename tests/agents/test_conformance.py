"""What every agent promises the driver. A new agent joins by its lines in VARIANTS."""

import functools
from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import one_of_each
from two_stage import TWO_STAGE, TwoStageConfig

from agents.dreamers import small
from agents.windows import time_first
from latentplan.agents import AGENTS
from latentplan.agents.acting import random_choices
from latentplan.agents.planet import LossConfig, OptimizerConfig, PlaNetConfig, make_planet
from latentplan.agents.tdmpc.v1 import TDMPCConfig
from latentplan.agents.tdmpc.v2 import TDMPC2Config
from latentplan.diagnostics.imagination import SIDE_BY_SIDE
from latentplan.models.actor import ActorConfig
from latentplan.models.decoder_free import DecoderFreeConfig
from latentplan.models.world_model import WorldModelConfig
from latentplan.planners.cem import CEMConfig
from latentplan.planners.mppi import MPPIConfig
from latentplan.types import ArraySpec, Batch, EnvSpec, Evidence, Sample

SPECS = {
    "pixels": EnvSpec.single((64, 64, 3), "uint8", action_size=2, action_repeat=2, max_decisions=10),
    "state": EnvSpec.single((3,), action_size=2, action_repeat=2, max_decisions=10),
    "image and vector": EnvSpec(
        {"camera": ArraySpec((16, 16, 3), "uint8"), "joints": ArraySpec((3,))}, {"action": ArraySpec((2,))}, 2, 10
    ),
    "choices": EnvSpec.single((3,), action_size=2, action_repeat=2, max_decisions=10, discrete=True),
}
ENVS, B, T, CONTEXT = 3, 2, 5, 2


def planet(kind, predict_terminal=False, **options):
    sizes = dict(deter=8, stoch=4, hidden=8, layers=1, conv_depth=4, reward_hidden=8, vector_hidden=8)
    return PlaNetConfig(
        model=WorldModelConfig(kind=kind, predict_terminal=predict_terminal, **sizes),
        planner=CEMConfig(horizon=3, num_iterations=2, num_candidates=16, num_elites=4, warm_start=True),
        **options,
    )


OVERSHOOTING = LossConfig(
    overshooting_distance=3,
    overshooting_beta=(1.0, 0.5),
    overshooting_reward_scale=2.0,
    observation_overshooting_distance=2,
    global_prior_scale=0.1,
    free_nats=0.1,
)


def tdmpc(**options):
    return TDMPCConfig(
        model=replace(TDMPCConfig().model, latent=8, hidden=8, encoder_hidden=8, conv_depth=4, **options),
        planner=MPPIConfig(horizon=3, num_iterations=2, num_candidates=16, num_elites=4, policy_candidates=4),
    )


def tdmpc2(**options):
    return TDMPC2Config(
        model=DecoderFreeConfig(
            latent=8, hidden=8, encoder_hidden=8, simplex=4, conv_depth=4, num_q=3, num_bins=11, **options
        ),
        planner=MPPIConfig(horizon=3, num_iterations=2, num_candidates=16, num_elites=4, policy_candidates=4),
    )


VARIANTS = {
    "planet": {
        "rssm": planet("rssm"),
        "ssm": planet("ssm"),
        "rnn": planet("rnn"),
        "vae": planet("vae"),
        "overshooting": planet("rssm", loss=OVERSHOOTING, optimizer=OptimizerConfig(ramp=10)),
        "terminal": planet("rssm", predict_terminal=True),
    },
    "dreamer_v1": {
        "gaussian": small("dreamer_v1", units=8, horizon=3),
        "choices": small("dreamer_v1", units=8, horizon=3),
    },
    "dreamer_v2": {
        "both": small("dreamer_v2", units=8, horizon=3, actor_gradient="both", target_every=2),
        "choices": small("dreamer_v2", units=8, horizon=3),
    },
    "dreamer_v3": {
        "block": small("dreamer_v3", units=8, horizon=3),
        "cem": small("dreamer_v3", units=8, horizon=3, planner=planet("rssm").planner),
        "choices": small(
            "dreamer_v3", units=8, horizon=3, planner=replace(planet("rssm").planner, policy_candidates=4)
        ),
    },
    "tdmpc": {"told": tdmpc(), "small images": tdmpc(conv="world_models")},
    "tdmpc2": {
        "told": tdmpc2(),
        "terminal": tdmpc2(predict_terminal=True),
        "small images": tdmpc2(conv="world_models"),
    },
    "two_stage": {"rssm": TwoStageConfig(**vars(planet("rssm")))},
}
MEMBERS = AGENTS | {"two_stage": TWO_STAGE}  # a throw-away agent: several updates promise what one does
PIXELS = {"planet": "rssm", "dreamer_v3": "block", "tdmpc": "told", "tdmpc2": "told"}
SEVERAL = {
    "planet": "overshooting", "dreamer_v1": "gaussian", "dreamer_v2": "both", "dreamer_v3": "block",
    "tdmpc": "small images", "tdmpc2": "small images",
}  # fmt: skip
# The dynamics do not know what is observed, so pixels, slow to compile, are tried with one of them.
CASES = [
    (agent, variant, "choices" if variant == "choices" else "state")
    for agent, variants in VARIANTS.items()
    for variant in variants
    if variant != "small images"
]
CASES += [(agent, variant, "pixels") for agent, variant in PIXELS.items()]
CASES += [(agent, variant, "image and vector") for agent, variant in SEVERAL.items()]


class Case:
    """One agent with its functions jitted once, as the driver does it, counting traces."""

    def __init__(self, name, variant, obs):
        self.spec, self.traces, self.draws = SPECS[obs], [], variant != "rnn" or obs == "pixels"
        self.name = name
        self.agent = MEMBERS[name].make(VARIANTS[name][variant], self.spec)
        self.act = jax.jit(self._counted("act", self.agent.act), static_argnames="mode")
        self.updates = {name: jax.jit(self._counted(name, update)) for name, update in self.agent.updates.items()}
        diagnostics = self.agent.diagnostics.items()
        self.measures = {name: jax.jit(self._counted(name, each.measure)) for name, each in diagnostics}
        self.init = jax.jit(self.agent.init)
        self.fresh = self.state = self.init(jax.random.key(0))
        if name != "planet":  # TD-MPC and Dreamer V3: rewards and values start at zero, whatever comes in
            generator = np.random.default_rng(1)
            moved = lambda x: jnp.asarray(x + 0.1 * generator.normal(size=x.shape), x.dtype)  # noqa: E731
            self.state = self.state._replace(params=jax.tree.map(moved, jax.device_get(self.state.params)))

    def _counted(self, name, function):
        def counted(*args, **kwargs):
            self.traces.append((name, kwargs.get("mode")))
            return function(*args, **kwargs)

        return counted

    def update(self, state, sample, key, updates=None):
        """One step of the default schedule: every update once, in order; the metrics are the last one's."""
        for update in (updates or self.updates).values():
            state, metrics = update(state, sample, key)
        return state, metrics

    def observation(self, *batch_shape, seed=0):
        generator = np.random.default_rng(seed)

        def draw(space):
            shape = (*batch_shape, *space.shape)
            return generator.integers(0, 256, shape, np.uint8) if space.is_image else generator.normal(size=shape)

        return {name: draw(space).astype(space.dtype) for name, space in self.spec.observations.items()}

    def mixed(self, observation, where, constant=None):
        """Other observations [T, B] at the steps where `where(time)`: drawn, or all of one value."""
        other = self.batch(seed=21).observation
        if constant is not None:
            other = {name: np.full_like(x, constant) for name, x in other.items()}
        steps = where(np.arange(T))
        return {
            name: np.where(steps.reshape(T, *[1] * (x.ndim - 1)), other[name], x) for name, x in observation.items()
        }

    def batch(self, seed=0):
        """[T, B]."""
        generator = np.random.default_rng(seed)
        is_first = np.zeros((B, T), bool)
        is_first[0, 0] = is_first[1, 3] = True
        batch = Batch(
            observation=self.observation(B, T, seed=seed),
            action=np.where(is_first[..., None], 0, generator.uniform(-1, 1, (B, T, 2))).astype(np.float32),
            reward=generator.uniform(0, 1, (B, T)).astype(np.float32),
            is_first=is_first,
            is_last=np.roll(is_first, -1, 1) & (np.arange(T) < T - 1),
            is_terminal=np.zeros((B, T), bool),
        )
        return time_first(batch)

    def sample(self, seed=0):
        return jax.tree.map(np.asarray, Sample.uniform(self.batch(seed)))

    @functools.cached_property
    def infos(self):
        """What acting reports at evaluation, as shapes."""
        act = functools.partial(self.agent.act, mode="eval")
        inputs = self.agent.initial(B), self.observation(B), np.ones(B, bool), jax.random.key(0)
        return jax.eval_shape(act, self.state.params, *inputs)[2]

    def evidence(self, batch=None):
        """A batch as it is measured, with infos as of an evaluation."""
        infos = {name: np.full((T, *x.shape), 0.5, np.float32) for name, x in self.infos.items()}
        return Evidence(self.batch() if batch is None else batch, infos, context=CONTEXT, length=CONTEXT + 4)

    def measure(self, name, key, batch=None):
        return self.measures[name](self.state.params, self.evidence(batch), key)

    def carry(self):
        """What acting remembers after a first decision."""
        return self.act(
            self.state.params,
            self.agent.initial(ENVS),
            self.observation(ENVS),
            np.ones(ENVS, bool),
            jax.random.key(1),
            mode="explore",
        )[1]


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


get_case = functools.cache(Case)
NOT_FIRST = np.zeros(ENVS, bool)


# Every agent and every kind of observation; the rest of the variants are slow.
@pytest.fixture(params=one_of_each(CASES, lambda case: case[0], lambda case: case[2]))
def case(request):
    return get_case(*request.param)


def test_every_agent_and_every_kind_of_model_is_in_the_battery():
    from latentplan.models.world_model import DYNAMICS

    assert VARIANTS.keys() == MEMBERS.keys() and SEVERAL.keys() == AGENTS.keys()
    assert DYNAMICS.keys() <= VARIANTS["planet"].keys()
    for name, variants in VARIANTS.items():
        assert all(isinstance(config, MEMBERS[name].config) for config in variants.values())


def test_init_gives_finite_float32_params_and_zero_updates(case):
    chex.assert_tree_all_finite(case.state.params)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(case.state.params))
    assert case.state.updates.dtype == jnp.int32 and case.state.updates == 0
    other = case.init(jax.random.key(5))
    assert not np.array_equal(flat(case.fresh.params), flat(other.params))


def test_init_and_act_eager_equal_jit():
    case = get_case("planet", "rssm", "state")
    chex.assert_trees_all_close(case.agent.init(jax.random.key(0)), case.fresh, atol=1e-6)
    args = case.state.params, case.carry(), case.observation(ENVS, seed=1), NOT_FIRST, jax.random.key(2)
    eager, jitted = case.agent.act(*jax.device_put(args), mode="explore"), case.act(*args, mode="explore")
    chex.assert_trees_all_close(eager, jitted, atol=1e-4)


def test_act_shapes_dtypes_bounds(case):
    carry = case.carry()
    action, after, info = case.act(
        case.state.params, carry, case.observation(ENVS), NOT_FIRST, jax.random.key(3), mode="explore"
    )
    chex.assert_shape(action, (ENVS, 2))
    assert action.dtype == jnp.float32 and np.abs(action).max() <= 1.0
    np.testing.assert_array_equal(after.action, action)
    chex.assert_trees_all_equal_shapes_and_dtypes(case.agent.initial(ENVS), carry, after)
    chex.assert_tree_all_finite((action, after, info))
    assert all(value.shape[0] == ENVS for value in info.values())


def test_act_same_key_same_action_another_key_another_action(case):
    carry = case.carry()
    first, again, *others = (
        case.act(case.state.params, carry, case.observation(ENVS), NOT_FIRST, jax.random.key(seed), mode="explore")
        for seed in (4, 4, 5, 6, 7)
    )
    chex.assert_trees_all_equal(first, again)
    differs = [not np.array_equal(first[0], other[0]) for other in others]
    assert all(differs) or (case.spec.discrete and any(differs))  # of two choices, one may come twice


def test_act_depends_on_observation_and_history(case):
    carry, key = case.carry(), jax.random.key(6)

    def belief(carry, observation):
        return flat(case.act(case.state.params, carry, observation, NOT_FIRST, key, mode="explore")[1].belief)

    base = belief(carry, case.observation(ENVS))
    assert not np.allclose(base, belief(carry, case.observation(ENVS, seed=9)), atol=1e-5)
    assert not np.allclose(base, belief(carry._replace(action=-carry.action), case.observation(ENVS)), atol=1e-5)


def test_is_first_in_act_wipes_whatever_was_carried(case):
    initial = case.agent.initial(ENVS)
    garbage = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), initial)
    args, first = (case.observation(ENVS), jax.random.key(7)), np.ones(ENVS, bool)

    def act(carry, is_first):
        return case.act(case.state.params, carry, args[0], is_first, args[1], mode="explore")

    chex.assert_trees_all_equal(act(garbage, first), act(initial, first))
    kept = jax.tree.map(lambda x: jnp.full_like(x, 0.9), initial)
    wiped, fresh = (act(carry, first)[0] for carry in (kept, initial))
    mixed, carried, _ = act(kept, np.array([True, False, True]))
    np.testing.assert_allclose(wiped, fresh, atol=1e-6)
    np.testing.assert_allclose(mixed[0::2], fresh[0::2], atol=1e-6)
    histories = (flat(jax.tree.map(lambda x: x[1], x.belief)) for x in (carried, act(initial, NOT_FIRST)[1]))
    assert not np.allclose(*histories, atol=1e-3)


def test_environments_do_not_see_each_other(case):
    carry, key = case.carry(), jax.random.key(8)
    observation = case.observation(ENVS)
    before = case.act(case.state.params, carry, observation, NOT_FIRST, key, mode="explore")
    other = case.observation(ENVS, seed=3)
    observation = {name: np.concatenate([x[:1], other[name][1:]]) for name, x in observation.items()}
    carry = jax.tree.map(lambda x: x.at[1:].set(0.3), carry)
    is_first = np.array([False, True, False])
    after = case.act(case.state.params, carry, observation, is_first, key, mode="explore")
    row = lambda tree, i: jax.tree.map(lambda x: x[i], tree)  # noqa: E731
    chex.assert_trees_all_close(row(before, 0), row(after, 0), atol=1e-6)
    assert not np.allclose(flat(row(before, 1)[1].belief), flat(row(after, 1)[1].belief), atol=1e-5)


def test_update_eager_equals_jit():
    case = get_case("planet", "rssm", "state")
    eager = case.update(case.state, jax.device_put(case.sample()), jax.random.key(9), case.agent.updates)
    jitted = case.update(case.state, case.sample(), jax.random.key(9))
    # Adam divides by the gradient's size, so rounding shows where a gradient is nearly zero.
    chex.assert_trees_all_close(eager[0].params, jitted[0].params, atol=2e-4)
    chex.assert_trees_all_close(eager[1], jitted[1], rtol=1e-3, atol=1e-4)


def test_update_keeps_structure_and_leaves_its_inputs_alone(case):
    state, sample = case.state, case.sample()
    before = jax.tree.map(np.array, (state, sample))
    after, metrics = case.update(state, sample, jax.random.key(10))
    chex.assert_trees_all_equal((state, sample), before)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, after)
    assert after.updates == len(case.updates)
    after, _ = case.update(after, sample, jax.random.key(11))
    assert after.updates == 2 * len(case.updates)
    if case.name == "tdmpc":
        priority = metrics.pop("priority")
        assert priority.shape == (B,) and (priority > 0).all()
    for value in metrics.values():
        assert value.shape == () and value.dtype == jnp.float32
    chex.assert_tree_all_finite((after, metrics))


def test_slow_critics_follow():
    """Dreamer V2's is a copy, two updates old at most here; V3's goes 2 % of the way."""
    case = get_case("dreamer_v2", "both", "state")
    states = [case.fresh]
    for seed in range(3):
        states.append(case.update(states[-1], case.sample(), jax.random.key(seed))[0])
    targets, critics = [x.opt_state.target_critic for x in states], [x.params["critic"] for x in states]
    for step, copied in ((1, 0), (2, 0), (3, 2)):  # before updates 0 and 2
        chex.assert_trees_all_equal(targets[step], critics[copied])
    case = get_case("dreamer_v3", "block", "state")
    after, _ = case.update(case.state, case.sample(), jax.random.key(0))
    slow = lambda old, new: 0.98 * old + 0.02 * new  # noqa: E731
    expected = jax.tree.map(slow, case.state.opt_state.slow_critic, after.params["critic"])
    chex.assert_trees_all_close(after.opt_state.slow_critic, expected, rtol=1e-5)


def test_update_moves_every_part_of_the_model(case):
    after, _ = case.update(case.state, case.sample(), jax.random.key(12))
    if not np.any(jax.tree.leaves(after.params)[0] != jax.tree.leaves(case.state.params)[0]):
        after, _ = case.update(after, case.sample(), jax.random.key(12))  # a ramp starts at a rate of zero
    for part in after.params:
        moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), after.params[part], case.state.params[part])
        assert any(jax.tree.leaves(moved)), part


def test_update_same_key_same_result(case):
    state, _ = case.update(case.state, case.sample(), jax.random.key(12))  # TD-MPC's first predictions are all zero
    first, again, other = (case.update(state, case.sample(), jax.random.key(seed)) for seed in (13, 13, 14))
    chex.assert_trees_all_equal(first, again)
    if case.draws:  # posteriors are sampled, pixels dequantised
        assert first[1]["loss"] != other[1]["loss"]


def test_metrics_tell_whether_the_update_was_finite(case):
    _, metrics = case.update(case.state, case.sample(), jax.random.key(15))
    assert metrics["finite"] == 1.0
    for poison in (np.nan, np.inf):
        sample = case.sample()
        sample.batch.reward[1, 0] = poison
        _, metrics = case.update(case.state, sample, jax.random.key(15))
        assert metrics["finite"] == 0.0


def test_open_loop_shapes_and_units(case):
    batch = case.batch()
    numbers, prediction = case.measure("open_loop", jax.random.key(16))
    shapes = {name: (T, B, *space.shape) for name, space in case.spec.observations.items()}
    decodes = prediction.predicted_observation is not None
    assert decodes == (not case.name.startswith("tdmpc"))
    assert jax.tree.map(jnp.shape, prediction.true_observation) == shapes
    assert not decodes or jax.tree.map(jnp.shape, prediction.predicted_observation) == shapes
    assert prediction.true_reward.shape == prediction.predicted_reward.shape == (T, B)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(prediction))
    chex.assert_tree_all_finite((numbers, prediction))
    assert numbers.keys() == ({"reward_mae", "observation_mse"} if decodes else {"reward_mae"})
    np.testing.assert_array_equal(prediction.true_reward, batch.reward)
    for name, space in case.spec.observations.items():
        true, recorded = prediction.true_observation[name], batch.observation[name]
        if not space.is_image:
            np.testing.assert_allclose(true, recorded, atol=1e-5)
            continue
        np.testing.assert_allclose(true, recorded / 256, atol=2**-5)
        if decodes:
            predicted = prediction.predicted_observation[name]
            assert predicted.min() >= 0 and predicted.max() <= 1


def test_an_actors_imagined_trajectories_see_the_context_only(case):
    assert ("imagination" in case.measures) == case.name.startswith("dreamer")
    if "imagination" not in case.measures:
        return
    batch = case.batch()
    sees = lambda batch: case.measure("imagination", jax.random.key(18), batch).picture  # noqa: E731
    base = sees(batch)
    several = B * SIDE_BY_SIDE
    for name, space in case.spec.observations.items():
        assert base.observation[name].shape == (CONTEXT + 4, several, *space.shape)
    assert base.reward.shape == (CONTEXT + 4, several)
    chex.assert_tree_all_finite(base)
    later = batch._replace(
        observation=case.mixed(batch.observation, lambda time: time >= CONTEXT),
        action=np.where(np.arange(T)[:, None, None] >= CONTEXT, np.float32(0.5), batch.action),
    )
    chex.assert_trees_all_equal(sees(later), base)


def test_open_loop_sees_the_context_only_and_follows_the_actions(case):
    batch, key = case.batch(), jax.random.key(17)

    def predict(batch):
        prediction = case.measure("open_loop", key, batch).picture
        predicted = prediction.predicted_observation
        reward = np.asarray(prediction.predicted_reward)
        flat = [np.asarray(x).reshape(T, B, -1) for x in jax.tree.leaves(predicted)]
        return (np.concatenate(flat, -1) if flat else reward), reward

    base = predict(batch)
    later = batch._replace(observation=case.mixed(batch.observation, lambda time: time >= CONTEXT))
    chex.assert_trees_all_equal(predict(later), base)

    # For Dreamer V3 far enough from noise to draw other classes.
    constant = 200 if case.name == "dreamer_v3" and case.spec.images else None
    earlier = batch._replace(observation=case.mixed(batch.observation, lambda time: time < CONTEXT, constant))
    assert not np.allclose(predict(earlier)[0][CONTEXT:], base[0][CONTEXT:], atol=1e-6)

    action = batch.action.copy()
    action[CONTEXT + 1] *= -1.0
    turned = predict(batch._replace(action=action))
    np.testing.assert_array_equal(turned[1][: CONTEXT + 1], base[1][: CONTEXT + 1])
    assert not np.allclose(turned[1][CONTEXT + 1 :], base[1][CONTEXT + 1 :], atol=1e-6)


def test_errors_ahead_are_finite_and_of_the_promised_shape(case):
    found = {name: np.asarray(x) for name, x in case.measure("prediction", jax.random.key(22)).numbers.items()}
    decoder_free, others = {"reward_mae", "latent_mse"}, {"reward_mae", "kl", "observation_mse"}
    assert found.keys() == (decoder_free if case.name.startswith("tdmpc") else others)
    assert len({x.shape for x in found.values()}) == 1 and found["reward_mae"].ndim == 1
    chex.assert_tree_all_finite(found)
    reached = np.arange(len(found["reward_mae"])) < T - 1
    error = found.get("observation_mse", found.get("latent_mse"))
    assert (error[reached] > 0).all() and all((x >= 0).all() for x in found.values())


def test_what_was_reported_is_averaged_and_promises_are_held_against_what_came(case):
    numbers, batch = case.measure("planning", jax.random.key(0)).numbers, case.batch()
    horizon = len(numbers["planned_rewards"])
    chex.assert_tree_all_finite(numbers)
    assert numbers["planned_return"] == pytest.approx(0.5 * horizon)
    starts = [
        (t, b) for b in range(B) for t in range(T - horizon) if not batch.is_first[t + 1 : t + horizon + 1, b].any()
    ]
    realised = np.mean([batch.reward[t + 1 : t + horizon + 1, b] for t, b in starts], 0)
    np.testing.assert_allclose(numbers["realised_rewards"], realised, rtol=1e-5)


def test_second_calls_compile_nothing(case):
    """As the driver calls them: NumPy data, and the carry and the train state that came back."""
    carry, state, is_first = case.agent.initial(ENVS), case.state, np.ones(ENVS, bool)
    for i in range(3):
        key = jax.random.fold_in(jax.random.key(18), i)
        _, carry, _ = case.act(state.params, carry, case.observation(ENVS, seed=i), is_first, key, mode="explore")
        state, _ = case.update(state, case.sample(seed=i), key)
        for measure in case.measures.values():
            measure(state.params, case.evidence(case.batch(seed=i)), key)
        is_first = NOT_FIRST
    names = [*case.updates, *case.measures]
    assert sorted(case.traces) == sorted([("act", "explore"), *((name, None) for name in names)])
    for function in (case.act, *case.updates.values(), *case.measures.values()):
        assert function._cache_size() == 1


SMALLEST = [(agent, next(iter(variants)), "state") for agent, variants in VARIANTS.items()]
FAMILIES = {
    "dreamer_v3": "dreamer",
    "dreamer_v2": "dreamer",
    "dreamer_v1": "dreamer",
    "tdmpc2": "tdmpc",
    "two_stage": "planet",
}


@pytest.mark.parametrize("member", one_of_each(SMALLEST[::-1], lambda member: FAMILIES.get(member[0], member[0])))
def test_seeds_side_by_side_are_seeds_one_by_one(member):
    """`jax.vmap` over seeds of all that an agent is made of; `sharded.py` is about batches."""
    case = get_case(*member)
    keys, is_first = jax.random.split(jax.random.key(30), 2), np.ones(ENVS, bool)
    states = jax.jit(jax.vmap(case.agent.init))(keys)
    samples = [case.sample(seed) for seed in range(2)]
    evidence = [case.evidence(sample.batch) for sample in samples]
    several = lambda *trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)  # noqa: E731
    carries = several(*[case.agent.initial(ENVS)] * 2)
    observations = several(*[case.observation(ENVS, seed=seed) for seed in range(2)])
    act = functools.partial(case.agent.act, mode="explore")
    update = functools.partial(case.update, updates=case.agent.updates)
    found = {"update": jax.jit(jax.vmap(update))(states, several(*samples), keys)}
    found["act"] = jax.jit(jax.vmap(act, (0, 0, 0, None, 0)))(states.params, carries, observations, is_first, keys)
    for name, diagnostic in case.agent.diagnostics.items():
        found[name] = jax.jit(jax.vmap(diagnostic.measure))(states.params, several(*evidence), keys)
    for i in range(2):
        state, carry, seen = jax.tree.map(lambda x, i=i: x[i], (states, carries, observations))
        key = keys[i]
        alone = {"update": case.update(state, samples[i], key)}
        alone["act"] = case.act(state.params, carry, seen, is_first, key, mode="explore")
        alone |= {name: measure(state.params, evidence[i], key) for name, measure in case.measures.items()}
        # Optimisers divide by the gradient's size, so rounding shows where a gradient is nearly zero.
        side_by_side = jax.tree.map(lambda x, i=i: x[i], found)
        chex.assert_trees_all_close(side_by_side, alone, rtol=2e-3, atol=2e-3)


def test_nothing_moves_between_host_and_device_inside(case):
    """No callback is traced, and with everything on the device a call needs nothing from the host."""
    key, is_first = jax.random.key(18), jnp.ones(ENVS, bool)
    sample, observation = jax.device_put((case.sample(seed=0), case.observation(ENVS, seed=0)))
    carry, params = case.agent.initial(ENVS), case.state.params
    with jax.transfer_guard("disallow"), pytest.raises(Exception, match="transfer"):
        case.update(case.state, case.sample(seed=0), key)  # the guard sees NumPy
    with jax.transfer_guard("disallow"):
        jax.block_until_ready(case.act(params, carry, observation, is_first, key, mode="explore"))
        jax.block_until_ready(case.update(case.state, sample, key))
    for traced in (
        case.act.trace(params, carry, observation, is_first, key, mode="explore"),
        *(update.trace(case.state, sample, key) for update in case.updates.values()),
    ):
        names = primitives(traced.jaxpr.jaxpr)
        assert {"scan", "dot_general"} <= names and not [x for x in names if "callback" in x or "feed" in x]


def primitives(jaxpr):
    """The names of all operations, also of those inside loops and branches."""
    names = {equation.primitive.name for equation in jaxpr.eqns}
    inner = [x for equation in jaxpr.eqns for x in jax.tree.leaves(tuple(equation.params.values()))]
    closed = [x.jaxpr if hasattr(x, "jaxpr") else x for x in inner]
    return names.union(*(primitives(x) for x in closed if hasattr(x, "eqns")))


def test_exploring_adds_clipped_gaussian_noise_to_the_evaluation_action():
    """Same belief and key: the actions differ by N(0, noise), clipped; at evaluation there is none."""
    envs, noise = 400, 0.2
    agent = make_planet(planet("rssm", action_noise=noise), SPECS["state"])
    params = get_case("planet", "rssm", "state").state.params
    observation = {"state": np.random.default_rng(0).normal(size=(envs, 3)).astype(np.float32)}
    as_for_users = {"xla_cpu_use_fusion_emitters": True}  # so that both programs round alike; see tests/conftest.py
    act = jax.jit(agent.act, static_argnames="mode", compiler_options=as_for_users)
    args = params, agent.initial(envs), observation, np.ones(envs, bool), jax.random.key(19)
    quiet, carry, _ = act(*args, mode="eval")
    np.testing.assert_array_equal(quiet, carry.warm_start[:, 0])
    loud, carry, _ = act(*args, mode="explore")
    np.testing.assert_array_equal(carry.warm_start[:, 0], quiet)
    np.testing.assert_array_equal(carry.action, loud)  # what was done, not what was planned, is remembered
    assert np.abs(loud).max() == 1.0
    added = np.asarray(loud - quiet)[np.abs(quiet) < 1 - 3 * noise]  # hardly ever clipped
    assert added.size > 200
    np.testing.assert_allclose(added.std(), noise, rtol=5 / (2 * added.size) ** 0.5)
    np.testing.assert_allclose(added.mean(), 0.0, atol=5 * noise / added.size**0.5)


@pytest.mark.parametrize(
    ("make_config", "field"),
    [
        (lambda: OptimizerConfig(learning_rate=0.0), "learning_rate"),
        (lambda: OptimizerConfig(ramp=-1), "ramp"),
        (lambda: LossConfig(overshooting_distance=0), "overshooting_distance"),
        (lambda: LossConfig(overshooting_beta=()), "overshooting_beta"),
        (lambda: LossConfig(free_nats=-1.0), "free_nats"),
        (lambda: PlaNetConfig(action_noise=-0.1), "action_noise"),
        (lambda: random_choices(1.5), "action_noise"),
        (lambda: ActorConfig(min_std=0.0), "ActorConfig.min_std"),
        (lambda: ActorConfig(kind="normal", min_std=1.0), "ActorConfig.min_std"),
        (lambda: WorldModelConfig(kind="lstm"), "WorldModelConfig.kind"),
        (lambda: WorldModelConfig(activation="gelu"), "WorldModelConfig.activation"),
        (lambda: WorldModelConfig(dtype="float64"), "WorldModelConfig.dtype"),
    ],
)
def test_a_wrong_config_names_the_field(make_config, field, unchecked):
    with pytest.raises(ValueError, match=field):
        make_config()
