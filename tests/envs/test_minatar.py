"""MinAtar's boards as pictures."""

import sys

import numpy as np
import pytest
from envs.single import env_spec, make_single

from latentplan.envs import minatar, suite_name
from latentplan.envs.env import EnvConfig

BREAKOUT = "MinAtarPixels/Breakout-v0"


@pytest.fixture
def games():
    pytest.importorskip("minatar")


def play(env, seed: int, decisions: int = 60) -> list[np.ndarray]:
    actions = np.random.default_rng(seed).normal(size=(decisions, *env.action_space.shape)).clip(-1, 1)
    seen = [env.reset(seed=seed)[0]]
    for action in actions:
        frame, reward, *_ = env.step(action.astype(np.float32))
        seen += [frame, np.float32(reward)]
    return seen


@pytest.mark.parametrize("name", minatar.GAMES)
def test_games_are_played_from_seeds(games, name):
    env = make_single(name, EnvConfig(image_size=16))
    spec = env_spec(env)
    assert (spec.observations["image"].shape, spec.discrete, spec.max_decisions) == ((16, 16, 3), True, 1000)
    first, other = play(env, 1), play(env, 2)
    for again in (play(env, 1), play(make_single(name, EnvConfig(image_size=16)), 1)):
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(first, other, strict=True))


def test_a_cell_has_the_colour_of_what_is_in_it(games):
    env = minatar.MinAtarPixels("breakout")
    frame, _ = env.reset(seed=0)
    board = env._board.state()  # channels: paddle, ball, trail, brick
    assert board.shape == (10, 10, 4)
    np.testing.assert_array_equal(np.argwhere(board[..., 0]), [[9, 4]])
    np.testing.assert_array_equal(frame[12, 7], minatar.COLOURS[0])
    np.testing.assert_array_equal(frame[4, 3:13], [minatar.COLOURS[3]] * 10)
    assert not frame[:3].any() and not frame[13:].any() and not frame[:, :3].any() and not frame[:, 13:].any()


def test_names_of_version_0_1_mean_the_same_game(games):
    assert suite_name(f"minatar_games:{BREAKOUT}") == "minatar"
    old, new = (make_single(name, EnvConfig(image_size=16)) for name in (f"minatar_games:{BREAKOUT}", BREAKOUT))
    for a, b in zip(play(old, 1), play(new, 1), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_missing_package_or_game_is_told(monkeypatch):
    with pytest.raises(ValueError, match="unknown environment 'MinAtarPixels/Brekout-v0'.*MinAtarPixels/Breakout-v0"):
        make_single("MinAtarPixels/Brekout-v0", EnvConfig())
    monkeypatch.setitem(sys.modules, "minatar", None)
    with pytest.raises(ValueError, match=r"env: MinAtarPixels.* needs the package minatar.*'latentplan\[minatar\]'"):
        make_single(BREAKOUT, EnvConfig())
