"""Reading recorded data, whatever form it has, into episodes and a spec."""

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from latentplan.data import minari
from latentplan.data.arrays import Arrays, cut_episodes, is_field, is_one_hot, is_steps, read_steps, readable
from latentplan.replay.episodes import read_episode
from latentplan.types import ArraySpec, Batch, EnvSpec

_HDF5 = (".h5", ".hdf5")
_SUFFIXES = (".npz", *_HDF5)
_ACCEPTED = ".npz, .h5 or .hdf5"
_ADVICE = "give each episode's arrays by name to numpy.savez"
_NUMPY = "arrays of numbers, as numpy.savez writes them"
_SLACK = 1e-4  # by which rounding may carry an action out of [-1, 1]

_Found = tuple[str, Batch, tuple[str, ...]]  # where it comes from, an episode, and notes as in `Steps`


class Recorded(NamedTuple):
    """Recorded episodes and the spaces of their observations and actions.

    Attributes:
        spec: of the environment in which they were recorded, as far as the data tells.
        episodes: NumPy arrays with a leading axis of n + 1 records each.
    """

    spec: EnvSpec
    episodes: list[Batch]

    @property
    def records(self) -> int:
        """The number of records of all episodes."""
        return sum(len(episode.reward) for episode in self.episodes)


class RawData(NamedTuple):
    """Episodes with the actions as they were recorded, before they are made to fit an environment.

    Attributes:
        path: where they come from.
        episodes: (file and place in it, episode).
        notes: what a user might not expect of how they are used: a sentence each.
    """

    path: str
    episodes: list[tuple[str, Batch]]
    notes: tuple[str, ...] = ()


def read_data(path: str, spec: EnvSpec | None = None) -> Recorded:
    """Reads recorded episodes, and fits them: `fit_data(read_raw(path), spec)`."""
    return fit_data(read_raw(path), spec)


def read_raw(path: str) -> RawData:
    """Reads recorded episodes.

    Args:
        path: the folder of a run or of its episodes; a .npz or HDF5 file, a folder of them, or a pattern such as
            "data/*.npz"; the folder or the name of a Minari data set ("mine/walker-v0").

    Returns:
        RawData.

    Raises:
        ValueError: there is no data, or a field is missing. The message names the file.
        ModuleNotFoundError: HDF5 files need h5py, Minari data sets minari; both come with the extra `data`.
    """
    found = list(_episodes(path))
    if not found:
        raise ValueError(f"data: expected at least one episode with a decision in {path}, got none; check the path")
    notes = dict.fromkeys(note for *_, notes in found for note in notes)
    return RawData(path, [(where, episode) for where, episode, _ in found], tuple(notes))


def fit_data(data: RawData, spec: EnvSpec | None = None) -> Recorded:
    """Recorded episodes as those of an environment.

    Args:
        data: from `read_raw`.
        spec: of the environment; None: what the data tells.

    Returns:
        Recorded.

    Raises:
        ValueError: episodes do not fit together or the spec. The message names the file.
    """
    named = data.episodes
    choices = _num_choices([episode.action[1:] for _, episode in named], spec)
    episodes = [(where, _with_actions(where, episode, choices)) for where, episode in named]
    found = spec or _spec(episodes[0][1], choices)
    for where, episode in episodes:
        _check(where, episode, found)
    return Recorded(found, [episode for _, episode in episodes])


class Split(NamedTuple):
    """Episodes to learn from, and others that are only predicted.

    Attributes:
        training: those to learn from.
        held_out: the others; may be empty.
    """

    training: list[Batch]
    held_out: list[Batch]


def split_held_out(episodes: Sequence[Batch], share: float) -> Split:
    """Splits episodes into those to learn from and those held out: evenly spread, at least one if there are two.

    Args:
        episodes: all of them.
        share: of the episodes that are held out, in [0, 1).

    Returns:
        Split.
    """
    number = max(1, round(share * len(episodes))) if share and len(episodes) > 1 else 0
    places = {int(place) for place in np.linspace(0, len(episodes), number, endpoint=False)}
    kept = [episode for i, episode in enumerate(episodes) if i not in places]
    return Split(kept, [episodes[i] for i in sorted(places)])


def _episodes(path: str) -> Iterator[_Found]:
    """Episodes with the actions as they were recorded."""
    place = Path(path).expanduser()
    folder = place / "episodes" if (place / "config.json").is_file() else place
    if minari.is_dataset(place):
        yield from minari.read(place)
    elif place.is_dir():
        files = sorted(file for file in folder.glob("*") if file.suffix in _SUFFIXES)
        if not files:
            held = ", ".join(sorted({file.suffix or file.name for file in folder.glob("*")})) or "nothing"
            raise ValueError(f"data: expected {_ACCEPTED} files in {folder}, got {held}; {_ADVICE}")
        for file in files:
            yield from _file(file)
    elif place.is_file():
        yield from _file(place)
    elif files := sorted(map(Path, glob.glob(str(place)))):
        for file in files:
            yield from _file(file)
    else:
        yield from minari.read(path)


