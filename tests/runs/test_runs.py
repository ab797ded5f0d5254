"""Folders of runs, read back: of this version and of 0.1.0, moved, read-only, and half-written."""

import builtins
import dataclasses
import functools
import importlib
import io
import json
import os
import shutil
import sys
import zipfile
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import latentplan as lp
from latentplan.agents import AGENTS
from latentplan.cli.evaluate import check_spec
from latentplan.driver.checkpoint import Checkpoints
from latentplan.driver.logging import read_metrics
from latentplan.driver.rng import stream_key
from latentplan.driver.schedule import Progress
from latentplan.extensions import NotImported
from latentplan.presets import make_preset
from latentplan.runs.folder import record_segment
from latentplan.runs.start import start_from
from latentplan.runs.summary import summarise
from latentplan.types import TrainState

KEPT = zipfile.ZipFile(Path(__file__).parent / "0.1.0.zip")
"""Runs of 0.1.0, state vectors of cartpole_balance, 4 episodes and 51 updates; their `videos` and events left out."""


@pytest.fixture(scope="module")
def of_0_1_0(tmp_path_factory):
    """The folder of runs of 0.1.0, in another place than they were made in."""
    folder = tmp_path_factory.mktemp("moved")
    KEPT.extractall(folder)
    return folder


@pytest.fixture
def untouchable(monkeypatch):
    """Everything that would write or make a file raises."""

    def refuse(*arguments, **options):
        raise AssertionError(f"writes: {arguments[:2]}")

    def reading(real):
        def opened(file, mode="r", *rest, **options):
            return refuse(file, mode) if set(mode) & set("wax+") else real(file, mode, *rest, **options)

        return opened

    monkeypatch.setattr(builtins, "open", reading(builtins.open))
    monkeypatch.setattr(io, "open", reading(io.open))
    for name in ("mkdir", "makedirs", "rename", "replace", "unlink", "remove", "rmdir", "truncate"):
        monkeypatch.setattr(os, name, refuse)


def listing(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("name", sorted(AGENTS.keys() & {Path(file).parts[0] for file in KEPT.namelist()}))
def test_a_run_of_0_1_0_is_read_whole(name, of_0_1_0):
    before = listing(of_0_1_0 / name)
    run = lp.load_run(of_0_1_0 / name)
    assert run.config.agent == name and run.config.run.seed == 3
    assert (run.spec.action_size, run.spec.action_repeat, run.spec.max_decisions) == (1, 20, 50)
    assert not run.spec.discrete
    (progress,) = run.checkpoints.values()
    assert (progress.env_steps, progress.updates) == (4000, 51)
    params = run.params()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(params))
    assert jax.tree.structure(params) == jax.tree.structure(jax.eval_shape(run.agent.init, jax.random.key(0)).params)
    assert [len(episode.reward) for episode in run.episodes()] == [51] * 4
    data = summarise(run)
    assert data["segments"] == 1 and data["commit"] == run.segments[0]["commit"]
    assert data["command"].startswith("python experiments/run.py --preset debug --env cartpole_balance")
    assert listing(of_0_1_0 / name) == before


def test_a_loaded_run_plans_and_acts_with_what_it_learned(of_0_1_0):
    run = lp.load_run(of_0_1_0 / "planet")
    params = run.params()
    planned = run.planner(params, run.model.initial(()), jax.random.key(0))
    horizon = run.config.agent_config.planner.horizon
    assert planned.plan.shape == (horizon, 1) and np.isfinite(planned.plan).all()
    shooting = run.with_planner(lp.ShootingConfig(horizon=2, num_candidates=8))
    assert shooting.planner(params, run.model.initial(()), jax.random.key(0)).plan.shape == (2, 1)


def test_metrics_are_tables_of_arrays(of_0_1_0):
    run = lp.load_run(of_0_1_0 / "planet")
    tables, rows = run.metrics, read_metrics(of_0_1_0 / "planet" / "metrics.jsonl")
    assert tables.keys() == {"collect", "learn", "evaluation", "held_out"} and tables["held_out"] == {}
    returns = [row["collect/return"] for row in rows if "collect/return" in row]
    np.testing.assert_array_equal(tables["collect"]["return"], returns)
    assert tables["collect"]["env_steps"].tolist() == [1000, 2000, 3000, 4000]
    assert tables["learn"]["loss"].dtype == np.float64 and len(tables["learn"]["loss"]) == 3
    assert tables["evaluation"]["returns"].shape == (2, 1)
    assert tables["evaluation"]["prediction/kl"].ndim == 2 and (tables["evaluation"]["minutes"] > 0).all()


