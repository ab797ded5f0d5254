"""Where a run comes from: configs through JSON and back, and what differs between two."""

import dataclasses
import json
import subprocess

import jax
import pytest

from latentplan import presets
from latentplan.driver import provenance
from latentplan.driver.provenance import PACKAGES, commit, describe, differences, from_dict
from latentplan.driver.schedule import RunConfig, Stage
from latentplan.planners import PLANNERS, CEMConfig

CASES = [(preset, obs) for preset in ("paper", "cpu", "debug") for obs in ("pixels", "state")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3
    weights: tuple[float, ...] = (1.0, 0.5)
    limit: int | None = None

    def __post_init__(self):
        if self.size < 1:
            raise ValueError(f"inner.size: expected at least 1, got {self.size}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outer:
    name: str = "a"
    inner: Inner = dataclasses.field(default_factory=Inner)
    maybe: Inner | None = None


def through_json(config):
    return json.loads(json.dumps(dataclasses.asdict(config)))


@pytest.mark.parametrize(("preset", "obs"), CASES)
def test_every_preset_survives_json(preset, obs):
    experiment = presets.make_preset(preset, "cartpole_swingup", obs)
    again = from_dict(presets.Experiment, through_json(experiment))
    assert again == experiment
    assert hash(again) == hash(experiment)  # tuples are tuples again
    assert differences(through_json(experiment), dataclasses.asdict(again)) == []


@pytest.mark.parametrize("planner", sorted(PLANNERS))
def test_every_planners_config_comes_back_as_its_own_kind(planner):
    experiment = presets.make_preset("cpu", "cartpole_swingup", "state", planner)
    assert type(experiment.agent_config.planner) is PLANNERS[planner].config
    assert from_dict(presets.Experiment, through_json(experiment)) == experiment


@pytest.mark.parametrize(
    "config",
    [Outer(), Outer(maybe=Inner(size=5, limit=2)), Outer(inner=Inner(weights=()))],
)
def test_nested_optional_and_tuple_fields_survive_json(config):
    again = from_dict(Outer, through_json(config))
    assert again == config and isinstance(again.inner.weights, tuple)


def test_a_tuple_of_configs_survives_json():
    run = RunConfig(stages=(Stage(update="model", every=250), Stage(update="policy", until=9)))
    assert from_dict(RunConfig, through_json(run)) == run


def test_unknown_fields_are_refused_by_name():
    values = through_json(Outer())
    values["inner"]["colour"] = "red"
    with pytest.raises(ValueError, match=r"Inner.*colour"):
        from_dict(Outer, values)


def test_missing_fields_are_refused_by_name():
    """A default of today need not be what an older version did."""
    values = through_json(Outer())
    del values["inner"]["limit"]
    with pytest.raises(ValueError, match=r"Inner.*limit"):
        from_dict(Outer, values)


def test_a_planner_with_the_fields_of_another_comes_back_as_its_own_kind(monkeypatch):
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Twin(CEMConfig):
        pass

    monkeypatch.setitem(PLANNERS, "twin", PLANNERS["cem"]._replace(config=Twin))
    experiment = presets.make_preset("cpu", "cartpole_swingup", "state", "twin")
    assert type(from_dict(presets.Experiment, through_json(experiment)).agent_config.planner) is Twin


def test_a_field_that_an_agents_config_lacks_is_named():
    values = through_json(presets.make_preset("cpu", "walker_walk", "state", agent="dreamer_v3"))
    del values["agent_config"]["actor_gradient"]
    with pytest.raises(ValueError, match=r"DreamerV3Config.*unknown \[\] and missing \['actor_gradient'\]"):
        from_dict(presets.Experiment, values)


def test_a_stored_config_is_validated_like_any_other():
    values = through_json(Outer())
    values["inner"]["size"] = 0
    with pytest.raises(ValueError, match=r"inner\.size"):
        from_dict(Outer, values)


def test_differences_name_nested_fields():
    old, new = Outer(), Outer(name="b", inner=Inner(size=4, weights=(1.0,)))
    assert differences(through_json(old), dataclasses.asdict(new)) == [
        "inner.size: 3 -> 4",
        "inner.weights: [1.0, 0.5] -> [1.0]",
        "name: 'a' -> 'b'",
    ]


def test_differences_in_a_preset_name_the_planners_field():
    old = presets.make_preset("debug", "walker_walk", "state")
    planner = dataclasses.replace(old.agent_config.planner, horizon=7)
    new = dataclasses.replace(old, agent_config=dataclasses.replace(old.agent_config, planner=planner))
    lines = differences(through_json(old), dataclasses.asdict(new))
    assert lines == ["agent_config.planner.horizon: 4 -> 7"]


def test_differences_can_leave_out_top_level_fields():
    assert differences({"a": 1, "b": {"a": 1}}, {"a": 2, "b": {"a": 2}}, ignore=("a",)) == ["b.a: 1 -> 2"]


def test_differences_show_fields_that_only_one_has():
    assert differences({"a": 1}, {"b": None}) == ["a: 1 -> (absent)", "b: (absent) -> None"]


def test_a_tuple_and_its_json_list_do_not_differ():
    assert differences({"a": [1, 2]}, {"a": (1, 2)}) == []


def test_describe_is_json_ready_and_complete():
    described = json.loads(json.dumps(describe(Outer(), ["run.py", "--env", "x"])))
    assert described["config"] == through_json(Outer())
    assert described["command"] == ["run.py", "--env", "x"]
    assert set(described["versions"]) == set(PACKAGES) and described["versions"]["jax"] == jax.__version__
    assert jax.devices()[0].device_kind in described["device"]
    assert described.keys() >= {"commit", "python", "platform"}


def git(folder, *args):
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(("git", *identity, *args), cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def installed_at(tmp_path, monkeypatch):
    """Pretends that the library lies in a folder of its own."""
    folder = tmp_path / "repository" / "site-packages"
    folder.mkdir(parents=True)
    file = folder / "provenance.py"
    file.write_text("# the library\n")
    monkeypatch.setattr(provenance, "__file__", str(file))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    return file


def test_the_commit_of_a_clean_and_of_a_changed_checkout(installed_at):
    git(installed_at.parent, "init", "-q")
    git(installed_at.parent, "add", ".")
    git(installed_at.parent, "commit", "-q", "-m", "first")
    head = git(installed_at.parent, "rev-parse", "HEAD").strip()
    assert commit() == head
    installed_at.write_text("# changed\n")
    assert commit() == head + "+changes"


def test_no_commit_outside_a_checkout(installed_at):
    assert commit() == "unknown"


def test_no_commit_where_the_library_is_installed_inside_somebody_elses_repository(installed_at):
    """A virtual environment mostly lies in the user's own checkout: its commit says nothing about the library."""
    root = installed_at.parents[1]
    git(root, "init", "-q")
    (root / ".gitignore").write_text("site-packages\n")
    git(root, "add", ".gitignore")
    git(root, "commit", "-q", "-m", "the user's own")
    assert commit() == "unknown"
