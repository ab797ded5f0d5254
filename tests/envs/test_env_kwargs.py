"""Arguments of environments' constructors, and the option that cuts episodes off."""

import json
from dataclasses import asdict

import gymnasium
import numpy as np
import pytest
from envs.given import Given, made
from hypothesis import given
from hypothesis import strategies as st

from latentplan.driver.provenance import from_dict
from latentplan.envs.env import EnvConfig, env_spec, make_env
from latentplan.envs.env_kwargs import parse_pairs, problem_of


class Asked(Given):
    """Keeps its arguments; it has no time limit."""

    def __init__(self, size=4, *, goal=None, name="", render_mode=None):
        super().__init__()
        self.asked = {"size": size, "goal": goal, "name": name}


gymnasium.register("Asked-v0", Asked, kwargs={"name": "registered"})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3), ("-2", -2), ("0.5", 0.5), ("1e-3", 1e-3), ("True", True), ("false", False), ("None", None),
        ("null", None),
        ("8x8", "8x8"), ("a b", "a b"), ("", ""), ("'3'", "3"), ("[1, 2.5, 'x']", [1, 2.5, "x"]), ("(1, 2)", (1, 2)),
        ("{'a': [1]}", {"a": [1]}), ("a=b", "a=b"), ("~/maps", "~/maps"), ("1/2", "1/2"),
    ],
)  # fmt: skip
def test_values_are_typed(text, value):
    (found,) = EnvConfig(env_kwargs=(f"key={text}",)).kwargs.values()
    assert found == value and type(found) is type(value)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.from_regex(r"[a-z_]{1,5}", fullmatch=True), values, max_size=3))
def test_every_literal_comes_back(kwargs):
    pairs = tuple(f"{key}={value!r}" for key, value in kwargs.items())
    assert problem_of(pairs) == "" and parse_pairs(pairs) == kwargs
    config = EnvConfig(env_kwargs=pairs)
    assert from_dict(EnvConfig, json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (("size",), "expected key=value, not 'size', got"),
        (("=3",), "expected key=value, not '=3', got"),
        (("a-b=3",), "expected key=value, not 'a-b=3', got"),
        (("a=1", "a=2"), "expected each key once, not a again, got"),
        (("a=[x]",), r"expected a Python literal such as \[1, 'a'\], not '\[x\]', got"),
    ],
)
def test_what_is_no_pair_is_refused(pairs, message):
    with pytest.raises(ValueError, match=f"EnvConfig.env_kwargs: {message}.*; for example map_name=8x8"):
        EnvConfig(env_kwargs=pairs)


@pytest.mark.parametrize("obs", ["state", "pixels"])
def test_they_reach_the_constructor_of_a_gymnasium_environment(obs, monkeypatch):
    monkeypatch.setattr(Asked, "render", lambda self: np.zeros((8, 8, 3), np.uint8))
    pairs = ("goal=[0.5, 1]", "name=arm", "size=7")
    env = make_env("Asked-v0", EnvConfig(obs=obs, env_kwargs=pairs))
    assert env.unwrapped.asked == {"size": 7, "goal": [0.5, 1], "name": "arm"}
    env = make_env("Asked-v0", EnvConfig(obs=obs))
    assert env.unwrapped.asked == {"size": 4, "goal": None, "name": "registered"}
    assert env_spec(make_env("Asked-v0", EnvConfig(obs=obs, env_kwargs=("max_episode_steps=7",)))).max_decisions == 7


def test_they_reach_dm_controls_task_and_its_environment():
    pairs = ("time_limit=2", "flat_observation=True")
    env = make_env("walker_walk", EnvConfig(obs="state", env_kwargs=pairs))
    assert env_spec(env).max_decisions == 40
    assert list(env.unwrapped.observation_space.spaces) == ["observations"]


