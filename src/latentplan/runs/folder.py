"""Reading and writing a run's config.json: config, environment spec and provenance."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

from latentplan.agents import AGENTS
from latentplan.config import Fields
from latentplan.driver.logging import write_json_atomic
from latentplan.driver.provenance import check_version, describe, differences, other_version
from latentplan.presets import Experiment
from latentplan.runs import earlier
from latentplan.types import EnvSpec

FILE = "config.json"
Segment = dict[str, Any]
"""One part of a run, from a start of the program to its end: command, commit, device, processor, versions, ..."""


class Description(NamedTuple):
    """The content of config.json, in this version's layout.

    Attributes:
        config: the experiment's fields, for `provenance.from_dict`.
        spec: of the environment, for `EnvSpec.from_fields`; None in folders of 0.1.0, which do not hold it.
        segments: commit, versions, hardware and command of each segment of the run; several if it was resumed.
        earlier: the version whose layout the folder has, where it is an earlier one; else "".
    """

    config: Fields
    spec: Fields | None
    segments: list[Segment]
    earlier: str = ""


def read_description(logdir: Path) -> Description:
    """Reads config.json, of this version or of an earlier one.

    Args:
        logdir: of the run.

    Returns:
        Description.

    Raises:
        ValueError: the folder holds no run, or its config cannot be read.
    """
    file = logdir / FILE
    if not file.is_file():
        raise ValueError(f"logdir: expected the folder of a run, with a {FILE}, got {logdir}")
    try:
        held = json.loads(file.read_text(encoding="utf-8"))
        if earlier.is_0_1_0(held):
            config, spec, segments, version = earlier.config(held["config"]), None, held["sittings"], "0.1.0"
        else:
            config, spec, segments, version = held["config"], held["spec"], held["segments"], ""
        found = Description(_completed(config), spec, segments, version)
        _check_kinds(found)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:  # of any JSON, or of none
        raise ValueError(f"{file}: expected the config of a run, got something unreadable ({error!r})") from error
    return found


_FACTS = ("commit", "device", "processor", "platform", "python")


def _check_kinds(found: Description) -> None:
    """Raises if what is read without the config being made, as for a report, is missing or of another kind."""
    config, segments = found.config, found.segments
    lists = [segments, config["imports"], *(segment["command"] for segment in segments)]
    texts = [config["env"], config["agent"], config["preset"], config["environment"]["obs"], *config["imports"]]
    for segment in segments:
        texts += [*segment["command"], segment["versions"]["latentplan"], *(segment[name] for name in _FACTS)]
    if not segments or not all(isinstance(x, list) for x in lists) or not all(isinstance(x, str) for x in texts):
        raise TypeError("a value of another kind")


def _completed(config: Fields) -> Fields:
    """A config with the settings that the version which wrote it did not have yet, at their defaults."""
    defaults = dataclasses.asdict(Experiment())
    del defaults["agent_config"]
    agent = AGENTS.get(config["agent"])
    if agent is not None:
        defaults["agent_config"] = dataclasses.asdict(agent.config())
        del defaults["agent_config"]["planner"]  # one of several classes
    return _filled(json.loads(json.dumps(defaults)), config)


def _filled(defaults: Fields, values: Fields) -> Fields:
    """The values, and the defaults of those that are missing, at any depth."""
    nested = {
        name: _filled(default, values[name])
        for name, default in defaults.items()
        if isinstance(default, dict) and isinstance(values.get(name), dict)
    }
    return defaults | values | nested


def record_segment(logdir: Path, experiment: Experiment, spec: EnvSpec, command: list[str]) -> None:
    """Writes config.json, or appends a segment to it if the run is resumed.

    Args:
        logdir: of the run; it exists.
        experiment: the run's config.
        spec: of its environment.
        command: the command line, as typed.

    Raises:
        ValueError: the folder holds a run of another config, environment or version, or an unreadable one.
    """
    now = describe(experiment, command)
    config, segment = now.pop("config"), now
    segments: list[Segment] = []
    if (logdir / FILE).exists():
        before = read_description(logdir)
        if before.earlier:  # by its layout, whatever version is said to be installed
            raise other_version(before.earlier, logdir)
        check_version(before.segments[-1]["versions"]["latentplan"], logdir)
        _check_same(logdir, before, config, spec.to_fields())
        segments = before.segments
    held = {"config": config, "spec": spec.to_fields(), "segments": [*segments, segment]}
    write_json_atomic(logdir / FILE, held)


def _check_same(logdir: Path, before: Description, config: Fields, spec: Fields) -> None:
    """Raises if a run was started with another config or environment."""
    changed = differences(before.config, config, ignore=("logdir", "imports"))
    changed = [line for line in changed if not line.startswith(("run.env_steps:", "run.data_updates:"))]
    chosen = [line for line in changed if line.startswith(("env:", "agent:"))]
    changed = chosen or changed  # the rest follows from these
    changed = changed or [f"spec.{line}" for line in differences(before.spec or {}, spec)]
    if changed:
        lines = "\n  ".join(changed)
        raise ValueError(
            f"logdir: {logdir} holds a run with another config:\n  {lines}\n"
            "Use the same flags to resume it, or another logdir"
        )
