"""Named arrays as episodes: finding the fields, aligning them, and cutting at the ends of episodes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

_PLAIN = ("image", "images", "state", "states")  # names of an observation by what it is
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


@contextmanager
def readable(where: object, expected: str) -> Iterator[None]:
    """Refuses, in a line, a file on which a reader of another library raises, which may be almost anything.

    Args:
        where: the file, for the message.
        expected: what it should hold.

    Raises:
        ValueError: in place of any other exception.
    """
    try:
        yield
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ValueError(f"{where}: expected {expected}, got {reason}") from error


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
    known = {name: _numbers(x, f"{where}: {name}") for name, x in arrays.items() if _is_field(name)}
    found = {field: [known[name] for name in NAMES[field] if name in known] for field in ("action", "reward")}
    observation, following = (_observations(known, field) for field in ("observation", "next_observation"))
    for field, held in {**found, "observation": observation}.items():
        if not held:
            got = f"{', '.join(arrays)}; rename one of them"
            raise ValueError(f"{where}: expected an array {' or '.join(NAMES[field])}, got {got}")
    action, reward = found["action"][0], found["reward"][0]
    first = _flags(known, "first", len(action)) if "is_first" in known else None
    last = _flags(known, "last", len(action)) | _flags(known, "terminal", len(action))
    if first is not None:
        last[:-1] |= first[1:]
    steps = Steps(
        observation={name: _as_observation(x, f"{where}: {name}") for name, x in observation.items()},
        action=action,
        reward=reward.reshape(len(reward), -1)[:, 0] if reward.size == len(reward) else reward,
        terminal=_flags(known, "terminal", len(action)),
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
            found[entry.replace("/", ".")] = array
        elif name in NAMES[field]:
            found["image" if _is_image(array) else "state"] = array
        elif field == "observation" and name in _PLAIN:
            found[name.removesuffix("s")] = array
    return found


def _is_image(array: np.ndarray) -> bool:
    return array.dtype == np.uint8 and array.ndim == 4


def _is_field(name: str) -> bool:
    """Whether an array is read."""
    head = name.partition("/")[0]
    return any(head in names for names in NAMES.values()) or name in _PLAIN


def _numbers(array: np.ndarray, where: str) -> np.ndarray:
    """An array of numbers, with a leading axis."""
    array = np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where}: expected numbers, got {array.dtype}; convert them")
    if not array.ndim or not array.size:
        raise ValueError(f"{where}: expected numbers for each step, got {list(array.shape)}; rename or leave it out")
    return array


def _as_observation(array: np.ndarray, where: str) -> np.ndarray:
    """uint8 [n, height, width, channels], or float32 [n, size]."""
    if _is_image(array):
        first = array.shape[1] in _COLOURS and array.shape[3] not in _COLOURS
        return np.moveaxis(array, 1, 3) if first else array
    flat = array.reshape(len(array), -1).astype(np.float32)
    if not np.isfinite(flat).all():
        raise ValueError(f"{where}: expected finite numbers, got NaN or infinity; leave those episodes out")
    return flat


def _flags(arrays: Arrays, field: str, size: int) -> np.ndarray:
    """[n] bool: whether any of the field's arrays is true there."""
    flags = np.zeros(size, bool)
    for name in NAMES[field]:
        if name in arrays and arrays[name].size == size:
            flags |= arrays[name].reshape(-1).astype(bool)
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
    for name, x in (steps.next_observation or {}).items():
        if name not in steps.observation or x.shape[1:] != steps.observation[name].shape[1:] or len(x) != size:
            advice = "give every observation a next one, or none"
            raise ValueError(
                f"{where}: next observation {name}: expected {size} like observations, got {list(x.shape)}; {advice}"
            )
    for name, x in {"action": steps.action, "reward": steps.reward}.items():
        if not np.isfinite(x).all():
            raise ValueError(f"{where}: {name}: expected finite numbers, got NaN or infinity; leave those episodes out")
