"""What the tests of Dreamer share: small configs of every version."""

from dataclasses import replace

from latentplan.agents.dreamer.actor_critic import CriticConfig
from latentplan.agents.dreamer.v1 import DreamerV1Config
from latentplan.agents.dreamer.v2 import DreamerV2Config
from latentplan.agents.dreamer.v3 import CriticV3Config, DreamerV3Config
from latentplan.planners.policy import PolicyConfig


def small(version, *, units=16, horizon=5, **options):
    """A version's config with every size small, and further fields of it."""
    sizes = dict(deter=units, stoch=4, hidden=units, reward_hidden=units, reward_layers=1, conv_depth=4)
    sizes |= dict(vector_hidden=units, vector_layers=1)
    config = {"dreamer_v1": DreamerV1Config, "dreamer_v2": DreamerV2Config, "dreamer_v3": DreamerV3Config}[version]()
    if version != "dreamer_v1":
        sizes |= dict(classes=4, blocks=4)
    critic = (CriticV3Config if version == "dreamer_v3" else CriticConfig)(hidden=units, layers=2)
    return replace(
        config,
        model=replace(config.model, **sizes),
        actor=replace(config.actor, hidden=units, layers=2),
        critic=critic,
        behaviour=replace(config.behaviour, horizon=horizon),
        **({"planner": PolicyConfig(horizon=3)} | options),
    )
