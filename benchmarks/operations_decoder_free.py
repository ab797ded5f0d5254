"""Floating-point operations of TD-MPC2's update and plan, counted as in `operations`: 2 x multiply-adds of products."""

from operations import _dense

from latentplan.models.decoder_free import DecoderFreeConfig
from latentplan.planners.mppi import MPPIConfig
from latentplan.types import EnvSpec


def of_plan(model: DecoderFreeConfig, planner: MPPIConfig, *, action_size: int, beliefs: int = 1) -> float:
    """Operations of one plan: rollouts of candidates, their terminal values, and the policy's own candidates.

    Args:
        model: on state vectors or pixels; a plan starts from a latent state.
        planner: sizes.
        action_size: A.
        beliefs: B, how many are planned for at once.

    Returns:
        2 x multiply-adds.
    """
    cost = _networks(model, action_size)
    candidate = planner.horizon * (cost["dynamics"] + cost["reward"] + cost["mean"])
    candidate += cost["policy"] + 2 * (cost["q"] + cost["mean"])
    proposed = planner.policy_candidates * planner.horizon * (cost["policy"] + cost["dynamics"])
    return beliefs * (planner.evaluations * candidate + proposed)


def of_update(model: DecoderFreeConfig, spec: EnvSpec, *, batch_size: int, batch_length: int) -> dict[str, float]:
    """Operations of one update on state vectors, forward and backward, by part.

    Backward costs twice forward where weights and inputs both need gradients, once where only one of them does.

    Args:
        model: of the agent.
        spec: of the environment.
        batch_size: B.
        batch_length: H + 1.

    Returns:
        2 x multiply-adds of `targets`, `model` and `policy`; their sum is the update.
    """
    (space,) = spec.observations.values()
    if space.is_image:
        raise ValueError("obs: expected state, the only one whose operations are counted for TD-MPC2, got pixels")
    cost, steps, size = _networks(model, spec.action_size), batch_length - 1, batch_size
    encoder = _dense(*space.shape, *[model.encoder_hidden] * model.encoder_layers, model.latent)
    first_policy_layer = _dense(model.latent, model.hidden)[0]
    return {
        "targets": size * steps * (sum(encoder) + cost["policy"] + 2 * (cost["q"] + cost["mean"])),
        "model": size * (3 * sum(encoder) - encoder[0])
        + 3 * size * steps * (cost["dynamics"] + cost["reward"] + model.num_q * cost["q"]),
        "policy": size * (steps + 1) * (3 * cost["policy"] - first_policy_layer + 2 * 2 * (cost["q"] + cost["mean"])),
    }


def _networks(model: DecoderFreeConfig, action_size: int) -> dict[str, float]:
    hidden, both = [model.hidden] * 2, model.latent + action_size
    return {
        "dynamics": sum(_dense(both, *hidden, model.latent)),
        "reward": sum(_dense(both, *hidden, model.num_bins)),
        "q": sum(_dense(both, *hidden, model.num_bins)),
        "mean": 2.0 * model.num_bins,
        "policy": sum(_dense(model.latent, *hidden, 2 * action_size)),
    }
