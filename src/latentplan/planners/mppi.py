"""Model-predictive path integral control, as TD-MPC and TD-MPC2 use it (Williams et al. 2015; Hansen et al. 2022)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp

from latentplan.config import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share
from latentplan.planners import sampling
from latentplan.planners.config import PlannerConfig
from latentplan.planners.objectives import Evaluate
from latentplan.planners.proposals import Proposals, State, categorical, gaussian
from latentplan.planners.sampling import Propose
from latentplan.types import AnyBelief, Array, Key, Params, Planner, PlanOutput


@dataclass(frozen=True, kw_only=True)
class MPPIConfig(PlannerConfig):
    """Defaults: TD-MPC2 (arXiv 2310.16828, table 8, and its config.yaml) with PlaNet's horizon.

    With as many elites as candidates it reduces to the MPPI of Williams et al.
    """

    horizon: PositiveInt = 12
    """H, planning horizon in decisions. TD-MPC2 uses 3 with a terminal value."""
    num_iterations: PositiveInt = 6
    """I, rounds of sampling and refitting."""
    num_candidates: PositiveInt = 512
    """N, action sequences per round."""
    num_elites: PositiveInt = 64
    """K, best sequences, to which the next round is fitted with weights."""
    temperature: NonNegativeFloat = 0.5
    """Elites are weighted by exp(temperature * (return - best return)): an inverse temperature, as in TD-MPC; higher is
    greedier. It depends on the scale of returns: for a model of your own, try 10 to 30 / their standard deviation."""
    init_std: PositiveFloat = 2.0
    """Standard deviation of the first round, in action units."""
    min_std: NonNegativeFloat = 0.05
    """Minimum standard deviation, in action units. For discrete actions: the weight of the uniform distribution mixed
    in at every refit."""
    max_std: PositiveFloat = 2.0
    """Maximum standard deviation, in action units."""
    momentum: Share = 0.0
    """Momentum of the refit: weight of the previous round's mean. TD-MPC uses 0.1, TD-MPC2 none."""
    choose: Literal["mean", "elite"] = "elite"
    """mean: act with the fitted mean, the better plan; elite: with an elite sampled in proportion to its weight, as in
    TD-MPC2, which explores."""
    policy_candidates: NonNegativeInt = 0
    """How many of the candidates are sampled from the agent's policy, if it has one. TD-MPC2 uses 24."""
    warm_start: bool = True
    """Start from the last plan, shifted by one decision."""

    def check(self) -> None:
        """Checks constraints between fields."""
        sampling.check_elites(self)
        sampling.check_policy_candidates(self)
        stds = f"min_std = {self.min_std} to max_std = {self.max_std}"
        self.require(self.min_std <= self.init_std <= self.max_std, "init_std", stds, "change one of the three")

    @property
    def evaluations(self) -> int:
        """Number of action sequences evaluated per plan."""
        return self.num_iterations * self.num_candidates


def make_mppi(
    config: MPPIConfig,
    action_size: int,
    evaluate: Evaluate,
    *,
    discrete: bool = False,
    propose: Propose | None = None,
    least_std: Callable[[Params], Array] | None = None,
) -> Planner:
    """Builds an MPPI planner over any model.

    Each round draws N sequences, keeps the K best, weights them by w = softmax(temperature * return) and refits
    mean = sum w a and std = sqrt(sum w (a - mean)^2), clipped to [min_std, max_std] (TD-MPC eq. 4 and 5).

    Args:
        config: planner settings.
        action_size: A.
        evaluate: (params, belief, actions [H, N, A], key) -> returns [N]; see `objectives`.
        discrete: whether actions are one-hot choices.
        propose: samples sequences from a policy, for `policy_candidates`; sampled once and evaluated in every round.
        least_std: (params) -> an additional lower bound on the std, which may decay during training.

    Returns:
        Planner for one belief. Its info holds `elite_return` [I], `return_std` [I], `action_std` [I] and, for
        continuous actions, `explore_std` [A], the std fitted to the first action.

    Raises:
        ValueError: `policy_candidates` is set, but there is no policy.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> towards_half = lambda params, belief, actions, key: -10 * jnp.sum((actions - 0.5) ** 2, (0, 2))
        >>> plan = make_mppi(MPPIConfig(horizon=3, choose="mean"), 2, towards_half)
        >>> bool(jnp.all(jnp.abs(plan(None, None, jax.random.key(0)).action - 0.5) < 0.05))
        True
    """
    proposals = _make_proposals(config, action_size, discrete=discrete)
    evaluate = sampling.finite_returns(evaluate)
    guides = sampling.make_guides(config, propose)

    def plan(params: Params, belief: AnyBelief, key: Key, warm_start: Array | None = None) -> PlanOutput:
        guide_key, rounds_key, choice_key = jax.random.split(key, 3)
        guided = guides(params, belief, guide_key)

        def iteration(carry: tuple[State, Array, Array], key: Key):
            state, _, _ = carry
            action_key, model_key = jax.random.split(key)
            drawn = proposals.draw(state, action_key, config.num_candidates - config.policy_candidates)
            actions = jnp.concatenate([drawn, *guided], 1)
            returns = evaluate(params, belief, actions, model_key)
            elite_returns, elites = jax.lax.top_k(returns, config.num_elites)
            elite_actions = actions[:, elites]
            weights = jax.nn.softmax(config.temperature * (elite_returns - elite_returns[0]))
            state = proposals.refit(state, elite_actions, weights)
            if least_std is not None and not discrete:
                state = state[0], jnp.maximum(state[1], least_std(params))
            info = {
                "elite_return": jnp.mean(elite_returns),
                "return_std": jnp.std(returns),
                "action_std": proposals.spread(state),
            }
            return (state, elite_actions, weights), info

        start = proposals.start(warm_start if config.warm_start else None)
        shapes = (config.horizon, config.num_elites, action_size), config.num_elites
        nothing = (jnp.zeros(shape, jnp.float32) for shape in shapes)
        keys = jax.random.split(rounds_key, config.num_iterations)
        (state, elite_actions, weights), info = jax.lax.scan(iteration, (start, *nothing), keys)
        chosen = proposals.plan(state)
        if config.choose == "elite":
            chosen = elite_actions[:, jax.random.categorical(choice_key, jnp.log(weights))]
        if not discrete:
            info["explore_std"] = state[1][0]
        return PlanOutput(action=chosen[0], plan=chosen, warm_start=proposals.warm_start(state), info=info)

    return plan


def _make_proposals(config: MPPIConfig, action_size: int, *, discrete: bool) -> Proposals:
    if discrete:
        config.require(config.min_std <= 1, "min_std", "at most 1, a probability for discrete actions", "lower it")
        return categorical(config.horizon, action_size, min_prob=config.min_std, momentum=config.momentum)
    return gaussian(
        config.horizon,
        action_size,
        init_std=config.init_std,
        min_std=config.min_std,
        max_std=config.max_std,
        momentum=config.momentum,
        std_momentum=0.0,
    )
