"""Diagnostics as the driver uses them; a new one is a function and a line of the registry, and is logged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from driver.test_loop import CONFIG, SPEC, fake_agent, run, timeless

from latentplan import diagnostics
from latentplan.agents.planet import PlaNetConfig, make_planet
from latentplan.diagnostics import DiagnosticEntry
from latentplan.driver.diagnose import Diagnosis, gather_evidence, metrics_of
from latentplan.driver.evaluation import evaluation_keys
from latentplan.models.world_model import WorldModelConfig
from latentplan.planners.shooting import ShootingConfig
from latentplan.types import Batch, Diagnostic, Measurement, Trajectory


def trajectory(records, level):
    number = np.full(records, level, np.float32)
    flags = np.zeros(records, bool)
    last = np.arange(records) == records - 1
    return Trajectory(
        Batch({"state": number[:, None]}, number[:, None], number, ~flags, last, flags), {"info": number[1:]}
    )


def test_episodes_stand_side_by_side_padded_to_few_lengths():
    evidence = gather_evidence([trajectory(3, 1), trajectory(7, 2)], max_decisions=None, context=2, length=6)
    assert evidence.batch.observation["state"].shape == (50, 2, 1) and (evidence.context, evidence.length) == (2, 6)
    np.testing.assert_array_equal(evidence.batch.reward.sum(0), [3, 14])
    np.testing.assert_array_equal(evidence.infos["info"].sum(0), [2, 12])
    gather = lambda records, limit: gather_evidence([trajectory(records, 1)], max_decisions=limit, context=2, length=6)  # noqa: E731
    lengths = [len(gather(*case).batch.reward) for case in ((51, None), (51, 60), (61, 60), (1001, 1000), (2000, None))]
    assert lengths == [100, 61, 61, 1001, 1001]


def test_what_is_measured_is_logged_under_the_diagnostics_name_and_drawn_as_it_says():
    flat = Diagnostic(lambda params, evidence, key: Measurement({"two": jnp.ones(2), "one": params}))
    nothing = Diagnostic(flat.measure, select=lambda evidence: None)
    evidence = gather_evidence([trajectory(3, 1)], max_decisions=2, context=1, length=3)
    keys = list(jax.random.split(jax.random.key(0)))
    found = Diagnosis({"flat": flat, "nothing": nothing}).measure(jnp.float32(3), evidence, keys)
    metrics = metrics_of(found)
    assert metrics.keys() == {"flat/two", "flat/one"} and metrics["flat/one"] == 3.0
    np.testing.assert_array_equal(metrics["flat/two"], [1, 1])
    with pytest.raises(ValueError, match=r"diagnostics.flat.drawing: expected one of open_loop, .*got 'oil'"):
        Diagnosis({"flat": flat._replace(drawing="oil")})


def test_keys_do_not_depend_on_how_many_diagnostics_follow():
    """Nor do those of the episodes; also where `jax.random.split` does depend on it, as the driver configures it."""
    with jax.threefry_partitionable(False):
        data = [np.stack([jax.random.key_data(x) for x in evaluation_keys(jax.random.key(1), n)]) for n in (0, 1, 4, 7)]
    assert [len(x) for x in data] == [1, 2, 5, 8] and len(np.unique(data[-1], axis=0)) == 8
    for few in data:
        np.testing.assert_array_equal(few, data[-1][: len(few)])


def make_largest_reward(subject):
    """A new diagnostic, as in a file of its own."""

    def measure(params, evidence, key):
        rewards = jnp.where(evidence.valid, evidence.batch.reward, -jnp.inf)
        return Measurement({"value": jnp.max(rewards), "by_episode": jnp.max(rewards, 0)})

    return Diagnostic(measure)


def test_a_new_diagnostic_is_a_function_and_a_line(tmp_path, monkeypatch):
    monkeypatch.setitem(diagnostics.DIAGNOSTICS, "largest_reward", DiagnosticEntry(make_largest_reward))
    monkeypatch.setitem(diagnostics.DIAGNOSTICS, "of_actors", DiagnosticEntry(make_largest_reward, needs=("policy",)))
    sizes = {"deter": 4, "stoch": 2, "hidden": 4, "vector_hidden": 4, "reward_hidden": 4, "layers": 1}
    config = PlaNetConfig(
        model=WorldModelConfig(kind="ssm", **sizes), planner=ShootingConfig(horizon=2, num_candidates=4)
    )
    run(tmp_path / "run", agent=make_planet(config, SPEC))
    rows = [row for row in timeless(tmp_path / "run") if "evaluation/return" in row]
    assert len(rows) == 3 and not any(name.startswith("of_actors") for row in rows for name in row)
    for row in rows:
        assert row["largest_reward/value"] == max(row["largest_reward/by_episode"]) <= 1.0
        assert len(row["largest_reward/by_episode"]) == CONFIG.eval_episodes
        assert {"open_loop/reward_mae", "prediction/kl", "planning/planned_return"} <= row.keys()
    assert len(list((tmp_path / "run" / "videos").glob("open_loop_*.png"))) == 3


@pytest.mark.parametrize("name", ["time", "learn", "episodes", "evaluation/mine"])
def test_a_diagnostic_of_a_name_that_metrics_have_is_refused(name):
    with pytest.raises(ValueError, match=f"diagnostics: expected names other than collect, .*, got '{name}'; rename"):
        Diagnosis({name: make_largest_reward(None)})


def test_an_agents_own_diagnostics_are_used(tmp_path):
    agent = fake_agent()
    run(tmp_path / "run", agent=agent._replace(diagnostics={"mine": make_largest_reward(None)}))
    evaluated = [row for row in timeless(tmp_path / "run") if "evaluation/return" in row]
    assert all("mine/value" in row and "open_loop/reward_mae" not in row for row in evaluated)