def _file(file: Path) -> Iterator[_Found]:
    if file.suffix not in _SUFFIXES:
        raise ValueError(f"{file}: expected a {_ACCEPTED} file, got {file.suffix or 'another'}; {_ADVICE}")
    if file.suffix not in _HDF5 and _is_ours(file):
        yield str(file), read_episode(file), ()
        return
    for where, arrays in _hdf5(file) if file.suffix in _HDF5 else _numpy(file):
        steps = read_steps(arrays, where)
        for number, episode in enumerate(cut_episodes(steps)):
            yield f"{where}, episode {number}", episode, steps.notes


def _numpy(file: Path) -> Iterator[tuple[str, Arrays]]:
    """The file and its arrays, which are read while it is open."""
    with readable(file, _NUMPY), file.open("rb") as opened, np.load(opened, allow_pickle=False) as held:
        yield str(file), held


def _is_ours(file: Path) -> bool:
    """Whether a file holds an episode that a run wrote."""
    with readable(file, _NUMPY), file.open("rb") as opened, np.load(opened, allow_pickle=False) as held:
        names = set(held.files)
    observed = any(name == "observation" or name.startswith("observation/") for name in names)
    return observed and {"is_first", "is_last", "is_terminal", "action", "reward"} <= names


def _hdf5(file: Path) -> Iterator[tuple[str, Arrays]]:
    """The groups of a file that hold steps, in their natural order; often the file itself is the only one."""
    import h5py

    def visit(group: h5py.Group) -> Iterator[tuple[str, Arrays]]:
        if is_steps(group):
            arrays: dict[str, h5py.Dataset] = {}
            group.visititems(lambda name, x: arrays.update({name: x}) if isinstance(x, h5py.Dataset) else None)
            for name in filter(is_field, set(group) - set(arrays)):  # links, which visititems leaves out
                linked = group.get(name)
                if linked is None:
                    raise LookupError(f"a link {name} that leads nowhere")
                if isinstance(linked, h5py.Dataset):
                    arrays[name] = linked
            yield f"{file}{group.name.rstrip('/')}", arrays
            return
        for name in sorted(group, key=_natural):
            if isinstance(group[name], h5py.Group):
                yield from visit(group[name])

    found = False
    with readable(file, "an intact HDF5 file"), h5py.File(file, "r") as held:
        names = list(held)
        for item in visit(held):
            found = True
            yield item
    if not found:
        raise ValueError(f"{file}: expected an array action or actions, got {', '.join(names)}; rename one of them")


def _natural(name: str) -> tuple[str, int]:
    """Orders demo_2 before demo_10."""
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or -1)


def _num_choices(actions: Sequence[np.ndarray], spec: EnvSpec | None) -> int:
    """The number of choices of discrete actions, recorded as whole numbers or one-hot; 0 for continuous ones."""
    if spec is not None:
        return spec.action_size if spec.discrete else 0
    if all(taken.ndim == 2 and taken.shape[1] > 1 and is_one_hot(taken) for taken in actions):
        return actions[0].shape[1]
    return max((int(taken.max()) + 1 for taken in actions if taken.dtype.kind in "iu"), default=0)


def _with_actions(where: str, episode: Batch, num_choices: int) -> Batch:
    """The episode with float32 actions [n + 1, A]: choices one-hot, others in [-1, 1]."""
    action = episode.action
    if num_choices and action.ndim == 2 and is_one_hot(action[1:]):
        return episode._replace(action=action.astype(np.float32))
    if num_choices:
        whole = action.dtype.kind in "iu" and action.size == len(action)
        if not whole or action.min() < 0 or action.max() >= num_choices:
            got = f"{action.min()} to {action.max()}" if whole else f"{action.dtype} {list(action.shape[1:])}"
            raise ValueError(
                f"{where}: action: expected a whole number from 0 to {num_choices - 1} per step, or one-hot, got {got}"
            )
        one_hot = np.eye(num_choices, dtype=np.float32)[action.reshape(-1)]
        one_hot[0] = 0.0
        return episode._replace(action=one_hot)
    flat = action.reshape(len(action), -1).astype(np.float32)
    if np.abs(flat).max(initial=0) > 1 + _SLACK:
        raise ValueError(
            f"{where}: action: expected numbers in [-1, 1], got {flat.min():.4g} to {flat.max():.4g}; "
            "scale them by the bounds of the environment's actions"
        )
    return episode._replace(action=np.clip(flat, -1, 1))


def _spec(episode: Batch, num_choices: int) -> EnvSpec:
    observations = {name: ArraySpec(x.shape[1:], x.dtype.name) for name, x in episode.observation.items()}
    actions = {"action": ArraySpec(episode.action.shape[1:], "float32", num_choices)}
    return EnvSpec(observations, actions)


def _check(where: str, episode: Batch, spec: EnvSpec) -> None:
    expected = {name: (tuple(space.shape), space.dtype) for name, space in spec.observations.items()}
    got = {name: (x.shape[1:], x.dtype.name) for name, x in episode.observation.items()}
    if got != expected:
        raise ValueError(f"{where}: observation: expected {_shown(expected)}, got {_shown(got)}")
    if episode.action.shape[1:] != (spec.action_size,):
        raise ValueError(
            f"{where}: action: expected {spec.action_size} numbers per step, got {list(episode.action.shape[1:])}"
        )


def _shown(spaces: dict[str, tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{name} {dtype} {list(shape)}" for name, (shape, dtype) in spaces.items())
