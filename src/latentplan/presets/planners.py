"""Settings of planners that replace the agent's own, by preset."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from latentplan.config import Fields, field_hints
from latentplan.planners import PLANNERS, PlannerConfig
from latentplan.presets.entry import Preset

SIZES: Mapping[str, Fields] = {
    "cpu": {"num_iterations": 4, "num_candidates": 150, "num_elites": 15, "warm_start": True},
    "debug": {"num_iterations": 2, "num_candidates": 20, "num_elites": 4},
}
"""A preset's name -> settings of every planner that has them: on cpu, some 600 evaluated sequences a plan."""
POLICY_CANDIDATES = 24  # as in TD-MPC2, of 512


def other_planner(name: str, own: PlannerConfig, preset: str, kept: Preset, *, has_policy: bool) -> PlannerConfig:
    """Builds the config of a planner that replaces the agent's own.

    Args:
        name: in `PLANNERS`.
        own: the agent's own planner in its preset.
        preset: the preset's name.
        kept: the preset, whose `kept` lists the settings to inherit from `own`.
        has_policy: whether the agent has a policy, which supplies candidates.

    Returns:
        The config. Settings that the planner does not have are left out.
    """
    entry = PLANNERS[name]
    fields = field_hints(entry.config).keys()
    settings = dict(SIZES.get(preset, {})) | dict(entry.small if preset == "cpu" else {})
    settings |= {field: getattr(own, field) for field in kept.kept if hasattr(own, field)}
    config: Any = entry.config(**{field: value for field, value in settings.items() if field in fields})
    if has_policy and "policy_candidates" in fields:
        config = replace(config, policy_candidates=min(POLICY_CANDIDATES, config.num_candidates // 8))
    return config
