"""Named arrays as episodes: finding the fields, aligning them, and cutting at the ends of episodes."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from latentplan.types import Batch

Arrays = Mapping[str, np.ndarray]

NAMES: dict[str, tuple[str, ...]] = {
    "observation": ("observation", "observations", "obs"),
    "next_observation": ("next_observation", "next_observations", "next_obs"),
    "action": ("action", "actions"),
    "reward": ("reward", "rewards"),
    "terminal": ("is_terminal", "terminated", "terminations", "terminal", "terminals"),
    "last": ("is_last", "truncated", "truncations", "timeout", "timeouts", "done", "dones"),
    "first": ("is_first",),
}
"""Field -> the names under which files hold it. An observation by name is "observation/NAME"."""

_COLOURS = (1, 3, 4)  # numbers of channels by which an image with its channels first is recognised


class Steps(NamedTuple):
    """Steps of one or several episodes, one after the other, as a file holds them.

    Attributes:
        observation: by name [n, ...] or [n + 1, ...].
        action: [n, ...].
        reward: [n].
        terminal: [n] bool, the episode ended here by termination.
        last: [n] bool, the episode ended here; the last step of the file is one, too.
        next_observation: by name [n, ...]; None if the file does not hold it.
        shifted: whether step t holds the action and the reward that led to observation t, as our own files do.
    """

    observation: dict[str, np.ndarray]
    action: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    last: np.ndarray
    next_observation: dict[str, np.ndarray] | None
    shifted: bool


def is_one_hot(actions: np.ndarray) -> bool:
    """Whether actions [n, A] are choices: one entry is 1 and the others are 0, in every row."""
    return bool(np.all((actions == 0) | (actions == 1)) and np.all(actions.sum(-1) == 1))


def is_steps(names: Mapping[str, Any]) -> bool:
    """Whether a file or group with these names holds steps: it has actions."""
    return any(name in names for name in NAMES["action"])


def read_steps(arrays: Arrays, where: str) -> Steps:
    """Finds the fields among named arrays.

    Args:
        arrays: name -> array with a leading axis of steps; see `NAMES`. Others are ignored.
        where: the file, for messages.

    Returns:
        Steps.

    Raises:
        ValueError: a field is missing, has another length, or holds numbers that are not finite.
    """
    action, reward = (np.asarray(_required(arrays, field, where)) for field in ("action", "reward"))
    observation, following = (_observations(arrays, field) for field in ("observation", "next_observation"))
    if not observation:
        raise ValueError(_missing("observation", arrays, where))
    first = _optional(arrays, "first")
    last = _flags(arrays, "last", len(action)) | _flags(arrays, "terminal", len(action))
    if first is not None:
        last[:-1] |= first[1 : len(action)].astype(bool)
    steps = Steps(
        observation={name: _as_observation(x, f"{where}: {name}") for name, x in observation.items()},
        action=action,
        reward=reward.reshape(len(reward), -1)[:, 0] if reward.size == len(reward) else reward,
        terminal=_flags(arrays, "terminal", len(action)),
        last=last,
        next_observation={name: _as_observation(x, f"{where}: {name}") for name, x in following.items()} or None,
        shifted=first is not None,
    )
    _check(steps, where)
    return steps


def cut_episodes(steps: Steps) -> Iterator[Batch]:
    """Cuts steps into episodes of records (see `Batch`).

    Where a file holds as many observations as actions, and not the next observations, what an episode's last action led
    to is unknown: it is left out, with its reward and a termination.

    Args:
        steps: of one file.

    Yields:
        One episode at a time; episodes without a single decision are left out.
    """
    begin = 0
    for end in sorted({*(int(place) + 1 for place in np.flatnonzero(steps.last)), len(steps.action)}):
        episode = _one(steps, begin, end)
        begin = end
        if len(episode.reward) > 1:
            yield episode


def _one(steps: Steps, begin: int, end: int) -> Batch:
    """The episode of steps begin to end - 1."""
    if steps.shifted:  # record t already holds what led to observation t
        observation = {name: x[begin:end] for name, x in steps.observation.items()}
        return _records(
            observation, steps.action[begin + 1 : end], steps.reward[begin + 1 : end], steps.terminal[end - 1]
        )
    one_more = len(next(iter(steps.observation.values()))) > len(steps.action)
    if one_more and end == len(steps.action):
        observation = {name: x[begin : end + 1] for name, x in steps.observation.items()}
    elif steps.next_observation is not None:
        observation = {
            name: np.concatenate([x[begin:end], steps.next_observation[name][end - 1 : end]])
            for name, x in steps.observation.items()
        }
    else:
        observation, end = {name: x[begin:end] for name, x in steps.observation.items()}, end - 1
        return _records(observation, steps.action[begin:end], steps.reward[begin:end], False)
    return _records(observation, steps.action[begin:end], steps.reward[begin:end], steps.terminal[end - 1])


def _records(observation: dict[str, np.ndarray], action: np.ndarray, reward: np.ndarray, terminal: bool) -> Batch:
    """N + 1 records: the first has a zero action and a zero reward."""
    place = np.arange(len(reward) + 1)
    return Batch(
        observation=observation,
        action=np.concatenate([np.zeros_like(action[:1]) if len(action) else action, action]),
        reward=np.concatenate([[0.0], reward]).astype(np.float32),
        is_first=place == 0,
        is_last=place == len(reward),
        is_terminal=(place == len(reward)) & bool(terminal),
    )


def _observations(arrays: Arrays, field: str) -> dict[str, np.ndarray]:
    """Observations by name: of "observation/NAME", or one that is named by what it is, "image" or "state"."""
    found: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        head, _, entry = name.partition("/")
        if head in NAMES[field] and entry:
            found[entry.replace("/", ".")] = np.asarray(array)
        elif name in NAMES[field]:
            found["image" if _is_image(np.asarray(array)) else "state"] = np.asarray(array)
        elif field == "observation" and name in ("image", "images", "state", "states"):
            found[name.removesuffix("s")] = np.asarray(array)
    return found


def _is_image(array: np.ndarray) -> bool:
    return array.dtype == np.uint8 and array.ndim == 4


def _as_observation(array: np.ndarray, where: str) -> np.ndarray:
    """uint8 [n, height, width, channels], or float32 [n, size]."""
    if _is_image(array):
        first = array.shape[1] in _COLOURS and array.shape[3] not in _COLOURS
        return np.moveaxis(array, 1, 3) if first else array
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where}: expected numbers, got {array.dtype}; convert them")
    flat = array.reshape(len(array), -1).astype(np.float32)
    if not np.isfinite(flat).all():
        raise ValueError(f"{where}: expected finite numbers, got NaN or infinity; leave those episodes out")
    return flat


def _required(arrays: Arrays, field: str, where: str) -> np.ndarray:
    found = _optional(arrays, field)
    if found is None:
        raise ValueError(_missing(field, arrays, where))
    return found


def _missing(field: str, arrays: Arrays, where: str) -> str:
    return f"{where}: expected an array {' or '.join(NAMES[field])}, got {', '.join(arrays)}; rename one of them"


def _optional(arrays: Arrays, field: str) -> np.ndarray | None:
    return next((np.asarray(arrays[name]) for name in NAMES[field] if name in arrays), None)


def _flags(arrays: Arrays, field: str, size: int) -> np.ndarray:
    """[n] bool: whether any of the field's arrays is true there."""
    flags = np.zeros(size, bool)
    for name in NAMES[field]:
        if name in arrays and np.size(arrays[name]) == size:
            flags |= np.asarray(arrays[name]).reshape(-1).astype(bool)
    return flags


def _check(steps: Steps, where: str) -> None:
    size = len(steps.action)
    if steps.reward.shape != (size,):
        got = list(steps.reward.shape)
        raise ValueError(f"{where}: reward: expected one number for each of {size} actions, got {got}; sum or cut them")
    for name, x in steps.observation.items():
        if len(x) not in (size, size + 1):
            raise ValueError(
                f"{where}: observation {name}: expected {size} or {size + 1} of them for {size} actions, got {len(x)}"
            )
    for name, x in {"action": steps.action, "reward": steps.reward}.items():
        if not np.isfinite(x).all():
            raise ValueError(f"{where}: {name}: expected finite numbers, got NaN or infinity; leave those episodes out")
