"""Acting in all versions of Dreamer: with the actor, or by planning with model and critic."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Protocol, runtime_checkable

import jax.numpy as jnp

from latentplan import distributions
from latentplan.agents.acting import gaussian_noise, make_act, make_initial, random_choices
from latentplan.agents.dreamer.imagination import BehaviourConfig
from latentplan.agents.dreamer.world_loss import REWARDS, ModelLossConfig
from latentplan.config import OneOf
from latentplan.diagnostics import Subject, make_diagnostics
from latentplan.models.world_model import feature
from latentplan.nets.network import Network
from latentplan.planners import PlannerConfig, make_planner
from latentplan.planners.objectives import Evaluate, continue_probability, expected_reward, model_returns
from latentplan.planners.policy import PolicyConfig, propose_by
from latentplan.types import Agent, Array, Belief, EnvSpec, Key, Metrics, Params, Planner, TrainState, WorldModel

Pick = Callable[[distributions.Distribution, Key], Array]
"""(distribution over actions [..., A], key) -> action [..., A]."""
PICKS: dict[str, Pick] = {
    "mode": lambda distribution, key: distributions.mode(distribution),
    "sample": distributions.sample,
}
EvalAction = Annotated[str, OneOf(PICKS)]
"""The actor's action at evaluation: the mode of its distribution, or a sample."""


@runtime_checkable
class ActingConfig(Protocol):
    """The fields for acting that the configs of all versions share."""

    @property
    def planner(self) -> PlannerConfig:
        """The planner that selects actions."""

    @property
    def action_noise(self) -> float:
        """Std of the exploration noise; for discrete actions, the probability of a random one."""

    @property
    def eval_action(self) -> EvalAction:
        """The actor's action at evaluation."""

    @property
    def loss(self) -> ModelLossConfig:
        """Weights of the world model's loss."""

    @property
    def behaviour(self) -> BehaviourConfig:
        """Imagination and returns, on which actor and critic are trained."""


def make_objective(model: WorldModel, critic: Network, config: BehaviourConfig, *, value_has_reward: bool) -> Evaluate:
    """Builds the planning objective: predicted rewards, then the critic at the end of the plan.

    Args:
        model: the world model.
        critic: from features to a value's distribution; its parameters are `params["critic"]`.
        config: discount.
        value_has_reward: whether a state's value includes the reward for reaching it, as in Dreamer V1 and V2. That
            reward is then subtracted, as the plan already counts it.

    Returns:
        Evaluate.
    """
    continues, reward = continue_probability(model), expected_reward(model)

    def value(params: Params, belief: Belief, key: Key) -> Array:
        del key
        worth = critic.apply(params["critic"], feature(belief)).mean[..., 0]
        if not value_has_reward:
            return worth
        after = continues(params, belief) if continues else config.discount
        # `model_returns` multiplies by `after` again, so the floor hardly matters.
        return (worth - reward(params, belief)) / jnp.maximum(after, 0.1)

    discount = 1.0 if continues else config.discount  # the learned continuation includes the discount
    return model_returns(model, discount=discount, value=value)


def make_dreamer(
    *,
    init: Callable[[Key], TrainState],
    update: Callable[..., tuple[TrainState, Metrics]],
    model: WorldModel,
    actor: Network,
    objective: Evaluate,
    config: ActingConfig,
    spec: EnvSpec,
) -> Agent:
    """Builds an agent that acts with its actor, or plans with its model and critic.

    The actor's actions are sampled during collection, and chosen by `eval_action` at evaluation. Planners may use
    candidates sampled from the actor.

    Args:
        init: (key) -> TrainState, whose params hold the model's, "actor" and "critic".
        update: of all parts jointly, as in `Agent.updates`.
        model: the world model.
        actor: from features to distributions over actions.
        objective: scores plans.
        config: of the agent. With a `PolicyConfig` as its planner the actor acts; any other planner plans.
        spec: of the environment.

    Returns:
        Agent.
    """

    def policy(pick: Pick) -> Callable[[Params, Belief, Key], Array]:
        def act(params: Params, belief: Belief, key: Key) -> Array:
            return jnp.clip(pick(actor.apply(params["actor"], feature(belief)), key), -1.0, 1.0)

        return act

    def build(config: PlannerConfig, pick: Pick) -> Planner:
        propose = propose_by(policy(pick), model.imagine_step, config.horizon)
        return make_planner(config, spec.action_size, objective, discrete=spec.discrete, propose=propose)

    planner = config.planner
    if isinstance(planner, PolicyConfig):
        eval_planner = build(planner, PICKS[config.eval_action])
        explore_planner = build(replace(planner, horizon=1), distributions.sample)
    else:
        eval_planner = explore_planner = build(planner, distributions.sample)

    subject = Subject(
        model, config.behaviour.horizon, policy(distributions.sample), reward_target=REWARDS[config.loss.rewards]
    )
    explore = random_choices(config.action_noise) if spec.discrete else gaussian_noise(config.action_noise)
    return Agent(
        init=init,
        initial=make_initial(init, model, eval_planner, spec.action_size),
        act=make_act(model, eval_planner, explore, collecting=explore_planner),
        updates={"joint": update},
        diagnostics=make_diagnostics(subject),
        model=model,
        planner=eval_planner,
    )
