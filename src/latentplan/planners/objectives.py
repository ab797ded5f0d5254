"""What a planner maximises: from action sequences to one number each."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan.config import Config, NonNegativeFloat, PositiveInt, UnitInterval
from latentplan.types import AnyBelief, Array, ImagineStep, Key, Params, WorldModel

Evaluate = Callable[[Params, AnyBelief, Array, Key], Array]
"""(params, belief, actions [H, N, A], key) -> returns [N]: all a planner ever knows of a model."""
Value = Callable[[Params, AnyBelief, Key], Array]
"""(params, belief [N], key) -> [N]: the return that is expected after a belief."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Config):
    """The planner's objective. Defaults: PlaNet, the expected sum of rewards."""

    discount: UnitInterval = 1.0
    """Per decision."""
    risk_samples: PositiveInt = 1
    """Rollouts of the stochastic model per action sequence; 1 is PlaNet's."""
    risk_penalty: NonNegativeFloat = 0.0
    """How many standard deviations of the return over these rollouts are taken off their mean."""

    def check(self) -> None:
        """Rules between fields."""
        enough = self.risk_samples > 1 or not self.risk_penalty
        self.require(enough, "risk_samples", f"at least 2 with risk_penalty = {self.risk_penalty}", "5 is a start")


def model_returns(
    model: WorldModel,
    *,
    discount: float = 1.0,
    value: Value | None = None,
    continues: Callable[[Params, AnyBelief], Array] | None = None,
    horizon_of: Callable[[Params], Array] | None = None,
) -> Evaluate:
    """Builds a planner's objective from a world model: the expected rewards along its own prediction.

    PlaNet algorithm 2, line 6, or with a value TD-MPC eq. 3; the sum is that of `sum_of_rewards`. Where the model
    predicts terminations, a step counts by the probability that the episode gets there.

    Args:
        model: any world model.
        discount: per decision; 1 is PlaNet's. Give 1 for a model that was taught the discount with its terminations, as
            Dreamer's is.
        value: the return expected after a plan's last belief; None: nothing.
        continues: (params, belief [H, N]) -> [H, N], in place of the model's own probability that an episode goes on.
        horizon_of: as for `sum_of_rewards`; for models that predict no terminations.

    Returns:
        Evaluate: (params, belief, actions [H, N, A], key) -> returns [N], in units of reward.

    Raises:
        ValueError: `horizon_of` is given for a model that predicts terminations.

    Examples:
        >>> import jax, jax.numpy as jnp
        >>> from latentplan.models.world_model import WorldModelConfig, make_world_model
        >>> from latentplan.types import EnvSpec
        >>> spec = EnvSpec.single((5,), action_size=2, action_repeat=1, max_decisions=None)
        >>> model = make_world_model(WorldModelConfig(deter=8, stoch=4, hidden=8), spec)
        >>> returns, key = model_returns(model, discount=0.99), jax.random.key(0)
        >>> returns(model.init(key), model.initial(()), jnp.zeros((12, 100, 2)), key).shape
        (100,)
    """
    return sum_of_rewards(
        model.imagine_step,
        expected_reward(model),
        discount=discount,
        value=value,
        continues=continues or continue_probability(model),
        horizon_of=horizon_of,
    )


def expected_reward(model: WorldModel) -> Callable[[Params, AnyBelief], Array]:
    """(params, belief [...]) -> [...], the mean of the predicted reward, in units of reward."""
    return lambda params, belief: model.reward(params, belief).mean[..., 0]


def continue_probability(model: WorldModel) -> Callable[[Params, AnyBelief], Array] | None:
    """(params, belief [...]) -> [...], the predicted probability that the episode goes on; None without a prediction.

    Dreamer teaches it the discount as well, so there it is what later steps count.
    """
    terminal = model.terminal
    return None if terminal is None else lambda params, belief: jax.nn.sigmoid(-terminal(params, belief))


