"""MinAtar's games as images (Young and Tian 2019, arXiv 1903.03176): small tasks for learning from pixels.

A game is a board of 10 x 10 cells with several channels, one per kind of object. Here each kind has a colour, and the
board is centred in 16 x 16 pixels, one pixel per cell, to suit networks for small images (image_size 16). The action
set is the game's minimal one; as published, the previous action is repeated with probability 0.1 and the difficulty
increases over time.
"""

from functools import partial
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import TimeLimit

from latentplan.envs.env_kwargs import check_arguments, keywords
from latentplan.envs.suite import Suite, UnknownTask

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig

GAMES = {
    f"MinAtarPixels/{game.title().replace('_', '')}-v0": game
    for game in ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
}
"""Environment name -> MinAtar's name of the game."""

OLD_MODULE = "minatar_games:"  # prefix of the names up to version 0.1.0
SIZE = 16  # pixels
MAX_DECISIONS = 1000  # time limit; MinAtar has none
COLOURS = np.array(
    [
        (255, 255, 255), (255, 80, 60), (90, 200, 90), (80, 130, 255), (250, 210, 60),
        (200, 90, 220), (70, 220, 220), (255, 150, 40), (160, 160, 160), (150, 90, 50),
    ],
    np.uint8,
)  # fmt: skip


class MinAtarPixels(gymnasium.Env):
    """A MinAtar game with observations uint8 [16, 16, 3] and Discrete actions."""

    def __init__(self, game: str, **kwargs: Any):
        from minatar import Environment

        self._make = partial(Environment, game, **kwargs)
        self._board = self._make()
        self._actions = self._board.minimal_action_set()
        self.action_space = Discrete(len(self._actions))
        self.observation_space = Box(0, 255, (SIZE, SIZE, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[np.ndarray, dict]:
        """Starts a new game."""
        super().reset(seed=seed)
        self._board = self._make()  # a reused one would keep its last action
        self._board.seed(int(self.np_random.integers(2**31)))
        self._board.reset()
        return self._picture(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """One step of the game."""
        reward, over = self._board.act(self._actions[action])
        return self._picture(), float(reward), bool(over), False, {}

    def _picture(self) -> np.ndarray:
        """Renders the board; of several objects in a cell the last kind is visible, as in MinAtar."""
        state = self._board.state()
        kinds = np.arange(1, state.shape[-1] + 1)
        colours = np.concatenate([np.zeros((1, 3), np.uint8), COLOURS])
        edge = (SIZE - len(state)) // 2
        return np.pad(colours[(state * kinds).max(-1)], ((edge, edge), (edge, edge), (0, 0)))


def has(name: str) -> bool:
    """Whether a name has the form "MinAtarPixels/Breakout-v0"."""
    return name.removeprefix(OLD_MODULE).startswith("MinAtarPixels/")


def names() -> tuple[str, ...]:
    """The five games."""
    return tuple(GAMES)


def load(name: str, config: "EnvConfig") -> gymnasium.Env:
    """Builds a game; of `config` only `env_kwargs` has an effect.

    Raises:
        UnknownTask: there is no such game.
        ValueError: minatar is not installed, or its games do not take an argument.
    """
    game = name.removeprefix(OLD_MODULE)
    if game not in GAMES:
        raise UnknownTask(game)
    try:
        from minatar import Environment
    except ImportError as error:
        raise ValueError(
            f"env: {name} needs the package minatar, which cannot be imported ({error}). "
            "Install the extra: pip install 'latentplan[minatar]', or uv sync --extra minatar."
        ) from error
    check_arguments(name, config.kwargs, keywords(Environment), {"env_name": "env"})
    return TimeLimit(MinAtarPixels(GAMES[game], **config.kwargs), MAX_DECISIONS)


def _step_limit(env: gymnasium.Env) -> int:
    return MAX_DECISIONS


SUITE = Suite(
    title="MinAtar",
    example="a MinAtar game (MinAtarPixels/Breakout-v0)",
    has=has,
    names=names,
    load=load,
    step_limit=_step_limit,
    takes_kwargs=True,
)