def test_a_run_that_is_going_on_is_read_as_far_as_it_is(of_0_1_0, tmp_path):
    """Its last line is torn, an episode is half-written, and nothing is saved yet."""
    logdir = tmp_path / "young"
    shutil.copytree(of_0_1_0 / "planet", logdir)
    shutil.rmtree(logdir / "checkpoints")
    with (logdir / "metrics.jsonl").open("a") as file:
        file.write('{"env_steps": 99')
    (logdir / "episodes" / "000003.npz").write_bytes(b"half")
    (logdir / "episodes" / ".tmp-000004.npz").write_bytes(b"")
    run = lp.load_run(logdir)
    assert len(run.metrics["evaluation"]["return"]) == 2 and run.checkpoints == {}
    with pytest.warns(UserWarning, match="000003.npz.*skipped"):
        assert len(list(run.episodes())) == 3
    with pytest.raises(ValueError, match="checkpoint: expected one that can be read in .*young/checkpoints, got none"):
        run.params()
    (logdir / "metrics.jsonl").unlink()
    assert lp.load_run(logdir).metrics["learn"] == {}


def test_nothing_is_written_and_no_environment_is_started(of_0_1_0, untouchable, monkeypatch):
    monkeypatch.setattr("latentplan.envs.workers.Workers.__init__", lambda *args: pytest.fail("an environment"))
    run = lp.load_run(of_0_1_0 / "tdmpc2")
    with pytest.raises(AssertionError, match="writes"):
        (of_0_1_0 / "new").write_text("")
    assert run.spec and run.metrics and list(run.episodes()) and run.params()
    assert run.planner and run.model


@pytest.fixture(scope="module")
def of_now(tmp_path_factory, of_0_1_0):
    """A run of this version with two checkpoints; its agent's parameters are as they are made."""
    old = lp.load_run(of_0_1_0 / "planet")
    logdir = tmp_path_factory.mktemp("runs") / "now"
    logdir.mkdir()
    experiment = dataclasses.replace(old.config, logdir=str(logdir))
    record_segment(logdir, experiment, old.spec, ["latentplan", "train", "--seed", "3"])
    checkpoints = Checkpoints(logdir / "checkpoints")
    for step in (7, 9):
        tree = {"train_state": old.agent.init(jax.random.key(step)), "sums": {}}
        checkpoints.save(step, tree, {"progress": Progress(updates=step)._asdict()})
    return logdir, experiment, old.spec


def test_parameters_of_any_kept_checkpoint(of_now):
    run = lp.load_run(str(of_now[0]))
    assert {step: progress.updates for step, progress in run.checkpoints.items()} == {7: 7, 9: 9}
    for step in (7, 9, None):
        expected = run.agent.init(jax.random.key(step or 9)).params
        jax.tree.map(np.testing.assert_array_equal, run.params(step), expected)
    kept = r"got 7 \(0 env_steps\), 9 \(0 env_steps\)"
    with pytest.raises(ValueError, match=f"checkpoint: expected number 8 that can be read in .*, {kept}"):
        run.params(8)


@pytest.mark.parametrize("name", ["planet", "dreamer_v3", "tdmpc2"])
def test_a_new_run_starts_from_another_runs_parameters_or_only_from_its_world_model(name, of_0_1_0):
    run = lp.load_run(of_0_1_0 / name)
    fresh, other = jax.jit(run.agent.init)(stream_key(5, "init")).params, run.params()
    start = start_from(run, run.agent, 5)
    chex.assert_trees_all_equal(start.params, other)
    assert f"from {run.logdir} at " in start.message and start.message.endswith("afresh: optimisers, replay")
    start = start_from(run, run.agent, 5, parts="world_model")
    learned = {"planet": set(), "dreamer_v3": {"actor", "critic"}, "tdmpc2": {"q", "policy"}}[name]
    assert start.params.keys() - learned == jax.eval_shape(run.model.init, jax.random.key(0)).keys()
    for part, params in start.params.items():
        chex.assert_trees_all_equal(params, fresh[part] if part in learned else other[part])
        assert (part in start.message.split("afresh: ")[1].split(", ")) == (part in learned)


