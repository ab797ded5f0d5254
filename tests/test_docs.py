"""The documents' Python blocks run, in order, in one namespace, as a reader would paste them."""

import importlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from agents.dreamers import small
from agents.windows import SPEC, make_batch, make_sample

from latentplan import planners
from latentplan.agents import AGENTS, make_agent
from latentplan.agents.planet import LossConfig, PlaNetConfig, make_planet
from latentplan.cli import results
from latentplan.diagnostics import DIAGNOSTICS
from latentplan.envs import SUITES
from latentplan.envs.env import EnvConfig, make_env
from latentplan.envs.workers import Workers
from latentplan.models.rollout import imagine
from latentplan.models.world_model import DYNAMICS, WorldModelConfig, make_world_model
from latentplan.presets import PRESETS, make_preset
from latentplan.types import Evidence

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def python_blocks(text: str) -> list[tuple[int, str]]:
    """(line, source) of every fenced block marked as Python."""
    blocks = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: block.start(1)].count("\n") + 1, block.group(1)) for block in blocks]


def run(text: str, name: str) -> dict[str, object]:
    namespace: dict[str, object] = {"__name__": "readme"}
    for line, source in python_blocks(text):
        exec(compile("\n" * (line - 1) + source, name, "exec"), namespace)  # errors show the document's own lines
    return namespace


def test_blocks_are_found_run_in_order_and_fail_with_their_line():
    text = "# A\n```python\nx = 1\n```\n```bash\nfalse\n```\n\n```python\ny = x + 1\n```\n"
    assert [line for line, _ in python_blocks(text)] == [3, 10]
    assert run(text, "text")["y"] == 2
    with pytest.raises(NameError) as error:
        run("\n\n```python\nmissing\n```\n", "text")
    assert error.traceback[-1].lineno == 3


def test_the_planner_that_is_added_as_an_example_plans():
    file = ROOT / "docs" / "guides" / "planner.md"
    assert len(file.read_text().splitlines()) < 190 and len(python_blocks(file.read_text())) == 4
    block = python_blocks(file.read_text())[0][1]
    assert len(block.splitlines()) < 60
    try:
        names = run(file.read_text(), str(file))
        entry = planners.PLANNERS["local_search"]
    finally:
        planners.PLANNERS.pop("local_search", None)
    target = jnp.array([[[0.5, -0.3]]])
    bowl = lambda params, belief, actions, key: -jnp.sum((actions - target) ** 2, (0, 2))  # noqa: E731
    planner = jax.jit(entry.make(entry.config(horizon=2, num_iterations=30), 2, bowl))
    output = planner(None, None, jax.random.key(0))
    np.testing.assert_allclose(output.plan, jnp.broadcast_to(target[0], (2, 2)), atol=0.1)
    again = planner(None, None, jax.random.key(1), output.warm_start)
    assert again.info["elite_return"][0] >= output.info["elite_return"][0]
    with pytest.raises(ValueError, match="LocalSearchConfig.num_candidates: expected at least 1, got 0"):
        entry.config(num_candidates=0)
    position, velocity = names["state"]  # of the model of one's own
    assert abs(position - 1) < 0.1 and abs(velocity) < 0.1 and names["plans"].action.shape == (4, 2)
    start, actions = (jnp.float32(0.2), jnp.float32(-0.1)), jax.random.uniform(jax.random.key(2), (5, 7, 1))
    returns = [names[each](None, start, actions, jax.random.key(3)) for each in ("evaluate", "same_evaluate")]
    np.testing.assert_allclose(*returns, rtol=1e-6)


