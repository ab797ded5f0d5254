"""Presets: what an experiment starts from, by agent and by size of machine, and the papers' protocols by name."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax

from latentplan.agents.dreamer.v3 import DreamerV3Config
from latentplan.envs import SUITES, suite_of
from latentplan.envs.env import EnvConfig
from latentplan.planners import PLANNERS, planner_name
from latentplan.presets.dreamer import (
    DREAMER_V3_SIZES,
    dreamer_debug,
    dreamer_v1_cpu,
    dreamer_v1_paper,
    dreamer_v2_atari,
    dreamer_v2_cpu,
    dreamer_v2_dmc,
    dreamer_v3_arxiv2,
    dreamer_v3_cpu,
    dreamer_v3_nature,
    sized,
)
from latentplan.presets.experiment import PROTOCOL_SUITES, Experiment, published_for
from latentplan.presets.planet import planet_cpu, planet_debug, planet_paper
from latentplan.presets.tdmpc import (
    TDMPC2_SIZES,
    tdmpc2_cpu,
    tdmpc2_debug,
    tdmpc2_paper,
    tdmpc_cpu,
    tdmpc_debug,
    tdmpc_paper,
)

__all__ = ["PRESETS", "PROTOCOLS", "SIZES", "Experiment", "make_preset", "resolve_preset"]

SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "planet": {},
    "tdmpc": {},
    "tdmpc2": TDMPC2_SIZES,
    "dreamer_v1": {},
    "dreamer_v2": {},
    "dreamer_v3": DREAMER_V3_SIZES,
}
"""Agent -> named sizes of its model."""

PRESETS: dict[str, dict[str, Callable[[Experiment], Experiment]]] = {
    "planet": {"paper": planet_paper, "cpu": planet_cpu, "debug": planet_debug},
    "dreamer_v1": {
        "paper": dreamer_v1_paper,
        "dreamer-v1": dreamer_v1_paper,
        "cpu": dreamer_v1_cpu,
        "debug": dreamer_debug(dreamer_v1_cpu),
    },
    "dreamer_v2": {
        "paper": dreamer_v2_dmc,
        "dreamer-v2-dmc": dreamer_v2_dmc,
        "dreamer-v2-atari": dreamer_v2_atari,
        "cpu": dreamer_v2_cpu,
        "debug": dreamer_debug(dreamer_v2_cpu),
    },
    "dreamer_v3": {
        "paper": dreamer_v3_nature,
        "dreamerv3-nature": dreamer_v3_nature,
        "dreamerv3-arxiv2": dreamer_v3_arxiv2,
        "cpu": dreamer_v3_cpu,
        "debug": dreamer_debug(dreamer_v3_cpu),
    },
    "tdmpc": {"paper": tdmpc_paper, "cpu": tdmpc_cpu, "debug": tdmpc_debug},
    "tdmpc2": {"paper": tdmpc2_paper, "cpu": tdmpc2_cpu, "debug": tdmpc2_debug},
}
"""Agent -> preset -> from an experiment with its environment alone to a whole one."""

_FOR_ALL = ("paper", "cpu", "debug")
PROTOCOLS = {name: agent for agent, each in PRESETS.items() for name in each if name not in _FOR_ALL}
"""A published protocol's name -> its agent: `--preset dreamerv3-arxiv2` chooses both."""


def resolve_preset(preset: str) -> tuple[str, str]:
    """What `auto` stands for here.

    Returns:
        (preset, why): the preset to use and a sentence that says so.
    """
    devices = ", ".join(sorted({f"{d.platform} ({d.device_kind})" for d in jax.devices()}))
    if preset != "auto":
        return preset, f"preset {preset}, as asked for; JAX runs on {devices}"
    chosen = "cpu" if jax.default_backend() == "cpu" else "paper"
    seen = "sees no accelerator" if chosen == "cpu" else "sees an accelerator"
    return chosen, f"preset auto -> {chosen}: JAX {seen}, it runs on {devices}"