def test_targets_start_from_the_parameters_that_were_taken(of_0_1_0):
    run = lp.load_run(of_0_1_0 / "tdmpc2")
    params = run.params()
    chex.assert_trees_all_equal(run.agent.init(jax.random.key(0), params).opt_state.target_q, params["q"])


def test_parameters_of_other_shapes_or_of_another_agent_are_refused(of_0_1_0):
    run = lp.load_run(of_0_1_0 / "planet")
    model = dataclasses.replace(run.config.agent_config.model, deter=run.config.agent_config.model.deter + 1)
    wider = lp.make_agent(dataclasses.replace(run.config.agent_config, model=model), run.spec)
    with pytest.raises(ValueError, match=r"from_run: expected \w+\['.*float32\[.*, got float32\[.*model settings"):
        start_from(run, wider, 0)
    other = lp.load_run(of_0_1_0 / "tdmpc2")
    foreign = run.agent._replace(init=lambda key, params=None: TrainState({"other": jnp.zeros(3)}, (), 0))
    with pytest.raises(ValueError, match="from_run: expected a run with some of the parts other, got"):
        start_from(other, foreign, 0)


def test_config_and_spec_come_back_equal(of_now):
    logdir, experiment, spec = of_now
    run = lp.load_run(logdir)
    assert run.config == experiment and run.spec == spec
    assert [segment["command"] for segment in run.segments] == [["latentplan", "train", "--seed", "3"]]


@pytest.mark.parametrize("agent", sorted(AGENTS))
def test_the_config_of_every_agent_comes_back_equal(agent, of_now, tmp_path):
    experiment = make_preset("cpu", "cartpole_swingup", "state", agent=agent)
    record_segment(tmp_path, experiment, of_now[2], ["latentplan", "train"])
    assert lp.load_run(tmp_path).config == experiment


def test_going_on_adds_a_segment_and_refuses_what_differs(of_now, tmp_path):
    logdir, experiment, spec = of_now
    moved = tmp_path / "moved"
    shutil.copytree(logdir, moved)
    record_segment(moved, experiment, spec, ["latentplan", "train"])
    assert len(lp.load_run(moved).segments) == 2
    longer = dataclasses.replace(experiment, run=dataclasses.replace(experiment.run, env_steps=10**6))
    record_segment(moved, longer, spec, ["latentplan", "train"])
    other = dataclasses.replace(experiment, run=dataclasses.replace(experiment.run, seed=4))
    with pytest.raises(ValueError, match="another config:\n  run.seed: 3 -> 4\n"):
        record_segment(moved, other, spec, [])
    with pytest.raises(ValueError, match="another config:\n  spec.max_decisions: 50 -> 51\n"):
        record_segment(moved, longer, spec._replace(max_decisions=51), [])


def rewritten(logdir, folder, **changes):
    """A copy of a run whose config has other values."""
    shutil.copytree(logdir, folder)
    held = json.loads((folder / "config.json").read_text())
    held["config"] = {name: value for name, value in (held["config"] | changes).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(held))
    return folder


def test_extensions_are_the_callers_to_import_and_do_not_stand_in_the_way(of_now, tmp_path, monkeypatch):
    logdir, experiment, spec = of_now
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "my_extension.py").write_text("")
    run = lp.load_run(rewritten(logdir, tmp_path / "extended", imports=["my_extension"]))
    with pytest.raises(NotImported, match="got none of my_extension; .* import them"):
        _ = run.config
    assert "my_extension" not in sys.modules and list(run.episodes()) == [] and run.rows() == []
    importlib.import_module("my_extension")
    assert run.config.imports == ("my_extension",) and run.params()
    before = rewritten(logdir, tmp_path / "before", imports=None)
    assert lp.load_run(before).config.imports == ()
    record_segment(before, dataclasses.replace(experiment, imports=("my_extension",)), spec, ["latentplan", "train"])
    assert lp.load_run(before).config.imports == ("my_extension",)


