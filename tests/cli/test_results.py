"""From log directories to data, curves with intervals, tables and a page; on metrics written by hand."""

import json
import re

import numpy as np
import pytest
from scipy import stats

from latentplan.cli import aggregate, figures, report, results
from latentplan.driver.logging import MetricsLog
from latentplan.runs import load_run, summary

EVALUATIONS = [(5000, [100.0, 300.0]), (30_000, [700.0, 800.0, 900.0])]


def write_run(folder, *, seed=0, env="cartpole_swingup", flags=(), shift=0.0, evaluations=EVALUATIONS, commit="c" * 40):
    """A log directory as a run leaves it."""
    folder.mkdir(parents=True)
    config = {
        "env": env, "agent": "planet", "preset": "cpu", "environment": {"obs": "state"},
        "run": {"seed": seed, "env_steps": 99_000}, "agent_config": {"loss": {"free_nats": 1.0}},
        "replay": {"batch_size": 16, "batch_length": 32},
    }  # fmt: skip
    command = ["python", "experiments/run.py", "--env", env, "--obs", "state", f"--seed={seed}", *flags]
    segment = {
        "command": [*command, "--logdir", str(folder), "--env-steps", "99000"], "commit": commit, "device": "cpu:cpu",
        "processor": "EPYC, 2 cores", "platform": "Linux", "python": "3.11", "versions": {"latentplan": "0.2.0"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({"config": config, "spec": None, "segments": [segment, segment]}))
    log, machine = MetricsLog(folder), {"time/total": 0.0}
    random = {
        "collect/return": 40.0,
        "collect/random": 1.0,
        "collect/decisions": 125,
        "time/act": 1.0,
        "time/step": 2.0,
        "time/write": 0.5,
    }
    log.write({"env_steps": 1000, "episodes": 1, "updates": 0}, random | {"time/total": 4.0})
    for steps, returns in evaluations:
        counters = {"env_steps": steps, "episodes": steps // 1000, "updates": steps // 100}
        machine = {"time/total": steps / 100}
        log.write(counters, {"learn/loss": 3.0, "learn/kl": 2.0, "time/learn": 10.0, **machine})
        values = {"evaluation/return": np.mean(returns) + shift, "evaluation/return_std": np.std(returns)}
        values |= {"evaluation/returns": np.array(returns) + shift, "evaluation/episodes": len(returns)}
        values |= {"planning/elite_return": [1.0, 2.0], "planning/action_std": [0.9, 0.4]}
        values |= {f"planning/{kind}_rewards": [1.0, 2.0] for kind in ("planned", "realised")}
        values |= {f"planning/{kind}_return": 3.0 for kind in ("planned", "realised")}
        values |= {f"prediction/{name}": [0.1, 0.2] for name in ("kl", "observation_mse", "reward_mae")}
        values |= {"reward_bias/bias": 0.5, "reward_bias/by_step": [0.1, 0.2]}  # measured by an extension
        log.write(counters, values | {"time/evaluate": 7.0, **machine})
    log.close()
    return folder


def test_a_run_as_data(tmp_path):
    flags = ("--model.kind", "ssm", "--planner.warm-start", "--env-kwargs", "goal=[1, 2]")
    run = summary.summarise(load_run(write_run(tmp_path / "one", seed=3, flags=flags)))
    assert run["command"] == (
        "python experiments/run.py --env cartpole_swingup --obs state --seed 3 --model.kind ssm --planner.warm-start "
        "--env-kwargs 'goal=[1, 2]' --env-steps 99000"
    )
    assert summary.label(run) == "planet cpu --model.kind ssm --planner.warm-start --env-kwargs goal=[1, 2]"
    assert (run["seed"], run["segments"], run["commits"]) == (3, 2, ["c" * 40])
    assert [row["env_steps"] for row in run["evaluations"]] == [5000, 30_000]
    assert run["evaluations"][1]["returns"] == [700, 800, 900] and run["evaluations"][1]["minutes"] == 5
    assert run["evaluations"][0]["prediction/kl"] == [0.1, 0.2]
    assert run["evaluations"][0]["reward_bias/bias"] == 0.5 and not any("time/" in x for x in run["evaluations"][0])
    assert summary.random_return(run) == 40 and run["learned"][0]["kl"] == 2
    assert run["seconds"]["learn"] == 20 and run["seconds"]["evaluate"] == 14 and run["seconds"]["plan and filter"] == 1
    assert sum(run["seconds"].values()) == pytest.approx(300)
    assert json.loads(json.dumps(run)) == run


def test_the_interval_is_scipys_for_one_seed_and_holds_the_spread_of_seeds():
    returns = np.random.default_rng(1).normal(500, 100, 30)
    mean, low, high = aggregate.interval([list(returns)])
    expected = stats.bootstrap((returns,), np.mean, method="percentile", n_resamples=5000, rng=0).confidence_interval
    assert mean == pytest.approx(returns.mean())
    assert low == pytest.approx(expected.low, abs=6) and high == pytest.approx(expected.high, abs=6)
    mean, low, high = aggregate.interval([[0.0] * 5, [100.0] * 5, [200.0] * 5])  # seeds differ, episodes do not
    assert mean == 100 and low < 30 and high > 170
    assert aggregate.interval([[7.0, 7.0]]) == (7, 7, 7)


def test_curves_cover_what_all_seeds_have_reached(tmp_path):
    longer = [*EVALUATIONS, (60_000, [800.0])]
    seeds = [write_run(tmp_path / "0"), write_run(tmp_path / "1", seed=1, shift=100.0, evaluations=longer)]
    data = [summary.summarise(load_run(folder)) for folder in seeds]
    ((key, group),) = aggregate.group(data[::-1]).items()
    assert key == ("cartpole_swingup", "state", "planet cpu") and [run["seed"] for run in group] == [0, 1]
    curve = aggregate.curve(group)
    np.testing.assert_array_equal(curve["x"], [5000, 30_000])
    np.testing.assert_allclose(curve["mean"], [250, 850])
    assert (curve["low"] < curve["mean"]).all() and (curve["mean"] < curve["high"]).all()
    np.testing.assert_array_equal(aggregate.curve(group, "minutes")["x"], [50 / 60, 5])
    assert aggregate.at(group, 30_000)[0] == aggregate.at(group, 33_000)[0] == 850
    assert aggregate.at(group, 60_000) is None and aggregate.at(group[1:], 60_000)[0] == 900


def test_scores_across_tasks_are_interquartile_means(tmp_path):
    groups = {}
    for i, env in enumerate(("cartpole_swingup", "cup_catch", "reacher_easy", "walker_walk")):
        last = [(1000, [100.0 * 4**i / 8])]
        groups[env] = [summary.summarise(load_run(write_run(tmp_path / env, env=env, evaluations=last)))]
    mean, low, high = aggregate.across_tasks(groups)
    assert mean == pytest.approx((0.05 + 0.2) / 2) and low == high == mean  # of 12.5, 50, 200 and 800 the middle half
    shown = results.across_tasks([run for group in groups.values() for run in group])
    assert "interquartile mean score 0.125 (4 tasks, 1 seed(s) of each" in shown  # and no interval


def test_results_keep_runs_and_rewrite_the_page(tmp_path):
    out, arguments = tmp_path / "results", ["--out", str(tmp_path / "results")]
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", seed=1, shift=50.0)]
    assert results.main([*map(str, folders), *arguments]) == 0
    text = (out / "README.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| planet cpu"))
    assert "| 2 | 825 (" in row and "5 min" in row
    # 300 updates in the 1,000 env_steps that were collected; Dreamer V3 between its points at 25k and 50k
    assert "| action repeat 8, 300 updates per 1,000 env_steps, replay ratio 1229 | Dreamer V3 216 (5 seeds) |" in row
    assert "TD-MPC2 (cartpole_swingup, state): action repeat 2, 500 updates per 1,000 env_steps" in text
    links = re.findall(r"\]\(([^)]+\.(?:png|json))\)", text)
    assert links and all((out / link).is_file() for link in links)
    assert {file.stem for file in (out / "runs").glob("*.json")} == {"a", "b"}
    assert results.main(arguments) == 0 and (out / "README.md").read_text() == text  # from the data alone, the same


def test_the_report_needs_no_other_file(tmp_path):
    folders = [write_run(tmp_path / "a"), write_run(tmp_path / "b", flags=("--model.kind", "rnn"))]
    assert report.main([*map(str, folders)]) == 0
    page = (folders[0] / "report" / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', page) and page.count("<img") >= 12
    assert (
        "experiments/run.py --env cartpole_swingup" in page and len(list((folders[0] / "report").glob("*.png"))) >= 12
    )
    assert page.count("<h3>Other measurements") == 2


def test_what_no_other_figure_shows_is_drawn_and_a_single_point_is_seen(tmp_path):
    run = summary.summarise(load_run(write_run(tmp_path / "short", evaluations=EVALUATIONS[:1])))
    names = figures.other_measurements(run)
    assert names == ["reward_bias/bias", "reward_bias/by_step"]
    scalar, vector = (axes.lines[0] for axes in figures.measurements(run, names).axes)
    assert scalar.get_xydata().tolist() == [[5000, 0.5]] and vector.get_xydata().tolist() == [[1, 0.1], [2, 0.2]]
    assert all(axes.lines[0].get_marker() == "o" for axes in figures.losses(run).axes)  # of one learning phase


@pytest.mark.parametrize("program", [report, results])
def test_mistakes_are_told_and_nothing_is_written(program, tmp_path, capsys):
    good, empty = write_run(tmp_path / "good"), write_run(tmp_path / "empty", evaluations=[])
    for bad, said in ((tmp_path / "none", "with a config.json"), (empty, "at least one evaluation")):
        assert program.main([str(good), str(bad), "--out", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err and not (tmp_path / "out").exists()
    (empty / "config.json").write_text("{")
    assert program.main([str(empty), "--out", str(tmp_path / "out")]) == 2
    assert "unreadable" in capsys.readouterr().err
