"""Named arrays as episodes: finding the fields, aligning them, and cutting at the ends of episodes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from latentplan.types import Batch

Arrays = Mapping[str, Any]  # of what NumPy makes arrays of; an open file's are read when they are asked for

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
        notes: what a user might not expect of how the arrays are used: a sentence each.
    """

    observation: dict[str, np.ndarray]
    action: np.ndarray
    reward: np.ndarray
    terminal: np.ndarray
    last: np.ndarray
    next_observation: dict[str, np.ndarray] | None
    shifted: bool
    notes: tuple[str, ...] = ()


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
        arrays: name -> array with a leading axis of steps; see `NAMES`. Others are ignored, and not even read.
        where: the file, for messages.

    Returns:
        Steps.

    Raises:
        ValueError: a field is missing, held twice, has another length, or holds numbers that are not finite.
    """
    known = {name: _numbers(arrays, name, where) for name in arrays if is_field(name)}
    observed, following = (_observations(known, field, where) for field in ("observation", "next_observation"))
    if not observed:
        raise _missing("observation", arrays, where)
    action_name, reward_name = (_only(known, field, arrays, where) for field in ("action", "reward"))
    action, reward = known[action_name], known[reward_name]
    _check_rewards(reward, len(action), f"{where}: {reward_name}")
    per_record = _is_per_record(known, observed, len(action), where)
    size = len(action) + per_record  # of the steps that are returned
    lengths = {len(action), size}
    first, last, terminal = (_flags(known, field, lengths, where) for field in ("first", "last", "terminal"))
    last |= terminal
    last[:-1] |= first[1:]
    steps = Steps(
        observation={entry: _as_observation(known[name], f"{where}: {name}") for entry, name in observed.items()},
        action=_padded(action.astype(np.int64) if action.dtype == bool else action, size),
        reward=_padded(reward.reshape(-1), size),
        terminal=terminal,
        last=last,
        next_observation={entry: _as_observation(known[name], f"{where}: {name}") for entry, name in following.items()}
        or None,
        shifted="is_first" in known,
        notes=flattened_notes({name: (known[name].dtype, known[name].shape[1:]) for name in observed.values()}),
    )
    _check_lengths(steps, observed, where)
    return steps


def flattened_notes(observations: Mapping[str, tuple[np.dtype, tuple[int, ...]]]) -> tuple[str, ...]:
    """A sentence for each observation that looks like an image, but becomes a vector.

    Args:
        observations: name -> dtype and shape of one of them.
    """
    return tuple(
        f"{name} {dtype} {list(shape)} is flattened into a vector of {math.prod(shape)} numbers; images are uint8 "
        "[height, width, channels]"
        for name, (dtype, shape) in observations.items()
        if (len(shape) == 3 and dtype != np.uint8) or (len(shape) == 2 and dtype == np.uint8)
    )


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


def _observations(arrays: Arrays, field: str, where: str) -> dict[str, str]:
    """Observations' names -> arrays' names: "observation/NAME", or one named by what it is, "image" or "state"."""
    found: dict[str, str] = {}
    whole = [name for name in arrays if name in NAMES[field]]
    for name, array in arrays.items():
        head, _, entry = name.partition("/")
        if head in NAMES[field] and entry:
            observed = entry.replace("/", ".")
        elif name in NAMES[field]:
            observed = "image" if _is_image(array) else "state"
        elif field == "observation" and name in _PLAIN:
            observed = name.removesuffix("s")
        else:
            continue
        twice = [found[observed], name] if observed in found else whole[:2] if name in whole[1:] else []
        if twice:
            raise _twice(field, twice, where)
        found[observed] = name
    return found


def _only(known: Arrays, field: str, arrays: Arrays, where: str) -> str:
    """The name of a field's array."""
    names = [name for name in NAMES[field] if name in known]
    if not names:
        raise _missing(field, arrays, where)
    if len(names) > 1:
        raise _twice(field, names, where)
    return names[0]


def _missing(field: str, arrays: Arrays, where: str) -> ValueError:
    got = f"{', '.join(arrays)}; rename one of them"
    return ValueError(f"{where}: expected an array {' or '.join(NAMES[field])}, got {got}")


def _twice(field: str, names: Sequence[str], where: str) -> ValueError:
    got, rename = " and ".join(names), f", or rename it as {field}/NAME" if "observation" in field else ""
    return ValueError(f"{where}: {field.replace('_', ' ')}: expected one array, got {got}; leave one out{rename}")


