"""The records that an agent's presets file defines, as entries of `PRESETS`."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, NamedTuple

from latentplan.agents.config import AgentConfig
from latentplan.checks import call_problem, described
from latentplan.envs import suite_name
from latentplan.presets.experiment import Experiment


class Preset(NamedTuple):
    """One preset of an agent.

    Attributes:
        build: (bare) -> a complete experiment. `bare` is an Experiment with only its names and environment set.
        suites: names in `SUITES` to which it applies; empty for all.
        kept: settings of the agent's own planner that a replacement planner inherits, if it has them.
    """

    build: Callable[[Experiment], Experiment]
    suites: tuple[str, ...] = ()
    kept: tuple[str, ...] = ("horizon",)

    def fits(self, env: str) -> bool:
        """Whether the preset applies to an environment."""
        return not self.suites or suite_name(env) in self.suites

    def with_config(self, config: type[AgentConfig]) -> "Preset":
        """The same preset for a variation of the agent; see `AgentPresets.with_config`."""

        def build(bare: Experiment) -> Experiment:
            experiment = self.build(bare)
            own = experiment.agent_config
            values = {field.name: getattr(own, field.name) for field in fields(own)}
            return replace(experiment, agent_config=config(**values))

        return self._replace(build=build)


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

    def problem(self) -> str:
        """What keeps the entry from being used; "" if nothing does."""
        for name, preset in self.all.items():
            if not isinstance(preset, Preset):
                return f"presets: expected Preset as {name!r}, got {described(preset)}; write Preset(build)"
            if call := call_problem(preset.build, ("experiment",)):
                return f"presets, build of {name!r}: {call}; correct its arguments"
        return ""

    @property
    def all(self) -> dict[str, Preset]:
        """Presets and protocols."""
        return {**self.presets, **self.protocols}

    def with_config(self, config: type[AgentConfig]) -> "AgentPresets":
        """The presets and sizes of this agent for a variation of it. Its protocols are left out: they name this agent.

        Args:
            config: a subclass of this agent's config. The fields that it adds keep their defaults in every preset.

        Returns:
            AgentPresets whose experiments have an `agent_config` of that class.
        """
        presets = {name: preset.with_config(config) for name, preset in self.presets.items()}
        return AgentPresets(presets, sizes=self.sizes)
