"""Floating-point operations counted from the model's shapes, so that a time becomes a rate.

Counted are 2 x the multiply-adds of every matrix product and convolution; elementwise work, random numbers and
sorting are not. The counts are those of the model as PlaNet writes it: a program that finds the same numbers with
less arithmetic gets a higher rate, not a smaller count.
"""

from itertools import pairwise

from latentplan.models.world_model import WorldModelConfig
from latentplan.planners import PlannerConfig
from latentplan.types import EnvSpec

ENCODER = ((31, 4, 1), (14, 4, 2), (6, 4, 4), (2, 4, 8))
"""Output size, kernel size and output channels / depth of the convolutions on 64 x 64 images."""
DECODER = ((1, 5, 4), (5, 5, 2), (13, 6, 1), (30, 6, None))
"""Input size, kernel size and output channels / depth of the transposed convolutions; None: the image's channels."""


def of_plan(model: WorldModelConfig, planner: PlannerConfig, *, action_size: int, beliefs: int = 1) -> float:
    """Operations of one plan: every candidate step predicts a belief and its reward.

    Args:
        model: an RSSM.
        planner: how many sequences of how many decisions it evaluates.
        action_size: A.
        beliefs: B, how many are planned for at once.

    Returns:
        2 x multiply-adds of all candidate steps.
    """
    return candidate_steps(planner, beliefs) * (_imagine_step(model, action_size) + _reward(model))


def candidate_steps(planner: PlannerConfig, beliefs: int) -> int:
    """How many beliefs one plan imagines: B x evaluations x H; for CEM the evaluations are N x I."""
    return beliefs * planner.evaluations * planner.horizon


def of_update(model: WorldModelConfig, spec: EnvSpec, *, batch_size: int, batch_length: int) -> dict[str, float]:
    """Operations of one update on the plain ELBO, forward and backward, by part.

    Backward costs twice forward: the gradient with respect to a layer's weights is as many multiply-adds as the
    layer itself, and so is the one with respect to its input. Only the observations need no gradient, so the
    encoder's first layer costs 2 x forward where everything else costs 3 x.

    Args:
        model: an RSSM.
        spec: of the environment.
        batch_size: windows in the batch.
        batch_length: steps in each.

    Returns:
        2 x multiply-adds of `encoder`, `observe`, `decoder` and `reward`; their sum is the update.
    """
    layers = {
        "encoder": _encoder(model, spec),
        "observe": [_observe_step(model, spec)],
        "decoder": _decoder(model, spec),
        "reward": [_reward(model)],
    }
    steps = batch_size * batch_length
    counts = {name: 3.0 * steps * sum(parts) for name, parts in layers.items()}
    counts["encoder"] -= steps * layers["encoder"][0]
    return counts


def _dense(*sizes: int) -> list[float]:
    return [2.0 * inputs * outputs for inputs, outputs in pairwise(sizes)]


def _imagine_step(model: WorldModelConfig, action_size: int) -> float:
    if model.kind != "rssm":
        raise ValueError(f"model.kind: expected rssm, the only one whose operations are counted, got {model.kind!r}")
    hidden = [model.hidden] * model.layers
    inputs = [model.stoch + action_size, *hidden]
    gru = _dense(inputs[-1] + model.deter, 3 * model.deter)  # two gates and the candidate
    prior = _dense(model.deter, *hidden, 2 * model.stoch)  # mean and std
    return sum(_dense(*inputs)) + sum(gru) + sum(prior)


def _observe_step(model: WorldModelConfig, spec: EnvSpec) -> float:
    embed = 32 * model.conv_depth if spec.images else model.vector_hidden
    posterior = _dense(model.deter + embed, *[model.hidden] * model.layers, 2 * model.stoch)
    return _imagine_step(model, spec.action_size) + sum(posterior)


def _reward(model: WorldModelConfig) -> float:
    return sum(_dense(model.stoch + model.deter, *[model.reward_hidden] * model.reward_layers, 1))


def _encoder(model: WorldModelConfig, spec: EnvSpec) -> list[float]:
    (space,), hidden = spec.observations.values(), [model.vector_hidden] * model.vector_layers
    if not space.is_image:
        return _dense(*space.shape, *hidden, model.vector_hidden)
    channels = [space.shape[-1], *(scale * model.conv_depth for _, _, scale in ENCODER)]
    return [_conv(*layer[:2], *ends) for layer, ends in zip(ENCODER, pairwise(channels), strict=True)]


def _decoder(model: WorldModelConfig, spec: EnvSpec) -> list[float]:
    feature, hidden = model.stoch + model.deter, [model.vector_hidden] * model.vector_layers
    (space,) = spec.observations.values()
    if not space.is_image:
        return _dense(feature, *hidden, *space.shape)
    image = space.shape[-1]
    channels = [32 * model.conv_depth, *(scale * model.conv_depth if scale else image for _, _, scale in DECODER)]
    convs = [_conv(*layer[:2], *ends) for layer, ends in zip(DECODER, pairwise(channels), strict=True)]
    return [*_dense(feature, channels[0]), *convs]


def _conv(size: int, kernel: int, inputs: int, outputs: int) -> float:
    """A convolution onto size x size positions, or a transposed one from as many: the same multiply-adds."""
    return 2.0 * size**2 * kernel**2 * inputs * outputs
