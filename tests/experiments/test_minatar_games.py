"""MinAtar's boards as pictures."""

import numpy as np
import pytest

from latentplan.envs.env import EnvConfig, env_spec, make_env

pytest.importorskip("minatar")
import minatar_games


def name(game: str) -> str:
    return f"minatar_games:MinAtarPixels/{game.title().replace('_', '')}-v0"


def play(env, seed: int, decisions: int = 60) -> list[np.ndarray]:
    actions = np.random.default_rng(seed).normal(size=(decisions, *env.action_space.shape)).clip(-1, 1)
    seen = [env.reset(seed=seed)[0]]
    for action in actions:
        frame, reward, *_ = env.step(action.astype(np.float32))
        seen += [frame, np.float32(reward)]
    return seen


@pytest.mark.parametrize("game", minatar_games.GAMES)
def test_games_are_played_from_seeds(game):
    env = make_env(name(game), EnvConfig(image_size=16))
    spec = env_spec(env)
    assert (spec.observation_shape, spec.discrete, spec.max_decisions) == ((16, 16, 3), True, 1000)
    first, other = play(env, 1), play(env, 2)
    for again in (play(env, 1), play(make_env(name(game), EnvConfig(image_size=16)), 1)):
        for a, b in zip(first, again, strict=True):
            np.testing.assert_array_equal(a, b)
    assert any(np.any(a != b) for a, b in zip(first, other, strict=True))


def test_a_cell_has_the_colour_of_what_is_in_it():
    env = minatar_games.MinAtarPixels("breakout")
    frame, _ = env.reset(seed=0)
    board = env._board.state()  # channels: paddle, ball, trail, brick
    assert board.shape == (10, 10, 4)
    np.testing.assert_array_equal(np.argwhere(board[..., 0]), [[9, 4]])
    np.testing.assert_array_equal(frame[12, 7], minatar_games.COLOURS[0])
    np.testing.assert_array_equal(frame[4, 3:13], [minatar_games.COLOURS[3]] * 10)
    assert not frame[:3].any() and not frame[13:].any() and not frame[:, :3].any() and not frame[:, 13:].any()