def make_preset(
    preset: str, env: str, obs: str, planner: str = "", agent: str = "planet", size: str = ""
) -> Experiment:
    """The experiment a preset stands for.

    Args:
        preset: a name in `PRESETS[agent]`.
        env: the environment's name.
        obs: pixels or state.
        planner: a name in `PLANNERS`; empty for the agent's own.
        agent: a name in `AGENTS`.
        size: a name in `SIZES[agent]`; empty for the preset's own.

    Returns:
        Experiment, to be changed by the command line.

    Raises:
        ValueError: a name is unknown.
    """
    checks: list[tuple[str, str, dict[str, Any]]] = [
        ("agent", agent, PRESETS),
        ("preset", preset, PRESETS.get(agent, {})),
        ("planner", planner, {"": None, **PLANNERS}),
    ]
    checks += [("size", size, {"": None, **SIZES[agent]})] if agent in SIZES else []
    for name, value, known in checks:
        if value not in known:
            expected = ", ".join(x for x in known if x) or f"no --size, as {agent} has only one"
            if name == "preset":
                expected += f" (or a protocol's name: {', '.join(PROTOCOLS)})"
            raise ValueError(f"{name}: expected {expected}, got {value!r}")
    _check_suite(preset, env)
    bare = Experiment(
        env=env,
        agent=agent,
        preset=preset,
        size=size,
        environment=EnvConfig(obs=obs, camera=suite_of(env).camera(env)),  # type: ignore[arg-type]
    )
    experiment = PRESETS[agent][preset](bare)
    config: Any = experiment.agent_config
    if size and isinstance(config, DreamerV3Config):
        config = sized(config, size)
    elif size:
        config = replace(config, model=replace(config.model, **SIZES[agent][size]))
    if planner and planner != planner_name(config.planner):
        sizes = {"cpu": _CPU_PLANNERS, "debug": _DEBUG_PLANNERS}.get(preset, {}).get(planner, {})
        own = {"horizon": config.planner.horizon}
        if preset == "cpu" and agent == "planet" and hasattr(PLANNERS[planner].config, "init_std"):
            own["init_std"] = config.planner.init_std  # what suits the environment
        chosen: Any = PLANNERS[planner].config(**sizes | own)
        if agent != "planet" and hasattr(chosen, "policy_candidates"):
            chosen = replace(chosen, policy_candidates=min(24, chosen.num_candidates // 8))
        config = replace(config, planner=chosen)
    return replace(experiment, planner=planner_name(config.planner), agent_config=config)


def _check_suite(preset: str, env: str) -> None:
    """Refuses a published protocol for an environment that it was not published for."""
    if preset in PROTOCOLS and not published_for(preset, env):
        known = " and ".join(SUITES[name].title for name in PROTOCOL_SUITES.get(preset, ("dm_control",)))
        raise ValueError(
            f"preset: {preset} is a protocol for {known}, got {env}; "
            f"take --agent {PROTOCOLS[preset]} --preset paper or cpu, and change what has to differ"
        )


# The other planners at the cpu preset: as many evaluations as its CEM has (600), iCEM a fifth of them.
_CPU_PLANNERS: dict[str, dict[str, Any]] = {
    "cem": {"num_iterations": 4, "num_candidates": 150, "num_elites": 15, "warm_start": True},
    "icem": {"num_iterations": 3, "num_candidates": 40, "num_elites": 10},
    "mppi": {"num_iterations": 4, "num_candidates": 150, "num_elites": 15},
    "gradient": {"num_iterations": 12, "num_candidates": 24},
    "shooting": {"num_candidates": 600, "warm_start": True},
}
_DEBUG_PLANNERS: dict[str, dict[str, Any]] = {
    "cem": {"horizon": 4, "num_iterations": 2, "num_candidates": 20, "num_elites": 4},
    "icem": {"horizon": 4, "num_iterations": 2, "num_candidates": 20, "num_elites": 4},
    "mppi": {"horizon": 4, "num_iterations": 2, "num_candidates": 20, "num_elites": 4},
    "gradient": {"horizon": 4, "num_iterations": 2, "num_candidates": 8},
    "shooting": {"horizon": 4, "num_candidates": 40},
    "policy": {"horizon": 4},
}
