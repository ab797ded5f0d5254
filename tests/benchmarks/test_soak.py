"""Accidents come when they are planned, and what they change is noticed."""

import json
import random
import shutil
import sys

import numpy as np
import pytest
import soak
from accidents import Accident, Training, UnexpectedEnd, environment_processes, plan, small_disk
from compare_runs import Comparison, compare

from latentplan.driver.checkpoint import Checkpoints
from latentplan.replay.episodes import episode_path, write_episode
from latentplan.types import Batch


def episode(reward):
    flags = np.zeros(3, bool)
    first = flags.copy()
    first[0] = True
    return Batch({"state": np.ones((3, 2), np.float32)}, np.zeros((3, 1), np.float32), reward, first, flags, flags)


@pytest.fixture
def finished(tmp_path):
    """A finished run of three rows, two episodes and a checkpoint."""
    logdir = tmp_path / "run"
    for index in range(2):
        write_episode(logdir / "episodes", index, episode(np.full(3, index + 0.5, np.float32)))
    rows = [{"env_steps": i, "learn/loss": None if i == 1 else 0.1 * i, "time/total": 1.0 * i} for i in range(3)]
    (logdir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Checkpoints(logdir / "checkpoints").save(7, {"x": np.ones(3)}, {"progress": {"seconds": 1.0}})
    return logdir


def changed_row(logdir, **values):
    first, *rest = (logdir / "metrics.jsonl").read_text().splitlines()
    (logdir / "metrics.jsonl").write_text("\n".join([json.dumps(json.loads(first) | values), *rest]) + "\n")


CHANGES = {
    "time": (lambda run: changed_row(run, **{"time/total": 9.0, "memory/resident": 2.0}), [], []),
    "a metric in its last digit": (
        lambda run: changed_row(run, **{"learn/loss": float(np.nextafter(0.0, 1.0))}),
        [],
        ["row 1"],
    ),
    "a metric more": (lambda run: changed_row(run, new=0.0), [], ["row 1"]),
    "the last row": (
        lambda run: (run / "metrics.jsonl").write_text((run / "metrics.jsonl").read_text()[:-5]),
        ["row 3"],
        [],
    ),
    "an episode": (
        lambda run: write_episode(
            run / "episodes", 1, episode(np.nextafter(np.full(3, 1.5, np.float32), np.float32(2)))
        ),
        [],
        ["episode 000001"],
    ),
    "an episode's dtype": (
        lambda run: write_episode(run / "episodes", 1, episode(np.full(3, 1.5))),
        [],
        ["episode 000001"],
    ),
    "a lost episode": (lambda run: episode_path(run / "episodes", 0).unlink(), ["episode 000000"], []),
    "a damaged episode": (lambda run: episode_path(run / "episodes", 0).write_bytes(b"PK"), [], ["episode 000000"]),
    "one episode too many": (
        lambda run: write_episode(run / "episodes", 2, episode(np.ones(3, np.float32))),
        [],
        ["episode 000002"],
    ),
    "a parameter": (
        lambda run: Checkpoints(run / "checkpoints").save(7, {"x": np.array([1, 1, np.nextafter(1, 2)])}, {}),
        [],
        ["newest checkpoint"],
    ),
    "what is beside the parameters": (
        lambda run: Checkpoints(run / "checkpoints").save(7, {"x": np.ones(3)}, {"progress": {"seconds": 9.0}}),
        [],
        [],
    ),
    "all checkpoints": (lambda run: shutil.rmtree(run / "checkpoints"), ["newest checkpoint"], []),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_differs_and_what_is_lost_is_named(name, finished, tmp_path):
    change, lost, differing = CHANGES[name]
    other = tmp_path / "other"
    shutil.copytree(finished, other)
    change(other)
    found = compare(finished, other)
    assert (found.rows, found.episodes, found.lost, found.differing) == (3, 2, lost, differing)


PROGRAM = """
import os, pathlib, sys, time
logdir, rows = pathlib.Path(sys.argv[1]), int(sys.argv[2])
(logdir / "checkpoints").mkdir(parents=True, exist_ok=True)
print("compiled in 0.0 s", flush=True)
with (logdir / "metrics.jsonl").open("a+") as file:
    file.seek(0)
    for row in range(len(file.readlines()), rows):
        file.write("{}\\n")
        file.flush()
        unfinished = logdir / "checkpoints" / ".tmp-1"
        unfinished.mkdir(exist_ok=True)
        time.sleep(0.05)
        unfinished.rmdir()
        time.sleep(0.02)
"""


def training(tmp_path, program=PROGRAM, rows=20):
    command = [sys.executable, "-c", program, str(tmp_path / "run"), str(rows)]
    return Training(command, tmp_path / "run", tmp_path / "output.txt", startup=0.2, rng=random.Random(0))


def test_a_process_is_killed_at_its_moments_and_started_again(tmp_path):
    run = training(tmp_path)
    run.suffer(Accident("kill", 5, "save", 0.0))
    assert run.befell == {"kill": 1, "saving": 1} and soak.rows_of(tmp_path / "run") in (5, 6)
    run.suffer(Accident("suspend", 8, "work", 0.0))
    run.suffer(Accident("kill", 0, "start", 0.0))
    assert run.starts == 2 and run.befell["suspend"] == 1
    run.finish()
    assert run.starts == 3 and soak.rows_of(tmp_path / "run") == 20
    run.suffer(Accident("kill", 0, "work", 0.0))  # complete: nothing is left to kill
    assert run.starts == 3 and run.befell["kill"] == 2


def test_a_process_is_watched_with_its_environments(tmp_path):
    spawn = (
        "import multiprocessing as m, time; m.get_context('spawn').Process(target=time.sleep, args=(60,), daemon=True)"
    )
    command = [sys.executable, "-c", f"{spawn}.start()\n{PROGRAM}", str(tmp_path / "run"), "20"]
    seen = []
    assert soak.undisturbed(command, tmp_path / "run", lambda pid: seen.append(len(environment_processes(pid)))) > 0
    assert max(seen) == 1 and soak.rows_of(tmp_path / "run") == 20
    with pytest.raises(UnexpectedEnd, match="expected status 0, got 1"):
        soak.undisturbed([sys.executable, "-c", "raise SystemExit(1)"], tmp_path / "run")


def test_an_end_that_no_accident_explains_is_an_error(tmp_path):
    with pytest.raises(UnexpectedEnd, match=r"(?s)ended with status 1 and said.*ZeroDivisionError"):
        training(tmp_path, "1 / 0").finish()


def test_a_disk_is_filled_until_the_run_fails_and_emptied_again(tmp_path):
    full = PROGRAM.replace("file.write", "pathlib.Path(logdir, str(row)).write_bytes(bytes(9999)); file.write")
    says = f"try:\n    exec({full!r})\nexcept OSError as error:\n    print('full disk'); sys.exit(1)"
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", "1m") as problem:
        if problem:
            pytest.skip(problem)
        run = training(tmp_path / "disk", f"import sys\n{says}", rows=30)
        run.suffer(Accident("disk", 3, "work", 0.0))
        assert run.befell == {"disk": 1} and soak.rows_of(tmp_path / "disk" / "run") < 30
        run.finish()
        assert run.starts == 2 and soak.rows_of(tmp_path / "disk" / "run") == 30
    assert not list((tmp_path / "disk").iterdir())


def test_accidents_are_planned_by_a_seed_at_all_kinds_of_moments():
    accidents = plan({"kill": 8, "disk": 2}, 100, random.Random(1))
    assert accidents == plan({"kill": 8, "disk": 2}, 100, random.Random(1)) != plan({"kill": 8}, 100, random.Random(1))
    assert [accident.row for accident in accidents] == sorted(accident.row for accident in accidents)
    assert all(0 <= accident.row < 90 and 0 <= accident.delay < 1 for accident in accidents)
    kills = [accident.during for accident in accidents if accident.kind == "kill"]
    assert {during: kills.count(during) for during in kills} == {"start": 2, "save": 2, "work": 4}


def test_growth_compares_the_episodes_after_the_first_fifty_with_the_last_fifty():
    samples = [(i, 2.0**20 * (1.0 if i <= 50 else 100.0 if i <= 150 else 101.0)) for i in range(1, 201)]
    assert soak.growth("process", samples) == {"process, MiB": "100.0 to 101.0", "process, growth": "+1.00%"}


@pytest.mark.parametrize(
    ("row", "fails"),
    [({"lost": 0, "a, growth": "+0.99%", "b, growth": "-3.00%"}, False), ({"a, growth": "+1.00%"}, True), ({}, False),
     (soak.equal(Comparison(3, 2, [], [])), False), (soak.equal(Comparison(3, 2, ["row 1"], [])), True),
     (soak.equal(Comparison(3, 2, [], ["row 1", "row 2"])), True)],
)  # fmt: skip
def test_what_differs_is_lost_or_grows_is_a_failure(row, fails):
    assert soak.failed(row) == fails


@pytest.mark.slow  # tests/cli/test_train.py kills a run, too
def test_a_run_that_suffers_accidents_is_the_undisturbed_one(tmp_path, monkeypatch):
    monkeypatch.setattr(soak, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(soak, "PAGE", tmp_path / "page.md")
    soak.PAGE.write_text("before\n" + "".join(soak.MARKS) + "after\n")
    options = "--episodes 40 --kills 2 --workers 1 --disks 1 --suspends 0"
    monkeypatch.setattr(sys, "argv", ["soak.py", "state", *options.split()])
    assert soak.main() == 0
    row = json.loads((tmp_path / "results" / "state.json").read_text())["row"]
    assert row["kill -9"].startswith("2 (") and row["environment killed"] == 1 and row["starts"] >= 3
    assert (row["episodes"], row["differing"], row["lost"]) == (40, 0, 0)
    page = soak.PAGE.read_text()
    assert page.startswith("before\n") and page.endswith("after\n")
    assert "| state |" in page and "--env-steps 8000" in page


def test_the_page_has_the_tables_of_the_results():
    assert soak.tables(soak.read_records()) in soak.PAGE.read_text()  # `make soak` writes it
