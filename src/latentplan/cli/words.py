"""What commands print in the same words: errors, and returns with their spread."""

from latentplan.extensions import NotImported
from latentplan.registry import Registry

NO_TIME_LIMIT = "no time limit: episodes end where the environment ends them; --max-decisions sets one"
"""A note on an environment."""


def explain(error: Exception) -> str:
    """An error as a line: a mistake of the user's (`ValueError`) in its own words, any other under its type.

    Where it advises to import a module, the option that does so is added.
    """
    if isinstance(error, NotImported):
        return f"{error}: {' '.join(f'--import {module}' for module in error.modules)}"
    line = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return line.replace(Registry.advice, f"{Registry.advice} (--import MODULE)")


def over_episodes(mean: float, std: float, episodes: int) -> str:
    """`mean +- std over N episodes`; of a single one, its return alone.

    Args:
        mean: of the returns.
        std: of the returns, over episodes.
        episodes: N.
    """
    return f"{mean:.1f} over 1 episode" if episodes == 1 else f"{mean:.1f} +- {std:.1f} over {episodes} episodes"