def test_settings_that_the_first_runs_of_this_version_did_not_have_are_filled_in(of_now, tmp_path):
    logdir, experiment, spec = of_now
    parts = {name: dataclasses.asdict(getattr(experiment, name)) for name in ("environment", "run", "agent_config")}
    del parts["agent_config"]["model"]["transition"], parts["agent_config"]["loss"]["kl"]
    for setting in ("env_kwargs", "max_decisions"):
        del parts["environment"][setting]
    del parts["run"]["data_updates"]
    before = rewritten(logdir, tmp_path / "before", data=None, from_run=None, **parts)
    assert lp.load_run(before).config == lp.load_run(logdir).config
    record_segment(before, experiment, spec, ["latentplan", "train"])


@pytest.mark.parametrize("field", ["agent", "planner"])
def test_what_is_not_registered_is_named(field, of_now, tmp_path):
    run = lp.load_run(rewritten(of_now[0], tmp_path / "run", **{field: "mine"}))
    with pytest.raises(
        ValueError, match=rf"^Experiment\.{field}: expected one of .*, got 'mine'; import the module that registers"
    ):
        _ = run.config


JUNK = [None, True, -1, 0.5, "x", [], ["x"], {}, {"x": 1}]


@pytest.mark.parametrize(
    "part", ["config", "spec", "segments", "segments.0", "spec.observations", "spec.max_decisions"]
)
def test_a_strangers_config_is_read_or_refused_in_a_line(part, of_now, tmp_path):
    whole = json.loads((of_now[0] / "config.json").read_text())
    *path, last = (int(name) if name.isdigit() else name for name in part.split("."))
    for value in JUNK:
        held = json.loads(json.dumps(whole))
        functools.reduce(lambda inner, name: inner[name], path, held)[last] = value
        (tmp_path / "config.json").write_text(json.dumps(held))
        try:
            run = lp.load_run(tmp_path)
            assert run.config and run.spec
        except ValueError as refused:
            assert "expected" in str(refused) and "\n" not in str(refused)
        else:
            assert (part, value) in [("spec", None), ("spec.max_decisions", None), ("spec.observations", {})]


@pytest.mark.parametrize("version", ["0.1.0", "0.0.9"])
def test_a_run_of_another_version_is_not_resumed(version, of_0_1_0, of_now, tmp_path, monkeypatch):
    monkeypatch.setattr("latentplan.driver.provenance.package_version", lambda: "0.2.0")
    logdir, experiment, spec = of_now
    if version == "0.1.0":
        logdir = of_0_1_0 / "planet"
    else:
        logdir = shutil.copytree(logdir, tmp_path / "old")
        held = json.loads((logdir / "config.json").read_text())
        held["segments"][0]["versions"]["latentplan"] = version
        (logdir / "config.json").write_text(json.dumps(held))
    before = (logdir / "config.json").read_text()
    with pytest.raises(ValueError, match=f"expected a run of latentplan 0.2.0, got one of {version} in") as error:
        record_segment(logdir, experiment, spec, [])
    assert "\n" not in str(error.value) and (logdir / "config.json").read_text() == before


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(ValueError, match="logdir: expected the folder of a run, with a config.json, got .*nothing"):
        lp.load_run(tmp_path / "nothing")
    for text in ("{", "[" * 100_000, "\xff"):
        (tmp_path / "config.json").write_text(text, encoding="latin-1")
        with pytest.raises(ValueError, match="config.json: expected the config of a run, got something unreadable"):
            lp.load_run(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="config.json: expected the config of a run, got something unreadable"):
        lp.load_run(tmp_path)


def test_an_environment_that_has_changed_is_not_evaluated_in(of_now):
    run = lp.load_run(of_now[0])
    check_spec(run, run.spec)
    check_spec(run, run.spec._replace(max_decisions=None))  # which no network depends on
    other = run.spec._replace(actions={"action": lp.ArraySpec((2,), "float32")})
    with pytest.raises(ValueError, match="env: expected cartpole_balance with EnvSpec.*, got EnvSpec"):
        check_spec(run, other)
