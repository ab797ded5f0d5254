"""What evaluation episodes tell about the model and the planner, as metrics."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from latentplan.types import Batch, Key, Params

_UNIT = 50  # records; episodes are cut to a multiple of it, so that few lengths have to be compiled
_LONGEST = 1000  # records; a game's episode may have 27,000


def planning_metrics(
    episodes: Sequence[Batch], infos: Sequence[dict[str, np.ndarray]]
) -> dict[str, np.ndarray | float]:
    """How planning went, and what came of what it promised.

    A model that is exploited promises more than comes: planned above realised. A planner that replans at every
    decision may also get more than a single plan promised.

    Args:
        episodes: without exploration noise, n + 1 records each.
        infos: the policy's info at their decisions, [n, ...]; see `Agent.act`.

    Returns:
        Means over decisions, as far as the agent tells: `planning/NAME` [I] for what the planner says of each
        iteration; `planning/planned_rewards` and `planning/realised_rewards` [H], by how far ahead they lay, over the
        decisions that had H more to come; and `planning/planned_return`, `planning/realised_return`, their sums.
    """
    values: dict[str, np.ndarray | float] = {}
    for name in infos[0].keys() - {"planned_rewards"}:
        values[f"planning/{name}"] = np.mean(np.concatenate([info[name] for info in infos]), 0)
    if "planned_rewards" not in infos[0]:
        return values
    horizon = infos[0]["planned_rewards"].shape[1]
    realised = [_windows(episode.reward[1:], horizon) for episode in episodes]
    planned = [info["planned_rewards"][: len(window)] for info, window in zip(infos, realised, strict=True)]
    if not sum(map(len, realised)):
        return values
    for name, rewards in (("planned", planned), ("realised", realised)):
        mean = np.mean(np.concatenate(rewards), 0)
        values |= {f"planning/{name}_rewards": mean, f"planning/{name}_return": float(np.sum(mean))}
    return values


def prediction_metrics(
    predict_ahead: Callable, params: Params, episodes: Sequence[Batch], key: Key
) -> dict[str, np.ndarray]:
    """How wrong the model is about the next decisions: `Agent.predict_ahead` on evaluation episodes.

    Args:
        predict_ahead: the agent's, jitted.
        params: the agent's.
        episodes: each cut to a multiple of 50 records and to 1,000, or whole where it is shorter.
        key: for the model's samples.

    Returns:
        `prediction/reward_mae` [D], and as far as the model has them `prediction/kl`, `prediction/observation_mse` and
        `prediction/latent_mse`, by decisions ahead. Empty where every episode is too short for distance D.
    """
    found = []
    for i, episode in enumerate(episodes):
        length = min(len(episode.reward), _LONGEST)
        window = jax.tree.map(lambda x, length=length: x[None, : length // _UNIT * _UNIT or length], episode)
        found.append(jax.device_get(predict_ahead(params, window, jax.random.fold_in(key, i))))
    long = [
        errors for errors, episode in zip(found, episodes, strict=True) if len(episode.reward) > len(errors.reward_mae)
    ]
    if not long:
        return {}
    means = jax.tree.map(lambda *x: np.mean(x, 0), *long)
    return {f"prediction/{name}": x for name, x in means._asdict().items() if x is not None}


def _windows(rewards: np.ndarray, horizon: int) -> np.ndarray:
    """[n, H]: the H rewards after each decision that has so many to come."""
    if len(rewards) < horizon:
        return np.zeros((0, horizon), rewards.dtype)
    return np.lib.stride_tricks.sliding_window_view(rewards, horizon)
