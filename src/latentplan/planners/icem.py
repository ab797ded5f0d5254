"""The improved cross-entropy method (Pinneri et al. 2020, algorithm 1): CEM with far fewer samples."""

from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp

from latentplan.config import Bound, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Share
from latentplan.planners import sampling
from latentplan.planners.config import PlannerConfig
from latentplan.planners.objectives import Evaluate
from latentplan.planners.proposals import GaussianState, gaussian
from latentplan.planners.sampling import Propose
from latentplan.types import AnyBelief, Array, Key, Params, Planner, PlanOutput


@dataclass(frozen=True, kw_only=True)
class ICEMConfig(PlannerConfig):
    """Defaults: iCEM (arXiv 2008.06389 and its release for PlaNet), with a fifth of PlaNet's 10,000 sequences."""

    horizon: PositiveInt = 12
    """H, planning horizon in decisions."""
    num_iterations: PositiveInt = 6
    """I, rounds of sampling and refitting."""
    num_candidates: PositiveInt = 500
    """N, action sequences in the first round."""
    candidate_decay: Annotated[float, Bound(ge=1)] = 1.25
    """Each round has this many times fewer candidates than the one before, but at least 2 K."""
    num_elites: PositiveInt = 10
    """K, best sequences, to which the next round is fitted."""
    kept_elites: Share = 0.3
    """Fraction of the elites that are reused as candidates: in the next round and, shifted, at the next decision."""
    noise_beta: NonNegativeFloat = 0.25
    """Exponent beta of the noise's power spectrum along the plan, 1 / frequency^beta; 0 is white noise. iCEM uses 0.25
    for cheetah and cartpole, 2.5 for the other tasks."""
    init_std: PositiveFloat = 0.5
    """Standard deviation of the first round, in action units."""
    min_std: NonNegativeFloat = 1e-3
    """Floor of the refitted standard deviation, sqrt(var + min_std^2), in action units."""
    momentum: Share = 0.1
    """Momentum of the refit: weight of the previous round's mean and std."""
    execute: Literal["best", "mean"] = "best"
    """best: act with the best sequence seen in any round; mean: with the fitted mean. With a stochastic model each
    return is a single sample, so the best sequence seen is partly the luckiest; the mean is not."""
    policy_candidates: NonNegativeInt = 0
    """How many of the first round's candidates are sampled from the agent's policy, if it has one."""
    warm_start: bool = True
    """Start from the last plan and its elites, shifted by one decision."""

    def check(self) -> None:
        """Checks constraints between fields."""
        sampling.check_elites(self)
        sampling.check_policy_candidates(self)

    @property
    def num_kept(self) -> int:
        """Number of elites that are reused as candidates."""
        return round(self.kept_elites * self.num_elites)

    @property
    def round_sizes(self) -> tuple[int, ...]:
        """Number of sequences sampled in round i: max(N / decay^i, 2 K), at most N."""
        least = min(2 * self.num_elites, self.num_candidates)
        sizes = (self.num_candidates / self.candidate_decay**i for i in range(self.num_iterations))
        return tuple(max(int(size), least) for size in sizes)

    @property
    def evaluations(self) -> int:
        """Number of action sequences evaluated per plan."""
        kept = self.num_kept * (self.num_iterations if self.warm_start else self.num_iterations - 1)
        return sum(self.round_sizes) + kept + 1  # the mean joins the last round


class ICEMWarmStart(NamedTuple):
    """State that one decision passes on to the next.

    Attributes:
        mean: [H, A].
        elites: [H, kept, A], best first.
    """

    mean: Array
    elites: Array


