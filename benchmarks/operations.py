"""Floating-point operations counted from the model's shapes, so that a time becomes a rate.

Counted are 2 x the multiply-adds of every matrix product and convolution; elementwise work, random numbers and
sorting are not. The counts are those of the model as PlaNet writes it: a program that finds the same numbers with
less arithmetic gets a higher rate, not a smaller count.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import harness

from latentplan.models.world_model import WorldModelConfig
from latentplan.planners.cem import CEMConfig
from latentplan.types import EnvSpec

ENCODER = ((31, 4, 1), (14, 4, 2), (6, 4, 4), (2, 4, 8))
"""Output size, kernel size and output channels / depth of the convolutions on 64 x 64 images."""
DECODER = ((1, 5, 4), (5, 5, 2), (13, 6, 1), (30, 6, None))
"""Input size, kernel size and output channels / depth of the transposed convolutions; None: the image's channels."""


def of_plan(model: WorldModelConfig, planner: CEMConfig, *, action_size: int, beliefs: int = 1) -> float:
    """Operations of one plan: every candidate step predicts a belief and its reward.

    Args:
        model: an RSSM.
        planner: J candidates, H decisions, I iterations.
        action_size: A.
        beliefs: B, how many are planned for at once.

    Returns:
        2 x multiply-adds of B x J x H x I candidate steps.
    """
    return candidate_steps(planner, beliefs) * (_imagine_step(model, action_size) + _reward(model))


def candidate_steps(planner: CEMConfig, beliefs: int) -> int:
    """How many beliefs one plan imagines: B x J x H x I."""
    return beliefs * planner.num_candidates * planner.horizon * planner.num_iterations


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
    embed = 32 * model.conv_depth if spec.is_pixels else model.vector_hidden
    posterior = _dense(model.deter + embed, *[model.hidden] * model.layers, 2 * model.stoch)
    return _imagine_step(model, spec.action_size) + sum(posterior)


def _reward(model: WorldModelConfig) -> float:
    return sum(_dense(model.stoch + model.deter, *[model.reward_hidden] * model.reward_layers, 1))


def _encoder(model: WorldModelConfig, spec: EnvSpec) -> list[float]:
    hidden = [model.vector_hidden] * model.vector_layers
    if not spec.is_pixels:
        return _dense(*spec.observation_shape, *hidden, model.vector_hidden)
    channels = [spec.observation_shape[-1], *(scale * model.conv_depth for _, _, scale in ENCODER)]
    return [_conv(*layer[:2], *ends) for layer, ends in zip(ENCODER, pairwise(channels), strict=True)]


def _decoder(model: WorldModelConfig, spec: EnvSpec) -> list[float]:
    feature, hidden = model.stoch + model.deter, [model.vector_hidden] * model.vector_layers
    if not spec.is_pixels:
        return _dense(feature, *hidden, *spec.observation_shape)
    image = spec.observation_shape[-1]
    channels = [32 * model.conv_depth, *(scale * model.conv_depth if scale else image for _, _, scale in DECODER)]
    convs = [_conv(*layer[:2], *ends) for layer, ends in zip(DECODER, pairwise(channels), strict=True)]
    return [*_dense(feature, channels[0]), *convs]


def _conv(size: int, kernel: int, inputs: int, outputs: int) -> float:
    """A convolution onto size x size positions, or a transposed one from as many: the same multiply-adds."""
    return 2.0 * size**2 * kernel**2 * inputs * outputs


class Case(NamedTuple):
    """Something to be timed.

    Attributes:
        labels: what it is, as the first columns of its row; together they are its name.
        call: does it once and returns when it is done.
        operations: of one call; 0 where none are counted.
        amounts: what one call gets done, by name in the plural.
    """

    labels: dict[str, Any]
    call: Callable[[], Any]
    operations: float
    amounts: dict[str, float]

    @property
    def name(self) -> str:
        """Its labels as one string."""
        return ", ".join(map(str, self.labels.values()))


def measure(cases: Sequence[Case], *, rounds: int, dtype: str) -> list[dict[str, Any]]:
    """Times cases in turns with the matrix product that stands for the machine's ceiling.

    Args:
        cases: of one benchmark.
        rounds: timed calls of each, after the first one.
        dtype: of the matrix product.

    Returns:
        One row per case and one for the matrix product: labels, milliseconds (median, fastest, slowest), seconds of
        the first call, amounts per second, and where operations are counted GFLOP, GFLOP/s and share of the ceiling.
    """
    product, operations = harness.matrix_product(dtype)
    label = next(iter(cases[0].labels))
    cases = [*cases, Case({label: f"matrix product, {dtype}"}, product, operations, {})]
    timings = harness.in_turns({case.name: case.call for case in cases}, rounds=rounds)
    ceiling = operations / timings[cases[-1].name].median
    return [case.labels | _columns(case, timings[case.name], ceiling) for case in cases]


def _columns(case: Case, timing: harness.Timing, ceiling: float) -> dict[str, float]:
    times = {"ms": timing.median, "fastest": timing.low, "slowest": timing.high}
    columns = {name: 1e3 * seconds for name, seconds in times.items()} | {"first call, s": timing.first}
    columns |= {f"{name}/s": amount / timing.median for name, amount in case.amounts.items()}
    if case.operations:
        rate = case.operations / timing.median
        columns |= {"GFLOP": case.operations / 1e9, "GFLOP/s": rate / 1e9, "of ceiling": rate / ceiling}
    return columns


def against_peers(rows: list[dict[str, Any]], column: str, name: Callable[[dict[str, Any]], str]) -> dict[str, float]:
    """A column of this project's rows, divided by the same of every other implementation's.

    Args:
        rows: from `measure`.
        column: which.
        name: (row) -> what is compared in it; rows of the same name are.

    Returns:
        Ratios by "latentplan / peer, name".
    """
    ours = {name(row): row for row in rows if row.get("implementation") == "latentplan"}
    return {
        f"latentplan / {row['implementation']}, {name(row)}": ours[name(row)][column] / row[column]
        for row in rows
        if row.get("implementation") not in (None, "latentplan")
    }


def notes(dtype: str, peer: str | None) -> list[str]:
    """What has to be read with the rows: the networks' precision, and how the peer was run."""
    if not peer:
        return [f"networks in {dtype}"]
    import peer_torch

    return [f"networks in {dtype}", peer_torch.NOTE]
