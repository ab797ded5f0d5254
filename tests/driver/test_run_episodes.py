"""Collecting episodes in lock-step, with pretended environments and a pretended agent."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.agents import make_agent
from latentplan.driver.episodes import (
    Policy,
    agent_policy,
    compile_act,
    cut_message,
    episode_return,
    evaluate,
    random_policy,
    run_episodes,
)
from latentplan.envs.workers import StepResult
from latentplan.presets import make_preset
from latentplan.types import Agent, Batch, EnvSpec


class FakeWorkers:
    """Environments that count: observation = [seed, decisions so far], reward = decisions so far.

    Args:
        lengths: decisions after which environment i ends; None: never.
        terminal: which environments end by termination; the others by a limit of their own.
        max_decisions: the time limit that the spec tells.
    """

    def __init__(self, lengths, terminal=(), max_decisions=20):
        self.num_envs, self.lengths = len(lengths), lengths
        self.spec = EnvSpec.single((2,), action_size=3, action_repeat=2, max_decisions=max_decisions)
        self.terminal = np.isin(np.arange(self.num_envs), terminal)
        self.calls, self.actions, self.seeds = [], [], []

    def reset(self, seeds):
        assert len(seeds) == self.num_envs
        self.calls.append("reset")
        self.seeds.append(list(seeds))
        self.count = np.zeros(self.num_envs, int)
        return self._observation()

    def step(self, actions):
        self.calls.append("step")
        self.actions.append(np.array(actions))
        running = ~self._ended()
        self.count += running
        reward = np.where(running, self.count, 0.0).astype(np.float32)
        ended = self._ended()
        return StepResult(self._observation(), reward, ended, ended & self.terminal)

    def _ended(self):
        return self.count >= [np.inf if length is None else length for length in self.lengths]

    def _observation(self):
        return {"state": np.stack([np.array(self.seeds[-1]), self.count], 1).astype(np.float32)}


def counting_policy(seen=None):
    """Acts with decision / 100 everywhere; its carry counts decisions."""

    def act(carry, observation, is_first, key, decision):
        if seen is not None:
            seen.append((carry, np.array(observation["state"]), np.array(is_first), key, int(decision)))
        return jnp.full((len(is_first), 3), decision / 100), carry + 1, {"seen": jnp.asarray(observation["state"])}

    return Policy(lambda num_envs: 0, act)


KEY = jax.random.key(0)


def keys(number):
    """One per episode."""
    return jax.random.split(KEY, number)


def batches(run, *inputs):
    """The records alone, of each trajectory."""
    return [trajectory.batch for trajectory in run(*inputs)]


def test_one_call_of_the_policy_per_decision_for_all_environments():
    workers, seen = FakeWorkers([3, 5]), []
    run_episodes(workers, counting_policy(seen), [10, 20], keys(2))
    assert workers.calls == ["reset"] + ["step"] * 5  # until the last one has ended, and no step more
    assert workers.seeds == [[10, 20]]
    assert [carry for carry, *_ in seen] == [decision for *_, decision in seen] == [0, 1, 2, 3, 4]
    assert [is_first.tolist() for _, _, is_first, _, _ in seen] == [[True, True]] + 4 * [[False, False]]
    np.testing.assert_array_equal([observation[1, 1] for _, observation, *_ in seen], [0, 1, 2, 3, 4])


def test_every_episode_is_cut_at_its_own_end():
    episodes = batches(run_episodes, FakeWorkers([3, 5, 1]), counting_policy(), [10, 20, 30], keys(3))
    assert [len(episode.reward) for episode in episodes] == [4, 6, 2]
    for episode, length, seed in zip(episodes, (3, 5, 1), (10, 20, 30), strict=True):
        assert all(len(field) == length + 1 for field in jax.tree.leaves(episode))
        np.testing.assert_array_equal(episode.observation["state"][:, 0], seed)
        np.testing.assert_array_equal(episode.observation["state"][:, 1], np.arange(length + 1))
        np.testing.assert_array_equal(episode.reward, np.arange(length + 1))
        assert episode_return(episode) == length * (length + 1) / 2


def test_a_record_holds_the_action_that_led_to_it_and_the_first_holds_zero():
    workers = FakeWorkers([4])
    (episode,) = batches(run_episodes, workers, counting_policy(), [1], keys(1))
    np.testing.assert_array_equal(episode.action[0], 0.0)
    np.testing.assert_allclose(episode.action[1:], np.array(workers.actions)[:, 0])
    np.testing.assert_allclose(episode.action[:, 0], [0, 0, 0.01, 0.02, 0.03], rtol=1e-6)


def test_flags():
    terminal, limited = batches(run_episodes, FakeWorkers([2, 3], terminal=[0]), counting_policy(), [1, 2], keys(2))
    assert terminal.is_first.tolist() == [True, False, False]
    assert terminal.is_last.tolist() == terminal.is_terminal.tolist() == [False, False, True]
    assert limited.is_last.tolist() == [False, False, False, True]
    assert not limited.is_terminal.any()


def test_dtypes():
    (episode,) = batches(run_episodes, FakeWorkers([2]), counting_policy(), [1], keys(1))
    fields = jax.tree.leaves(episode)
    assert all(isinstance(field, np.ndarray) for field in fields)
    assert [field.dtype for field in fields] == [np.float32] * 3 + [bool] * 3


def test_an_environment_that_does_not_end_is_cut_at_the_limit():
    workers = FakeWorkers([None, 2], terminal=[1], max_decisions=6)
    endless, ended = batches(run_episodes, workers, counting_policy(), [1, 2], keys(2))
    assert workers.calls.count("step") == 6
    assert len(endless.reward) == 7 and len(ended.reward) == 3
    assert endless.is_last.tolist() == [False] * 6 + [True]
    assert not endless.is_terminal.any() and ended.is_terminal[-1]


def test_without_any_limit_an_episode_lasts_until_the_environment_ends_it():
    workers = FakeWorkers([1234, 2], terminal=[0, 1], max_decisions=None)
    random = Policy(lambda num_envs: 0, lambda carry, seen, *_: (np.zeros((len(seen["state"]), 3)), carry, {}))
    long, short = batches(run_episodes, workers, random, [1, 2], keys(2))
    assert (len(long.reward), len(short.reward)) == (1235, 3)
    assert long.is_terminal[-1] and long.is_last.sum() == 1
    assert episode_return(long) == 1234 * 1235 / 2


@pytest.mark.parametrize(
    ("length", "terminal", "limit", "told"),
    [(6, [], 6, True), (6, [0], 6, False), (5, [], 6, False), (6, [], None, False)],
)
def test_an_episode_that_the_option_cuts_off_is_told(length, terminal, limit, told):
    trajectories = run_episodes(FakeWorkers([length], terminal), counting_policy(), [1], keys(1))
    message = cut_message(trajectories, limit)
    assert (
        message.startswith("an episode was cut off after 6 decisions, as max_decisions says") if told else not message
    )


def test_on_decision_can_stop_a_phase_before_the_next_step():
    workers, count = FakeWorkers([9]), []

    def stop():
        count.append(None)
        if len(count) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_episodes(workers, counting_policy(), [1], keys(1), on_decision=stop)
    assert workers.calls.count("step") == 2


def test_evaluation_runs_one_episode_per_seed_when_they_do_not_divide():
    workers = FakeWorkers([2, 3])
    episodes = batches(evaluate, workers, counting_policy(), [10, 11, 12, 13, 14], KEY)
    assert [episode.observation["state"][0, 0] for episode in episodes] == [10, 11, 12, 13, 14]
    assert [len(episode.reward) for episode in episodes] == [3, 4, 3, 4, 3]
    assert workers.calls.count("reset") == 3
    assert workers.seeds[-1][0] == 14 and len(workers.seeds[-1]) == 2


def test_what_the_policy_reports_is_kept_for_every_decision_of_each_episode():
    trajectories = evaluate(FakeWorkers([2, 3]), counting_policy(), [10, 11, 12], KEY)
    assert [len(one.infos["seen"]) for one in trajectories] == [2, 3, 2]
    for batch, infos in trajectories:
        np.testing.assert_array_equal(infos["seen"], batch.observation["state"][:-1])


def test_what_an_agent_reports_is_kept_at_evaluation_alone():
    act = lambda *inputs, mode: (*fake_agent([]).act(*inputs, mode=mode)[:2], {"mode": jnp.ones(1)})  # noqa: E731
    agent = fake_agent([])._replace(act=act)
    for mode, names in (("explore", set()), ("eval", {"mode"})):
        policy = agent_policy(agent, lambda: jnp.float32(0.1), compile_act(agent, mode))
        (ran,) = run_episodes(FakeWorkers([4]), policy, [1], keys(1))
        assert ran.infos.keys() == names


def test_evaluation_with_more_environments_than_episodes():
    episodes = batches(evaluate, FakeWorkers([2, 2, 2]), counting_policy(), [5], KEY)
    assert [episode.observation["state"][0, 0] for episode in episodes] == [5]


def test_evaluation_episodes_have_keys_of_their_own_whatever_runs_beside_them():
    def used(num_envs):
        seen = []
        evaluate(FakeWorkers([1] * num_envs), counting_policy(seen), [1, 2, 3], KEY)
        rows = [np.asarray(jax.random.key_data(keys)) for *_, keys, _ in seen]
        return [tuple(row) for row in np.concatenate(rows)[:3]]

    assert len(set(used(1))) == 3
    assert used(1) == used(2) == used(3)


class Pendulums:
    """As `Workers`, in this process: noisy integrators whose states show every difference of an action."""

    def __init__(self, num_envs, spec):
        self.num_envs, self.spec = num_envs, spec

    def reset(self, seeds):
        self.rng = [np.random.default_rng(seed) for seed in seeds]
        self.state = np.stack([rng.normal(size=self.spec.observations["state"].shape) for rng in self.rng])
        return {"state": self.state.astype(np.float32)}

    def step(self, actions):
        self.state = np.sin(3 * self.state + actions.sum(1, keepdims=True))
        done = np.zeros(self.num_envs, bool)
        return StepResult({"state": self.state.astype(np.float32)}, self.state[:, 0].astype(np.float32), done, done)


@pytest.mark.parametrize("agent", ["planet", "tdmpc2"])
def test_an_evaluation_is_the_same_bit_for_bit_for_any_number_of_environments(agent):
    spec = EnvSpec.single((5,), action_size=2, max_decisions=8)
    built = make_agent(make_preset("debug", "cartpole_swingup", "state", agent=agent).agent_config, spec)
    params = jax.jit(built.init)(KEY).params
    policy = agent_policy(built, lambda: params, compile_act(built, "eval"))
    one, two, three = (evaluate(Pendulums(n, spec), policy, [1, 2, 3, 4], KEY) for n in (1, 2, 3))
    chex.assert_trees_all_equal(one, two, three)
    assert len({float(ran.batch.reward.sum()) for ran in one}) == 4


def test_random_actions_fill_the_range_and_repeat():
    policy, draws = random_policy(FakeWorkers([1]).spec), keys(1000)
    observation, is_first = {"state": np.zeros((1000, 2), np.float32)}, np.zeros(1000, bool)
    carry = policy.initial(1000)
    action, _, _ = policy.act(carry, observation, is_first, draws, jnp.int32(3))
    assert action.shape == (1000, 3) and action.dtype == jnp.float32
    assert np.abs(action).max() <= 1 and action.min() < -0.99 and action.max() > 0.99
    np.testing.assert_allclose(action.mean(), 0, atol=5 * 3**-0.5 / 3000**0.5)
    np.testing.assert_array_equal(action, policy.act(carry, observation, is_first, draws, jnp.int32(3))[0])
    assert not np.array_equal(action, policy.act(carry, observation, is_first, draws, jnp.int32(4))[0])


def test_random_choices_are_one_hot_and_all_are_taken():
    spec = EnvSpec.single((2,), action_size=3, discrete=True)
    policy = random_policy(spec)
    action, _, _ = policy.act(None, {}, np.zeros(3000, bool), keys(3000), jnp.int32(3))
    assert set(np.unique(action)) == {0.0, 1.0} and (action.sum(-1) == 1).all()
    np.testing.assert_allclose(action.mean(0), 1 / 3, atol=5 * (2 / 9 / 3000) ** 0.5)


def fake_agent(traces):
    """Its action: params at evaluation, plus noise when exploring; its carry counts decisions since the start."""

    def act(params, carry, observation, is_first, key, *, mode):
        traces.append(mode)
        carry = jnp.where(is_first, 0, carry) + 1
        action = jnp.full((len(is_first), 3), params) + 0.01 * carry[:, None]
        if mode == "explore":
            action = action + 0.1 * jax.random.normal(key, action.shape)
        return action, carry, {}

    initial = lambda num_envs: jnp.full(num_envs, 77)  # noqa: E731
    return Agent(init=None, initial=initial, act=act, updates={}, diagnostics={})


def test_an_agent_acts_through_one_compiled_program_per_mode():
    traces = []
    agent = fake_agent(traces)
    act = {mode: compile_act(agent, mode) for mode in ("explore", "eval")}
    for params in (0.1, 0.2):
        policy = agent_policy(agent, functools.partial(jnp.float32, params), act["eval"])
        for episode in batches(run_episodes, FakeWorkers([4, 4]), policy, [1, 2], keys(2)):
            np.testing.assert_allclose(episode.action[1:, 0], params + 0.01 * np.arange(1, 5), rtol=1e-5)
    policy = agent_policy(agent, lambda: jnp.float32(0.1), act["explore"])
    first, again = (batches(run_episodes, FakeWorkers([4]), policy, [1], keys(1))[0].action for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert len(np.unique(first[1:])) == first[1:].size  # every decision draws anew
    assert traces.count("eval") == 1 and traces.count("explore") == 1


def test_the_return_is_summed_in_double_precision():
    reward = np.full(100_000, 0.1, np.float32)
    flags = np.zeros(len(reward), bool)
    episode = Batch(flags, flags, reward, flags, flags, flags)
    np.testing.assert_allclose(episode_return(episode), 100_000 * float(np.float32(0.1)), rtol=1e-12)
