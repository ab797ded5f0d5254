"""A trained agent in somebody else's control loop: as a policy, and as a program without this package."""

import subprocess
import sys
import zipfile
from pathlib import Path

import jax
import numpy as np
import pytest

import latentplan as lp
from latentplan.cli import export

KEPT = zipfile.ZipFile(Path(__file__).parent / "0.1.0.zip")
ALONE = """
import sys, jax, numpy as np
from jax import export
program = export.deserialize(bytearray(open(sys.argv[1], "rb").read()))
(state, observation, is_first), _ = jax.tree.unflatten(program.in_tree, program.in_avals)
state = jax.tree.map(lambda x: jax.numpy.zeros(x.shape, x.dtype), state)
actions = []
for i, vector in enumerate(np.load(sys.argv[2])):
    action, state = program.call(state, {"state": vector}, i == 0)
    actions.append(action)
np.save(sys.argv[3], actions)
assert "latentplan" not in sys.modules and "flax" not in sys.modules
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moved")
    KEPT.extractall(folder)
    return lp.load_run(folder / "planet")


@pytest.fixture(scope="module")
def policy(run):
    return run.policy()


@pytest.fixture(scope="module")
def vectors(run):
    """Four observations."""
    return np.random.default_rng(0).normal(size=(4, *run.spec.observations["state"].shape)).astype(np.float32)


def test_a_policy_acts_as_the_agent_does_and_remembers(run, policy, vectors):
    policy.reset()
    actions = [policy(vector, is_first=i == 0) for i, vector in enumerate(vectors)]
    params, carry, act = run.params(), run.agent.initial(1), jax.jit(run.agent.act, static_argnames="mode")
    for i, (vector, action) in enumerate(zip(vectors, actions, strict=True)):
        key = jax.random.fold_in(jax.random.key(0), i)
        expected, carry, _ = act(params, carry, {"state": vector[None]}, np.array([i == 0]), key, mode="eval")
        np.testing.assert_allclose(action, expected[0], atol=1e-5)
        assert action.shape == (run.spec.action_size,) and action.dtype == np.float32
    assert policy.latency_ms > 0
    policy.reset()
    np.testing.assert_array_equal([policy({"state": x}, is_first=i == 0) for i, x in enumerate(vectors)], actions)


def test_the_first_observation_of_an_episode_clears_the_memory(policy, vectors):
    def after(before):
        policy.reset()
        policy(before, is_first=True)
        return policy(vectors[0], is_first=True)

    np.testing.assert_array_equal(after(vectors[1]), after(vectors[2]))


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (
            np.zeros(2, np.float32),
            r"state: expected float32 \[5\], got float32 \[2\] = \[0.0, 0.0\]; give one observation",
        ),
        (np.zeros((1, 5), np.float32), r"got float32 \[1, 5\]"),
        (np.array(["a"] * 5), r"expected float32 \[5\], got ndarray array"),
        ({"image": np.zeros(5)}, "observation: expected state, got image"),
    ],
)
def test_another_observation_is_refused(policy, observation, message):
    with pytest.raises(ValueError, match=message):
        policy(observation)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_number_that_is_not_finite_is_refused_and_not_remembered(policy, vectors, bad):
    policy.reset()
    expected = [policy(vector, is_first=i == 0) for i, vector in enumerate(vectors[:2])]
    policy.reset()
    np.testing.assert_array_equal(policy(vectors[0], is_first=True), expected[0])
    with pytest.raises(ValueError, match=rf"^observation state: expected finite numbers, got {bad} at \[3\]; [^\n]*$"):
        policy(np.where(np.arange(5) == 3, bad, vectors[1]))
    np.testing.assert_array_equal(policy(vectors[1]), expected[1])


def test_the_beginning_of_an_episode_is_one_truth_value(policy, vectors):
    def after(first):
        policy.reset()
        policy(vectors[1], is_first=True)
        policy(vectors[0], is_first=first)
        return np.concatenate([x.ravel() for x in jax.tree.leaves(policy._state[0])])  # what it remembers

    for numpy_bool in (np.bool_(True), np.array(True)):
        np.testing.assert_array_equal(after(numpy_bool), after(True))
    assert not np.array_equal(after(True), after(np.bool_(False)))
    for wrong in (np.array([True]), [True], None, "yes"):
        with pytest.raises(ValueError, match=r"^is_first: expected True or False, got [^\n]*$"):
            policy(vectors[0], is_first=wrong)


def test_an_exported_policy_runs_without_this_package_and_episodes_become_a_minari_data_set(
    run, policy, vectors, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    file = tmp_path / "policy.jax"
    assert export.main([str(run.logdir), "--policy", str(file), "--minari", "mine/balance-v0"]) == 0
    printed = capsys.readouterr().out
    assert f"policy in {file}" in printed and "4 episodes in the Minari data set mine/balance-v0" in printed
    np.save(tmp_path / "in.npy", vectors)
    command = [sys.executable, "-c", ALONE, str(file), str(tmp_path / "in.npy"), str(tmp_path / "out.npy")]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=120)
    policy.reset()
    expected = [policy(vector, is_first=i == 0) for i, vector in enumerate(vectors)]
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), expected, atol=1e-5)
    import minari

    first = next(minari.load_dataset("mine/balance-v0").iterate_episodes())
    episode = next(run.episodes())
    np.testing.assert_array_equal(first.observations, episode.observation["state"])
    np.testing.assert_array_equal(first.actions, episode.action[1:])


def test_nothing_to_export_and_no_run_are_told(run, tmp_path, capsys):
    assert export.main([str(run.logdir)]) == 2
    assert "--policy or --minari: expected one of them at least, got none" in capsys.readouterr().err
    assert export.main([str(tmp_path), "--policy", "x"]) == 2
    assert "logdir: expected the folder of a run" in capsys.readouterr().err
