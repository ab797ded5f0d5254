"""MinAtar's games as pictures (Young and Tian 2019, arXiv 1903.03176): small worlds to see an agent learn from pixels.

python experiments/run.py --env minatar_games:MinAtarPixels/Breakout-v0 --agent dreamer_v3 --image-size 16

A game is a board of 10 x 10 cells, each of which holds kinds of things. Here a kind has a colour, and the board stands
in the middle of 16 x 16 pixels, so that one pixel is one cell and networks for small images fit. Actions are those that
do something in the game; as published, one in ten is replaced by the last one, and games become harder. Needs the
package `minatar` (`pip install 'latentplan[minatar]'`).
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from minatar import Environment

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
SIZE = 16  # pixels
MAX_DECISIONS = 1000  # of a game; MinAtar has no limit
COLOURS = np.array(
    [
        (255, 255, 255), (255, 80, 60), (90, 200, 90), (80, 130, 255), (250, 210, 60),
        (200, 90, 220), (70, 220, 220), (255, 150, 40), (160, 160, 160), (150, 90, 50),
    ],
    np.uint8,
)  # fmt: skip


class MinAtarPixels(gymnasium.Env):
    """One of the games. Observes uint8 [16, 16, 3]; its actions are Discrete."""

    def __init__(self, game: str):
        self._game = game
        self._board = Environment(game)
        self._actions = self._board.minimal_action_set()
        self.action_space = Discrete(len(self._actions))
        self.observation_space = Box(0, 255, (SIZE, SIZE, 3), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """A new game."""
        super().reset(seed=seed)
        self._board = Environment(self._game)  # a used one remembers its last action
        self._board.seed(int(self.np_random.integers(2**31)))
        self._board.reset()
        return self._picture(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """One step of the game."""
        reward, over = self._board.act(self._actions[action])
        return self._picture(), float(reward), bool(over), False, {}

    def _picture(self) -> np.ndarray:
        """Where there are several things in a cell, the last kind is seen, as MinAtar draws it."""
        state = self._board.state()
        kinds = np.arange(1, state.shape[-1] + 1)
        colours = np.concatenate([np.zeros((1, 3), np.uint8), COLOURS])
        edge = (SIZE - len(state)) // 2
        return np.pad(colours[(state * kinds).max(-1)], ((edge, edge), (edge, edge), (0, 0)))


for _game in GAMES:
    gymnasium.register(
        f"MinAtarPixels/{_game.title().replace('_', '')}-v0",
        "minatar_games:MinAtarPixels",
        kwargs={"game": _game},
        max_episode_steps=MAX_DECISIONS,
    )