def test_the_agent_that_is_added_as_an_example_learns_and_acts():
    file = ROOT / "docs" / "guides" / "agent.md"
    assert len(file.read_text().splitlines()) < 180 and len(python_blocks(file.read_text())) == 2
    try:
        run(file.read_text(), str(file))
        entry = AGENTS["one_loss"]
    finally:
        for name in ("decay", "one_loss"):
            AGENTS.pop(name, None)
            PRESETS.pop(name, None)
    parts = small("dreamer_v1", units=8, horizon=3)
    config = entry.config(model=parts.model, actor=parts.actor, behaviour=parts.behaviour, learning_rate=1e-2)
    agent = entry.make(config, SPEC)
    update, state = jax.jit(agent.updates["joint"]), agent.init(jax.random.key(0))
    losses = []
    for i in range(30):
        state, metrics = update(state, make_sample(), jax.random.key(i))
        losses.append(metrics["loss"])
    assert metrics["finite"] == 1.0 and losses[-1] < losses[0]
    assert set(state.params) >= {"actor", "critic", "encoder", "reward"}
    action, *_ = agent.act(
        state.params,
        agent.initial(2),
        {"state": jnp.ones((2, 3))},
        jnp.ones(2, bool),
        jax.random.key(0),
        mode="eval",
    )
    assert action.shape == (2, 2) and np.abs(action).max() <= 1


def test_the_variation_of_an_agent_decays_its_weights():
    file = ROOT / "docs" / "guides" / "agent.md"
    (_, block), _ = python_blocks(file.read_text())
    try:
        names = run(f"```python\n{block}```\n", str(file))
        presets, entry = PRESETS["decay"], AGENTS["decay"]
        config = make_preset("debug", "Pendulum-v1", "state", agent="decay").agent_config
        planned = make_preset("cpu", "Pendulum-v1", "state", agent="decay", planner="icem").agent_config
    finally:
        AGENTS.pop("decay", None)
        PRESETS.pop("decay", None)
    planet = make_preset("debug", "Pendulum-v1", "state").agent_config
    assert config == names["DecayConfig"](**{field.name: getattr(planet, field.name) for field in fields(planet)})
    assert type(planned) is names["DecayConfig"] and not presets.protocols
    agents = [make_planet(planet, SPEC), entry.make(replace(config, decay=0.1), SPEC)]
    sample = jax.tree.map(jnp.asarray, make_sample())
    kept, decayed = (a.updates["joint"](a.init(jax.random.key(0)), sample, jax.random.key(1))[0] for a in agents)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(0.9 * x, y, rtol=1e-6), kept.params, decayed.params)


def test_the_dynamics_that_are_added_as_examples_learn_and_predict():
    file = ROOT / "docs" / "guides" / "dynamics.md"
    before, sizes = dict(DYNAMICS), {"deter": 8, "stoch": 4, "hidden": 8, "layers": 1}
    try:
        run(file.read_text(), str(file))
        stacked, one_hot, clock, fast = (
            PlaNetConfig(model=WorldModelConfig(kind=kind, classes=classes, **sizes), loss=LossConfig(free_nats=0.0))
            for kind, classes in (("stacked", 0), ("stacked", 3), ("clock", 0), ("clock_0.05", 0))
        )
        agent = make_agent(stacked, SPEC)
        models = [make_world_model(config.model, SPEC) for config in (stacked, one_hot, clock, fast)]
    finally:
        DYNAMICS.clear()
        DYNAMICS.update(before)
    state = agent.init(jax.random.key(0))
    learned, metrics = jax.jit(agent.updates["joint"])(state, make_sample(), jax.random.key(1))
    same = jax.tree.map(lambda x, y: bool(jnp.all(x == y)), state.params["dynamics"], learned.params["dynamics"])
    assert metrics["finite"] == 1.0 and not any(jax.tree.leaves(same)), same  # both GRUs, prior and posterior
    for model, deter, stoch in zip(models, (16, 16, 1, 1), (4, 12, 4, 4), strict=True):
        start, actions = model.initial((3,)), jnp.ones((5, 3, 2))
        beliefs, _ = imagine(model, model.init(jax.random.key(0)), start, actions, jax.random.key(2))
        assert beliefs.deter.shape == (5, 3, deter) and beliefs.stoch.shape == (5, 3, stoch)
        if model is models[-1]:  # the clock of the variant
            np.testing.assert_allclose(beliefs.deter[-1], 5 * 0.05, rtol=1e-5)


