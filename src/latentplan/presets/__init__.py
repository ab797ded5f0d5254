"""Presets: default experiments by agent and machine size, and published protocols by name."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import jax

from latentplan.agents import AGENTS
from latentplan.config import ConfigError
from latentplan.envs import SUITES, suite_of
from latentplan.envs.env import EnvConfig
from latentplan.planners import PLANNERS, planner_name
from latentplan.presets.dreamer import DREAMER_V1, DREAMER_V2, DREAMER_V3
from latentplan.presets.entry import AgentPresets, Preset
from latentplan.presets.experiment import Experiment
from latentplan.presets.planet import PLANET
from latentplan.presets.planners import other_planner
from latentplan.presets.tdmpc import TDMPC, TDMPC2
from latentplan.registry import Registry

__all__ = ["PRESETS", "AgentPresets", "Experiment", "Preset", "make_preset", "protocols", "resolve_preset"]

PRESETS = Registry(
    "PRESETS",
    AgentPresets,
    {
        "planet": PLANET,
        "dreamer_v1": DREAMER_V1,
        "dreamer_v2": DREAMER_V2,
        "dreamer_v3": DREAMER_V3,
        "tdmpc": TDMPC,
        "tdmpc2": TDMPC2,
    },
)
"""Agent -> its presets; one file and one line per agent."""


def protocols() -> dict[str, str]:
    """Protocol name -> agent: a protocol's name implies the agent."""
    return {name: agent for agent, entry in PRESETS.items() for name in entry.protocols}


def resolve_preset(preset: str) -> tuple[str, str]:
    """Resolves the preset `auto` for this machine.

    Returns:
        (preset, message): the preset, and a sentence that explains the choice.
    """
    devices = ", ".join(sorted({f"{d.platform} ({d.device_kind})" for d in jax.devices()}))
    if preset != "auto":
        return preset, f"preset {preset}, as requested; JAX runs on {devices}"
    chosen = "cpu" if jax.default_backend() == "cpu" else "paper"
    seen = "sees no accelerator" if chosen == "cpu" else "sees an accelerator"
    return chosen, f"preset auto -> {chosen}: JAX {seen}, it runs on {devices}"


def make_preset(
    preset: str, env: str, obs: str, planner: str = "", agent: str = "planet", size: str = ""
) -> Experiment:
    """Builds a preset's experiment.

    Args:
        preset: a name in `PRESETS[agent]`.
        env: the environment's name.
        obs: pixels or state.
        planner: a name in `PLANNERS`; "" for the agent's own.
        agent: a name in `AGENTS`.
        size: a name in `PRESETS[agent].sizes`; "" for the preset's own.

    Returns:
        Experiment, whose fields the command line may override.

    Raises:
        ConfigError: a name is unknown, or the preset does not apply to this environment.
    """
    if agent in AGENTS and agent not in PRESETS:
        raise ConfigError(Experiment, "agent", f"expected one with presets, got {agent!r}; add PRESETS[{agent!r}]")
    _check_name("agent", agent, AGENTS)
    entry = PRESETS[agent]
    _check_name("preset", preset, entry.all, f" (or a protocol of another agent: {', '.join(protocols())})")
    _check_name("planner", planner or planner_name(AGENTS[agent].config().planner), PLANNERS)
    if size:
        _check_name("size", size, entry.sizes)
    chosen = entry.all[preset]
    _check_suite(preset, chosen, env)
    environment = EnvConfig(obs=obs, camera=suite_of(env).camera(env))
    experiment = chosen.build(Experiment(env=env, agent=agent, preset=preset, size=size, environment=environment))
    config: Any = experiment.agent_config
    expected = AGENTS[agent].config
    if type(config) is not expected:
        raise ValueError(
            f"preset {agent}/{preset}: expected an agent_config of {expected.__name__}, got {type(config).__name__}; "
            f"give the experiment that it builds agent_config={expected.__name__}(...)"
        )
    if size:
        config = entry.sizes[size](config)
    if planner and planner != planner_name(config.planner):
        has_policy = AGENTS[agent].has_policy
        config = replace(config, planner=other_planner(planner, config.planner, preset, chosen, has_policy=has_policy))
    return replace(experiment, planner=planner_name(config.planner), agent_config=config)


def _check_name(field: str, name: str, known: Iterable[str], more: str = "") -> None:
    if name not in known:
        expected = ", ".join(known) or "none, as the agent has only one"
        advice = f"; or {known.advice}" if isinstance(known, Registry) else ""
        raise ConfigError(Experiment, field, f"expected {expected}{more}, got {name!r}{advice}")


def _check_suite(name: str, preset: Preset, env: str) -> None:
    """Raises if a published protocol does not cover the environment's suite."""
    if not preset.fits(env):
        known = " and ".join(SUITES[suite].title for suite in preset.suites)
        raise ConfigError(
            Experiment,
            "preset",
            f"expected one for environments such as {env}, got {name}, which is for {known}; "
            "use the agent's preset paper or cpu, and override settings as needed",
        )
