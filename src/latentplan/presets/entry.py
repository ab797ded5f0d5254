"""The records that an agent's presets file defines, as entries of `PRESETS`."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from latentplan.envs import suite_name
from latentplan.presets.experiment import Experiment


class Preset(NamedTuple):
    """One preset of an agent.

    Attributes:
        build: (experiment with only its environment set) -> complete experiment.
        suites: names in `SUITES` to which it applies; empty for all.
        kept: settings of the agent's own planner that a replacement planner inherits, if it has them.
    """

    build: Callable[[Experiment], Experiment]
    suites: tuple[str, ...] = ()
    kept: tuple[str, ...] = ("horizon",)

    def fits(self, env: str) -> bool:
        """Whether the preset applies to an environment."""
        return not self.suites or suite_name(env) in self.suites


class AgentPresets(NamedTuple):
    """All presets of an agent.

    Attributes:
        presets: "paper", "cpu" and "debug" -> Preset. An agent may have some of them.
        protocols: a published protocol's name -> Preset. The name chooses the agent, too.
        sizes: a size's name -> (agent's config) -> the config with a model of that size.
    """

    presets: Mapping[str, Preset]
    protocols: Mapping[str, Preset] = MappingProxyType({})
    sizes: Mapping[str, Callable[[Any], Any]] = MappingProxyType({})

    @property
    def all(self) -> dict[str, Preset]:
        """Presets and protocols."""
        return {**self.presets, **self.protocols}