def _is_image(array: np.ndarray) -> bool:
    return array.dtype == np.uint8 and array.ndim == 4


def is_field(name: str) -> bool:
    """Whether an array is read."""
    head, parted, _ = name.partition("/")
    entries = (*NAMES["observation"], *NAMES["next_observation"])
    return head in entries if parted else name in _PLAIN or any(name in names for names in NAMES.values())


def _numbers(arrays: Arrays, name: str, where: str) -> np.ndarray:
    """An array of finite numbers, with a leading axis."""
    where = f"{where}: {name}"
    with readable(where, "an array of numbers"):
        array = np.asarray(arrays[name])
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{where}: expected numbers, got {array.dtype}; convert them")
    if not array.ndim or not array.size:
        raise ValueError(f"{where}: expected numbers for each step, got {list(array.shape)}; rename or leave it out")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{where}: expected finite numbers, got NaN or infinity; leave those episodes out")
    return array


def _as_observation(array: np.ndarray, where: str) -> np.ndarray:
    """uint8 [n, height, width, channels], or float32 [n, size]."""
    if _is_image(array):
        first = array.shape[1] in _COLOURS and array.shape[3] not in _COLOURS
        return np.moveaxis(array, 1, 3) if first else array
    with np.errstate(over="ignore"):
        flat = array.reshape(len(array), -1).astype(np.float32)
    if not np.isfinite(flat).all():
        raise ValueError(f"{where}: expected numbers that float32 holds, got larger ones; scale them")
    return flat


def _is_per_record(known: Arrays, observed: Mapping[str, str], size: int, where: str) -> bool:
    """Whether `is_first` has one entry more than the actions, one for each observation.

    Each record then has what led to it, as in our own files, but for the first, which nothing led to.
    """
    if "is_first" not in known:
        return False
    lengths = {len(known[name]) for name in observed.values()}
    if lengths == {size + 1} and len(known["is_first"]) == size:
        got = f"{size} beside {size + 1} observations and {size} actions"
        raise ValueError(f"{where}: is_first: expected {size + 1}, one for each observation, got {got}")
    return lengths == {size + 1}


def _padded(array: np.ndarray, size: int) -> np.ndarray:
    """An array of `size` entries; zeros precede what is there."""
    return np.concatenate([np.zeros_like(array[: size - len(array)]), array]) if len(array) < size else array


def _flags(arrays: Arrays, field: str, lengths: set[int], where: str) -> np.ndarray:
    """[max(lengths)] bool: whether any of the field's arrays is true there; a shorter one lacks the first step."""
    flags = np.zeros(max(lengths), bool)
    for name in (name for name in NAMES[field] if name in arrays):
        array = arrays[name]
        if len(array) not in lengths or array.size != len(array):
            expected = " or ".join(map(str, sorted(lengths)))
            raise ValueError(
                f"{where}: {name}: expected {expected} numbers, one for each step, got {list(array.shape)}; "
                "cut it, or leave it out"
            )
        flags |= _padded(array.reshape(-1).astype(bool), len(flags))
    return flags


def _check_rewards(reward: np.ndarray, size: int, where: str) -> None:
    if len(reward) != size or reward.size != size:
        got = list(reward.shape)
        raise ValueError(f"{where}: expected one number for each of {size} actions, got {got}; sum or cut them")
    if np.abs(reward.astype(np.float64)).max() > np.finfo(np.float32).max:
        raise ValueError(f"{where}: expected numbers that float32 holds, got larger ones; scale them")


def _check_lengths(steps: Steps, observed: Mapping[str, str], where: str) -> None:
    size = len(steps.action)
    lengths = (size,) if steps.shifted else (size, size + 1)
    for name, x in steps.observation.items():
        if len(x) not in lengths:
            expected = " or ".join(map(str, lengths))
            raise ValueError(f"{where}: {observed[name]}: expected {expected} of them for {size} actions, got {len(x)}")
    for name, x in (steps.next_observation or {}).items():
        if name not in steps.observation or x.shape[1:] != steps.observation[name].shape[1:] or len(x) != size:
            advice = "give every observation a next one, or none"
            raise ValueError(
                f"{where}: next observation {name}: expected {size} like observations, got {list(x.shape)}; {advice}"
            )
