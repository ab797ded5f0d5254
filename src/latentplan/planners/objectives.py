"""Planning objectives: functions that score action sequences."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Float

from latentplan.checks import expect_type
from latentplan.config import Config, NonNegativeFloat, PositiveInt, UnitInterval
from latentplan.types import AnyBelief, Array, ImagineStep, Key, Params, WorldModel

Evaluate = Callable[[Params, AnyBelief, Array, Key], Array]
"""(params, belief, actions [H, N, A], key) -> returns [N]: a planner's only interface to a model."""
Value = Callable[[Params, AnyBelief, Key], Array]
"""(params, belief [N], key) -> [N]: the expected return from a belief on."""


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig(Config):
    """The planner's objective. Defaults: PlaNet, the expected sum of rewards."""

    discount: UnitInterval = 1.0
    """Discount factor per decision."""
    risk_samples: PositiveInt = 1
    """Rollouts of the stochastic model per action sequence; PlaNet uses 1."""
    risk_penalty: NonNegativeFloat = 0.0
    """Risk penalty: standard deviations of the return over these rollouts that are subtracted from its mean."""

    def check(self) -> None:
        """Checks constraints between fields."""
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
    """Builds a planner's objective from a world model: the predicted return of an action sequence.

    PlaNet algorithm 2, line 6, or with a value TD-MPC eq. 3; computed by `sum_of_rewards`. If the model predicts
    terminations, each step is weighted by the probability that the episode reaches it.

    Args:
        model: any world model.
        discount: per decision; PlaNet uses 1. Use 1 for a model whose continuation probability already includes the
            discount, as Dreamer's does.
        value: the expected return after a plan's last belief; None counts it as zero.
        continues: (params, belief [H, N]) -> [H, N], replaces the model's own continuation probability.
        horizon_of: as for `sum_of_rewards`; for models that predict no terminations.

    Returns:
        Evaluate: (params, belief, actions [H, N, A], key) -> returns [N], in units of reward.

    Raises:
        ValueError: `model` is no WorldModel, or `horizon_of` is given, but the model predicts terminations.

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
    own = "a function of your own is a planner's evaluate as it is, or made one by sum_of_rewards(imagine_step, reward)"
    expect_type("model", model, WorldModel, own)
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
    """(params, belief [...]) -> [...], the predicted continuation probability; None if termination is not modelled.

    Dreamer trains it to include the discount, so there it is the full weight of later steps.
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
        value: (params, belief [N], key) -> [N], the return after the last belief.
        continues: (params, belief [H, N]) -> [H, N], the probability c_h that the episode continues after s_h.
        horizon_of: (params) -> 1 to H, the number of steps before the value, for a horizon that grows during training,
            as in TD-MPC. Cannot be combined with `continues`.

    Returns:
        Evaluate, for one belief without batch axis.
    """
    if continues is not None and horizon_of is not None:
        raise ValueError(
            "horizon_of: expected None where `continues` is given; a growing horizon does not support terminations"
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
    """Mean minus `penalty` times the std of the return over rollouts of a stochastic model.

    The rollouts differ only in the model's sampled states, so plans score lower where the model is uncertain (a
    negative penalty seeks uncertainty).

    Args:
        evaluate: the objective, for a single rollout.
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
    """Distributes candidates over several devices and gathers their returns on all.

    Args:
        evaluate: the objective on one device.
        sharding: of actions [H, N, A], for example `NamedSharding(mesh, PartitionSpec(None, "candidates"))`.

    Returns:
        Evaluate with the same values. Samples do not depend on the number of devices as long as JAX's threefry is
        partitionable (the default).
    """

    def evaluate_shares(
        params: Params, belief: AnyBelief, actions: Float[Array, "H N A"], key: Key
    ) -> Float[Array, "N"]:
        return evaluate(params, belief, jax.lax.with_sharding_constraint(actions, sharding), key)

    return evaluate_shares