def test_the_environment_and_suite_that_are_added_as_an_example_are_found_by_name(tmp_path, monkeypatch):
    text = (ROOT / "docs" / "guides" / "environment.md").read_text()
    (_, point), (_, same), (_, points) = python_blocks(text)
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "point.py").write_text(point)
    (package / "points.py").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        run(f"```python\nimport numpy as np\n{same}```\n", "environment.md")
        gymnasium.registry.pop("Point-v0")
        importlib.import_module("my_package.points")
        sys.modules.pop("my_package.point")  # in this process, as if it had not been used yet
        env = make_env("point_hold", EnvConfig(obs="state"))
        observation, _ = env.reset(seed=0)
        assert observation["state"].shape == (2,) and env.get_wrapper_attr("action_repeat") == 2
        with pytest.raises(ValueError, match="point_"):
            make_env("point_hold_on", EnvConfig(obs="state"))
        with Workers("point_hold", EnvConfig(obs="state"), num_envs=1) as workers:
            np.testing.assert_array_equal(workers.reset([0])["state"][0], observation["state"])
    finally:
        SUITES.pop("points", None)
        gymnasium.registry.pop("Point-v0", None)
        for name in ("my_package", "my_package.point", "my_package.points"):
            sys.modules.pop(name, None)


IN_TREE = {
    "planner": (0, ["planners/local_search.py"], ["planners/__init__.py"]),
    "dynamics": (0, ["models/clock.py"], ["models/world_model.py"]),
    "agent": (1, ["agents/one_loss.py", "presets/one_loss.py"], ["agents/__init__.py", "presets/__init__.py"]),
    "environment": (2, ["envs/points.py"], ["envs/__init__.py"]),
    "measurement": (0, ["diagnostics/reward_bias.py"], ["diagnostics/__init__.py"]),
}
"""Guide -> which block, the files of its parts, and those into which its last lines go."""


