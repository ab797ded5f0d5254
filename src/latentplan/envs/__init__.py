"""Environments: suites by name, wrappers, worker processes, rendering.

A new suite is one file that defines a `Suite` and one line in `SUITES`. Worker processes import this package, so it
must not import JAX.
"""

import difflib

from latentplan.envs import atari, dm_control, gymnasium, memory, minatar, recorded
from latentplan.envs.suite import Suite
from latentplan.registry import Registry

__all__ = ["SUITES", "module_of", "suite_name", "suite_of", "unknown_environment"]

SUITES = Registry(
    "SUITES",
    Suite,
    {
        "atari": atari.SUITE,
        "minatar": minatar.SUITE,
        "memory": memory.SUITE,
        "gymnasium": gymnasium.SUITE,
        "dm_control": dm_control.SUITE,
        "recorded": recorded.SUITE,
    },
)
"""Name -> suite. An environment belongs to the first suite whose name pattern it matches."""


def suite_name(env: str) -> str:
    """The key in `SUITES` of an environment's suite.

    Args:
        env: the environment's name. Only its form is checked: the task need not exist.

    Raises:
        ValueError: no suite matches the name; the message suggests the nearest names.
    """
    for name, suite in SUITES.items():
        if suite.has(env):
            return name
    raise unknown_environment(env)


def suite_of(env: str) -> Suite:
    """An environment's suite; as `suite_name`, but returns the record."""
    return SUITES[suite_name(env)]


def module_of(env: str) -> str:
    """The module in "module:Id", which making the environment imports; "" for none."""
    return "" if env.startswith(minatar.OLD_MODULE) else env.rpartition(":")[0]


def unknown_environment(env: str) -> ValueError:
    """The error for an unknown name, with suggestions from every suite."""
    module, _, wanted = env.rpartition(":")
    suites = [suite for suite in reversed(SUITES.values()) if not module or suite.has(env)]
    names = (name for suite in suites for name in _nearest(wanted, suite))
    near = dict.fromkeys(f"{module}:{name}" if module else name for name in names)
    offer = f"Nearest: {', '.join(near)}." if near else "Nothing is near it."
    examples = ", ".join(suite.example for suite in reversed(SUITES.values()) if suite is not recorded.SUITE)
    return ValueError(f"env: unknown environment {env!r}. {offer} Expected one of: {examples}.")


def _nearest(wanted: str, suite: Suite) -> list[str]:
    by_lower = {name.lower(): name for name in suite.names()}
    return [by_lower[near] for near in difflib.get_close_matches(wanted.lower(), by_lower, n=3, cutoff=0.5)]
