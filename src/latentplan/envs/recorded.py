"""The suite of recorded data: what stands in an experiment for an environment that there is not."""

from typing import TYPE_CHECKING, NoReturn

from latentplan.envs.suite import Suite

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig

RECORDED = "recorded"
"""The name that stands for no environment."""


def has(name: str) -> bool:
    """Whether a name stands for recorded data."""
    return name == RECORDED


def names() -> tuple[str, ...]:
    """Nothing that could be started."""
    return ()


def load(name: str, config: "EnvConfig") -> NoReturn:
    """Refuses.

    Raises:
        ValueError: always; there is no environment.
    """
    del name, config
    raise ValueError("env: expected an environment, got recorded data without one; name the one it was recorded in")


SUITE = Suite(title="recorded data", example=RECORDED, has=has, names=names, load=load)