def sum_of_rewards(
    imagine_step: ImagineStep,
    reward: Callable[[Params, AnyBelief], Array],
    *,
    discount: float = 1.0,
    value: Value | None = None,
    continues: Callable[[Params, AnyBelief], Array] | None = None,
    horizon_of: Callable[[Params], Array] | None = None,
) -> Evaluate:
    """sum_{h=1..H} w_h E[r | s_h] + w_{H+1} v(s_H), rolled with sampled priors; w_h = discount^(h-1) c_1 .. c_{h-1}.

    Without value and terminations: PlaNet algorithm 2, line 6. With a value: TD-MPC eq. 3. The reward function is
    called once, on all H x N beliefs, after the scan, and so is `continues`.

    Args:
        imagine_step: (params, belief [N], action [N, A], key) -> (belief [N], anything).
        reward: (params, belief [H, N]) -> expected reward [H, N].
        discount: per decision. PlaNet uses 1.
        value: (params, belief [N], key) -> [N], what follows the last belief.
        continues: (params, belief [H, N]) -> [H, N], the probability c_h that the episode goes on after s_h.
        horizon_of: (params) -> from 1 to H, how many steps count before the value; a horizon that grows while the
            model learns, as TD-MPC's does. Not together with `continues`.

    Returns:
        Evaluate, for one belief without batch axis.
    """
    if continues is not None and horizon_of is not None:
        raise ValueError(
            "horizon_of: expected None where `continues` is given; a growing horizon knows no terminations"
        )

    def evaluate(params: Params, belief: AnyBelief, actions: Float[Array, "H N A"], key: Key) -> Float[Array, "N"]:
        horizon, candidates, _ = actions.shape
        start = jax.tree.map(lambda x: jnp.broadcast_to(x, (candidates, *x.shape)), belief)

        def step(belief, inputs):
            belief, _ = imagine_step(params, belief, *inputs)
            return belief, belief

        last, beliefs = jax.lax.scan(step, start, (actions, jax.random.split(key, horizon)))
        weights = discount ** jnp.arange(horizon + 1, dtype=jnp.float32)
        rewards = reward(params, beliefs)
        if horizon_of is not None:
            steps = jnp.clip(jnp.asarray(horizon_of(params), jnp.int32), 1, horizon)
            total = jnp.where(jnp.arange(horizon) < steps, weights[:-1], 0.0) @ rewards
            after, last = weights[steps], jax.tree.map(lambda x: x[steps - 1], beliefs)
        elif continues is None:
            total, after = weights[:-1] @ rewards, weights[-1]
        else:
            alive = jnp.cumprod(continues(params, beliefs), 0)
            total = weights[0] * rewards[0] + jnp.sum(weights[1:-1, None] * alive[:-1] * rewards[1:], 0)
            after = weights[-1] * alive[-1]
        return total if value is None else total + after * value(params, last, jax.random.fold_in(key, horizon))

    return evaluate


def penalise_risk(evaluate: Evaluate, *, num_samples: int, penalty: float) -> Evaluate:
    """The mean less `penalty` times the std of the return over rollouts of a stochastic model.

    The rollouts differ by the model's own draws alone, so where it is unsure its plans are worth less
    (a penalty below zero seeks what it is unsure of).

    Args:
        evaluate: what one rollout is worth.
        num_samples: rollouts per action sequence.
        penalty: in standard deviations (population).

    Returns:
        Evaluate, at `num_samples` times the cost.
    """

    def penalised(params: Params, belief: AnyBelief, actions: Float[Array, "H N A"], key: Key) -> Float[Array, "N"]:
        horizon, candidates, size = actions.shape
        each = jnp.broadcast_to(actions[:, None], (horizon, num_samples, candidates, size))
        returns = evaluate(params, belief, each.reshape(horizon, -1, size), key).reshape(num_samples, candidates)
        return jnp.mean(returns, 0) - penalty * jnp.std(returns, 0)

    return penalised


def split_over_devices(evaluate: Evaluate, sharding: jax.sharding.Sharding) -> Evaluate:
    """Candidates rolled on several devices, each its share; returns gathered on all.

    Args:
        evaluate: what one device would do.
        sharding: of actions [H, N, A], for example `NamedSharding(mesh, PartitionSpec(None, "candidates"))`.

    Returns:
        Evaluate with the same values. Draws do not depend on the split where JAX's threefry is partitionable
        (its default).
    """

    def evaluate_shares(
        params: Params, belief: AnyBelief, actions: Float[Array, "H N A"], key: Key
    ) -> Float[Array, "N"]:
        return evaluate(params, belief, jax.lax.with_sharding_constraint(actions, sharding), key)

    return evaluate_shares