def make_icem(
    config: ICEMConfig, action_size: int, evaluate: Evaluate, *, discrete: bool = False, propose: Propose | None = None
) -> Planner:
    """Builds an iCEM planner over any model.

    CEM with coloured noise, fewer candidates each round, reused elites (between rounds and, shifted, between
    decisions), momentum, the mean as a candidate in the last round, and the best sequence seen as the plan (algorithm
    1). Sequences are clipped to [-1, 1] after scaling.

    The release (martius-lab/iCEM) differs as follows: it pads a shifted mean with its last action (here: zero), reuses
    the returns of kept elites (here: evaluates them again), replaces the last round's first sample by the mean (here:
    adds the mean), and has no floor on the refitted std.

    Args:
        config: planner settings.
        action_size: A.
        evaluate: (params, belief, actions [H, N, A], key) -> returns [N]; see `objectives`.
        discrete: must be False: iCEM needs continuous actions.
        propose: samples sequences from a policy, for `policy_candidates`.

    Returns:
        Planner for one belief, whose warm start is an ICEMWarmStart. Its info holds `elite_return` [I],
        `return_std` [I] and `action_std` [I].

    Raises:
        ValueError: actions are discrete, or `policy_candidates` is set, but there is no policy.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> towards_half = lambda params, belief, actions, key: -jnp.sum((actions - 0.5) ** 2, (0, 2))
        >>> plan = make_icem(ICEMConfig(horizon=3), 2, towards_half)
        >>> bool(jnp.all(jnp.abs(plan(None, None, jax.random.key(0)).action - 0.5) < 0.05))
        True
    """
    sampling.refuse_discrete("icem", discrete)
    stds = {"init_std": config.init_std, "min_std": config.min_std}
    proposals = gaussian(config.horizon, action_size, **stds, momentum=config.momentum, noise_beta=config.noise_beta)
    evaluate = sampling.finite_returns(evaluate)
    guides = sampling.make_guides(config, propose)
    weights = jnp.full(config.num_elites, 1.0 / config.num_elites, jnp.float32)

    def first_extra(state: GaussianState, warm_start: ICEMWarmStart | None, key: Key) -> list[Array]:
        """The last decision's elites, shifted by one step, with a newly sampled last action."""
        if not config.warm_start or not config.num_kept:
            return []
        if warm_start is None:
            return [proposals.draw(state, key, config.num_kept)]
        ends = proposals.draw(state, key, config.num_kept)[-1:]
        return [jnp.concatenate([warm_start.elites[1:], ends])]

    def plan(params: Params, belief: AnyBelief, key: Key, warm_start: ICEMWarmStart | None = None) -> PlanOutput:
        guide_key, end_key, rounds_key = jax.random.split(key, 3)
        state = proposals.start(warm_start.mean if config.warm_start and warm_start is not None else None)
        extra = first_extra(state, warm_start, end_key)
        best_return, best = jnp.float32(-jnp.inf), proposals.plan(state)
        rows = []
        for i, (size, key) in enumerate(
            zip(config.round_sizes, jax.random.split(rounds_key, config.num_iterations), strict=True)
        ):
            action_key, model_key = jax.random.split(key)
            guided = guides(params, belief, guide_key) if i == 0 else []
            drawn = proposals.draw(state, action_key, size - (config.policy_candidates if guided else 0))
            last = [proposals.plan(state)[:, None]] if i == config.num_iterations - 1 else []
            actions = jnp.concatenate([drawn, *guided, *extra, *last], 1)
            returns = evaluate(params, belief, actions, model_key)
            elite_returns, elites = jax.lax.top_k(returns, config.num_elites)
            elite_actions = actions[:, elites]
            state = proposals.refit(state, elite_actions, weights)
            extra = [elite_actions[:, : config.num_kept]]
            best = jnp.where(elite_returns[0] > best_return, elite_actions[:, 0], best)
            best_return = jnp.maximum(best_return, elite_returns[0])
            rows.append((jnp.mean(elite_returns), jnp.std(returns), proposals.spread(state)))
        names = ("elite_return", "return_std", "action_std")
        info = {name: jnp.stack(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
        chosen = best if config.execute == "best" else proposals.plan(state)
        kept = ICEMWarmStart(proposals.plan(state), elite_actions[:, : config.num_kept])
        return PlanOutput(action=chosen[0], plan=chosen, warm_start=kept, info=info)

    return plan