def test_env_kwargs_reach_minatar_and_atari():
    pytest.importorskip("minatar")
    env = make_env("MinAtarPixels/Breakout-v0", EnvConfig(image_size=16, env_kwargs=("sticky_action_prob=0",)))
    env.reset(seed=0)  # which makes a new one
    assert env.unwrapped._board.sticky_action_prob == 0
    pytest.importorskip("ale_py")
    env = make_env("ALE/Pong-v5", EnvConfig(obs="state", env_kwargs=("difficulty=1",)))
    assert env.unwrapped._game_difficulty == 1


@pytest.mark.parametrize(
    ("name", "pair", "message"),
    [
        ("Asked-v0", "length=3", r"expected arguments of Asked-v0 \(size, goal, name\), got length; correct or leave"),
        ("Asked-v0", "render_mode=human", "expected no render_mode, since obs decides it, got 'human'; leave it out"),
        (
            "walker_walk",
            "speed=3",
            r"expected arguments of walker_walk \(time_limit, control_timestep, .*\), got speed;",
        ),
        ("walker_walk", "control_timestep=0.1", "expected no control_timestep, since the task decides it, got 0.1;"),
        ("walker_walk", "random=3", "expected no random, since the episode's seed decides it, got 3;"),
    ],
)
@pytest.mark.parametrize("obs", ["state", "pixels"])
def test_an_argument_that_is_not_taken_is_refused_by_name(name, pair, message, obs):
    with pytest.raises(ValueError, match=f"^env_kwargs: {message}"):
        make_env(name, EnvConfig(obs=obs, env_kwargs=(pair,)))


@pytest.mark.parametrize(
    ("name", "pair", "message"),
    [
        ("MinAtarPixels/Breakout-v0", "lives=3", r"\(sticky_action_prob, difficulty_ramping\), got lives"),
        ("ALE/Pong-v5", "lives=3", r"expected arguments of ALE/Pong-v5 \(mode, difficulty\), got lives"),
        ("ALE/Pong-v5", "frameskip=3", "expected no frameskip, since action_repeat decides it, got 3"),
    ],
)
def test_the_games_refuse_them_too(name, pair, message):
    pytest.importorskip("minatar")
    pytest.importorskip("ale_py")
    with pytest.raises(ValueError, match=message):
        make_env(name, EnvConfig(obs="state", env_kwargs=(pair,)))


def test_a_suite_that_takes_none_refuses_them():
    with pytest.raises(ValueError, match="env_kwargs: expected none, since given's tasks take none, got size=3; leave"):
        made(Given(), env_kwargs=("size=3",))


# --- episodes that are cut off ---


def flags(env, decisions):
    env.reset(seed=0)
    return [env.step(np.zeros(1, np.float32))[2:4] for _ in range(decisions)]


@pytest.mark.parametrize("action_repeat", [1, 3])
def test_the_option_cuts_episodes_after_so_many_decisions(action_repeat):
    env = made(Given(), max_decisions=4, action_repeat=action_repeat)
    assert env_spec(env).max_decisions == 4
    for _ in range(2):  # counted anew
        assert flags(env, 5) == [(False, False)] * 3 + [(False, True)] * 2
    assert env.unwrapped.count == 4 * action_repeat


def test_without_it_episodes_are_as_long_as_the_environment_makes_them():
    env = made(Given(ends_after=1500))
    assert env_spec(env).max_decisions is None
    assert flags(env, 1500)[-2:] == [(False, False), (True, False)]


def test_a_termination_at_the_same_time_stays_one():
    assert flags(made(Given(ends_after=4), max_decisions=4), 4)[-1] == (True, False)


def test_the_lower_of_time_limit_and_max_decisions_applies():
    for limit, option, both in ((7, 9, 7), (7, 5, 5), (7, None, 7)):
        pairs = (f"max_episode_steps={limit}",)
        env = make_env("Asked-v0", EnvConfig(obs="state", env_kwargs=pairs, max_decisions=option))
        assert env_spec(env).max_decisions == both
        assert flags(env, both)[-2:] == [(False, False), (False, True)]