def test_what_the_guides_add_works_in_the_tree(tmp_path):
    shutil.copytree(ROOT / "src" / "latentplan", tmp_path / "latentplan", ignore=shutil.ignore_patterns("__pycache__"))
    for guide, (index, files, registries) in IN_TREE.items():
        block = python_blocks((ROOT / "docs" / "guides" / f"{guide}.md").read_text())[index][1]
        *parts, registration = re.split(r"^# --- \w+ ---$", block, flags=re.MULTILINE)
        lines = [line for line in registration.splitlines() if re.match(r"[A-Z]+\[", line)]
        for file, part, registry, line in zip(files, parts, registries, lines, strict=True):
            (tmp_path / "latentplan" / file).write_text(part.replace("# In the tree: ", ""))
            place = tmp_path / "latentplan" / registry
            module = f"latentplan.{file.removesuffix('.py').replace('/', '.')}"
            text = re.sub(r"^(?=from latentplan)", f"from {module} import *\n", place.read_text(), count=1, flags=re.M)
            place.write_text(f"{text}\n{line}\n")
    code = (
        "from latentplan.presets import make_preset\n"
        "from latentplan.envs.env import EnvConfig\n"
        "from latentplan.diagnostics import DIAGNOSTICS\n"
        "print(make_preset('debug', 'point_hold', 'state', planner='local_search', agent='one_loss').folder())\n"
        "from latentplan.models.world_model import WorldModelConfig\n"
        "print(WorldModelConfig(kind='clock').dynamics.deter_size(None), list(DIAGNOSTICS)[-1])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["runs/point_hold-one_loss-local_search-debug-state-seed0", "1", "reward_bias"]


def test_the_measurement_that_is_added_as_an_example_is_taken():
    file = ROOT / "docs" / "guides" / "measurement.md"
    try:
        run(file.read_text(), str(file))
        agent = make_agent(small("dreamer_v1", units=8, horizon=3), SPEC)
    finally:
        DIAGNOSTICS.pop("reward_bias", None)
    params, evidence = agent.init(jax.random.key(0)).params, Evidence(jax.tree.map(jnp.asarray, make_batch()))
    found = jax.jit(agent.diagnostics["reward_bias"].measure)(params, evidence, jax.random.key(1)).numbers["bias"]
    higher = evidence.batch._replace(reward=evidence.batch.reward + 1.0)
    lower = agent.diagnostics["reward_bias"].measure(params, Evidence(higher), jax.random.key(1)).numbers["bias"]
    np.testing.assert_allclose(found - lower, 1.0, rtol=1e-5)


def test_episodes_from_elsewhere_are_written_read_and_learned_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = ROOT / "docs" / "guides" / "data.md"
    metrics = run(file.read_text(), str(file))["metrics"]
    assert metrics["finite"] == 1.0


def test_documents_that_are_named_exist():
    places = [ROOT / name for name in ("src", "tests", "benchmarks", "experiments", "docs", "scripts")]
    files = [file for place in places for file in place.rglob("*") if file.suffix in (".py", ".md", ".sh")]
    for file in [*files, README, ROOT / "CONTRIBUTING.md"]:
        if "docs/results" not in str(file):
            for name in re.findall(r"\bdocs/[\w/]+\.md\b", file.read_text()):
                assert (ROOT / name).is_file(), f"{file}: {name}"


def test_readme():
    text = README.read_text()
    assert python_blocks(text) and len(text.splitlines()) <= 120
    assert run(text, str(README))["plan"].action[0] > 0.5  # the cart has to go to the right


def rows_of(text: str, columns: int) -> list[list[str]]:
    """The cells of those table rows in Markdown that have so many columns."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in cells] for cells in rows if len(cells) == columns and cells[0].strip()]


def test_readmes_returns_are_those_of_the_results():
    tasks = results.by_task(results.read_results(ROOT / "results"))
    page = (ROOT / "results" / "README.md").read_text()
    assert all(results.table(runs) in page for runs in tasks.values())  # python experiments/results.py writes it
    told = [cells for cells in rows_of(README.read_text(), 4) if cells[0] in AGENTS]
    assert {cells[0] for cells in told} == set(AGENTS)
    for agent, task, reached, published in told:
        env, obs = task.split(", ")
        kept = [line.split(" | ") for line in results.table(tasks[env, obs]).splitlines()]
        row = next(cells for cells in kept if cells[0].startswith(f"| {agent} cpu"))
        assert reached == row[-3] and published in row[-1], (agent, task, row)


TIMED = {
    "PlaNet's CEM, one plan of 1000 x 12 x 10, 2 cores": (
        "cpu-planner",
        {"sizes": "paper", "planner": "cem", "beliefs": 1},
    ),
    "PlaNet, update of 50 x 50 images, 2 cores": ("cpu-update", {"sizes": "paper", "obs": "pixels"}),
    "TD-MPC2 5M, one plan, 2 cores": ("cpu-planner-tdmpc2", {"beliefs": 1}),
    "TD-MPC2 5M, update, 2 cores": ("cpu-update-tdmpc2", {}),
    "TD-MPC2 5M, one plan, H200": ("nvidia-h200-planner-tdmpc2", {"beliefs": 1}),
    "TD-MPC2 5M, update, H200": ("nvidia-h200-update-tdmpc2", {}),
    "Dreamer V3 12M, update of 16 x 64 images, float32, H200": ("nvidia-h200-update-dreamer_v3", {"obs": "pixels"}),
}


def test_readmes_times_are_those_of_the_benchmarks():
    told = {f"{name}, {machine}": times for name, machine, *times in rows_of(README.read_text(), 5)}
    assert set(told) == set(TIMED)
    for name, (file, chosen) in TIMED.items():
        rows = json.loads((ROOT / "results" / "benchmarks" / f"{file}.json").read_text())["rows"]
        for implementation, text in zip(("latentplan", "torch eager", "torch compiled"), told[name], strict=True):
            found = [row["ms"] for row in rows if (chosen | {"implementation": implementation}).items() <= row.items()]
            assert text == (f"{found[0]:,.0f}" if found and found[0] >= 100 else f"{found[0]:.3g}" if found else "-"), (
                name
            )
