"""One file and one line: throw-away members of the registries, used end to end through the command line."""

import importlib
import io
import json
import sys
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import jaxtyping
import pytest
from rich.console import Console
from test_docs import ROOT, python_blocks

import latentplan as lp
from latentplan.agents import AGENTS
from latentplan.agents.planet import PlaNetConfig
from latentplan.cli import evaluate, train
from latentplan.diagnostics import DIAGNOSTICS
from latentplan.diagnostics.subject import DiagnosticEntry
from latentplan.driver.diagnose import Diagnosis
from latentplan.driver.job import update_metrics
from latentplan.driver.logging import read_metrics
from latentplan.envs import SUITES
from latentplan.models.rssm import RSSM
from latentplan.models.world_model import DYNAMICS
from latentplan.planners import PLANNERS
from latentplan.planners.cem import CEMConfig, make_cem
from latentplan.presets import PRESETS, AgentPresets, make_preset
from latentplan.replay.ring import ReplayConfig, make_replay
from latentplan.types import Diagnostic, Evidence, Measurement

SHORT = ["--env", "Pendulum-v1", "--obs", "state", "--preset", "debug", "--env-steps", "300", "--seed-episodes", "1"]


REGISTERS = {
    "planner": (0, [(PLANNERS, "local_search")]),
    "dynamics": (0, [(DYNAMICS, "clock")]),
    "agent": (1, [(AGENTS, "one_loss"), (PRESETS, "one_loss")]),
}
"""A guide -> which of its blocks registers something, and what."""


@pytest.fixture
def member(monkeypatch, tmp_path):
    """(guide) -> writes the guide's block into a file and imports it; the registries are restored after the test."""
    monkeypatch.syspath_prepend(tmp_path)
    added = []

    def add(guide):
        index, entries = REGISTERS[guide]
        added.extend(entries)
        _, block = python_blocks((ROOT / "docs" / "guides" / f"{guide}.md").read_text())[index]
        (tmp_path / f"guide_{guide}.py").write_text(block)
        monkeypatch.delitem(sys.modules, f"guide_{guide}", raising=False)
        importlib.import_module(f"guide_{guide}")

    yield add
    for registry, name in added:
        registry.pop(name, None)


@pytest.fixture
def main(monkeypatch):
    """The training command in this process, and what it printed."""

    def call(*arguments):
        out = io.StringIO()
        monkeypatch.setattr("rich.console.Console", lambda **kwargs: Console(file=out, width=200))
        return train.main([*SHORT, *arguments]), out.getvalue()

    return call


def trained(logdir):
    """The run's config; that it learned and was evaluated."""
    rows = read_metrics(logdir / "metrics.jsonl")
    for field in ("learn/loss", "evaluation/return"):
        assert any(field in row for row in rows), field
    return json.loads((logdir / "config.json").read_text())["config"]


def test_a_planner_and_latent_dynamics_more(member, main, tmp_path, capsys):
    """In one run, since neither knows of the other."""
    member("planner")
    member("dynamics")
    chosen = ["--planner", "local_search", "--planner.step", "0.2", "--model.kind", "clock"]
    status, printed = main(*chosen, "--logdir", str(tmp_path / "run"))
    assert status == 0, printed
    config = trained(tmp_path / "run")
    assert config["agent_config"]["model"]["kind"] == "clock"
    assert config["planner"] == "local_search"
    planner = config["agent_config"]["planner"]
    assert planner == {"horizon": 4, "num_iterations": 2, "num_candidates": 20, "step": 0.2}  # debug's own sizes
    assert evaluate.main(["--logdir", str(tmp_path / "run"), "--episodes", "1", "--planner", "local_search"]) == 0
    capsys.readouterr()
    status, printed = main("--planner", "local_search", "--planner.step", "0")
    assert status == 2 and "--planner.step: expected more than 0, got 0.0; the default is 0.3" in printed
    status, printed = main("--planner", "global_search")
    assert status == 2 and "--planner: expected cem, icem" in printed and "local_search, got" in printed
    assert "got 'global_search'; or import the module that registers it (--import MODULE)" in printed

    status, printed = main("--model.kind", "clock", "--model.classes", "4")
    assert status == 2 and "--model.classes: expected 0 with kind clock, which supports nothing else, got 4" in printed


def test_an_agent_more(member, main, tmp_path, capsys):
    member("agent")
    status, printed = main("--agent", "one_loss", "--learning-rate", "1e-3", "--logdir", str(tmp_path / "run"))
    assert status == 0, printed
    config = trained(tmp_path / "run")
    assert (config["agent"], config["planner"], config["agent_config"]["learning_rate"]) == ("one_loss", "policy", 1e-3)
    acting = ["--logdir", str(tmp_path / "run"), "--episodes", "1", "--act", "policy", "planner"]
    assert evaluate.main(acting) == 0, capsys.readouterr()
    printed = capsys.readouterr().out
    assert printed.count(" (1 episode, no exploration noise)") == 2 and "+-" not in printed
    assert "acting by policy" in printed and "acting by cem" in printed
    status, printed = main("--agent", "one_loss", "--preset", "cpu")
    assert status == 2 and "--preset: expected debug (or a protocol of another agent" in printed
    status, printed = main("--agent", "one_loss", "--preset", "auto")
    assert status == 2 and "--preset: expected one of one_loss's, debug, got cpu, which auto chose; name" in printed


def test_choices_are_the_registries_names(member, capsys):
    for guide in ("planner", "dynamics", "agent"):
        member(guide)
    with pytest.raises(SystemExit):
        train.main(["--help"])
    printed = "".join(capsys.readouterr().out.replace("│", " ").split())
    assert "--size{" in printed and "317M" in printed and "{," not in printed  # no empty choice
    for option, registry in {"agent": AGENTS, "planner": PLANNERS, "model.kind": DYNAMICS}.items():
        assert f"--{option}{{{','.join(registry)}}}" in printed


class NoDataclass(CEMConfig):
    step: float = 0.1


@dataclass(frozen=True, kw_only=True)
class NoDefault(CEMConfig):
    step: float


def three(config, action_size, evaluate): ...


CEM = PLANNERS["cem"]


@pytest.mark.parametrize(
    ("registry", "entry", "message"),
    [
        (PLANNERS, three, r"PLANNERS\['mine'\]: expected PlannerEntry, got the function three; write"),
        (PLANNERS, None, "expected PlannerEntry, got None"),
        (
            PLANNERS,
            CEM._replace(make=three),
            r"\.make: expected a function of .*propose=.*, got the function three\(con",
        ),
        (
            PLANNERS,
            CEM._replace(config=NoDataclass),
            r"\.config: expected a dataclass, got the class NoDataclass without",
        ),
        (PLANNERS, CEM._replace(config=NoDefault), r"expected a default for every field, got none for NoDefault\.step"),
        (
            PLANNERS,
            CEM._replace(config=PlaNetConfig),
            "expected a subclass of PlannerConfig, got the class PlaNetConfig",
        ),
        (AGENTS, AGENTS["planet"]._replace(make=three), r"\.make: expected a function of \(config, spec\)"),
        (AGENTS, AGENTS["planet"]._replace(config=CEMConfig), "expected a subclass of AgentConfig"),
        (DYNAMICS, make_cem, r"DYNAMICS\['mine'\]: expected DynamicsEntry, got the function make_cem"),
        (
            DYNAMICS,
            DYNAMICS["rssm"]._replace(deter_size=8),
            r"\.deter_size: expected a function of \(config\), got an int",
        ),
        (DIAGNOSTICS, DiagnosticEntry(three, needs="policy"), r"\.needs: expected a tuple of names, got 'policy'"),
        (SUITES, three, r"SUITES\['mine'\]: expected Suite"),
        (PRESETS, AgentPresets({"debug": three}), r"\.presets: expected Preset as 'debug', got the function three"),
    ],
)
def test_what_is_no_member_is_refused_where_it_is_added(registry, entry, message):
    for add in (registry.__setitem__, lambda name, entry: registry.update({name: entry}), registry.setdefault):
        with pytest.raises(ValueError, match=message):
            add("mine", entry)
    assert "mine" not in registry


def test_an_agent_without_presets_is_told_so(monkeypatch):
    monkeypatch.setitem(AGENTS, "mine", AGENTS["planet"])
    with pytest.raises(ValueError, match=r"agent: expected one with presets, got 'mine'; add PRESETS\['mine'\]"):
        make_preset("debug", "walker_walk", "state", agent="mine")


TINY = {"deter": 8, "stoch": 4, "hidden": 8, "reward_hidden": 8, "vector_hidden": 8}
SPEC = lp.EnvSpec.single((5,), action_size=2)


def planned(params, belief, key, warm_start=None):
    return lp.PlanOutput(jnp.zeros(2), jnp.zeros((3, 2)), (), {})


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (None, r"^PLANNERS\['cem'\].make, what it returned: expected a function of .*, got None"),
        (lambda params, belief, key: None, r"what it returned: expected a function of \(params, .* warm_start\), got"),
        (lambda *inputs: jnp.zeros(2), r"^PLANNERS\['cem'\], plan: expected PlanOutput, got an? .*; return PlanOutput"),
        (lambda *inputs: planned(*inputs)._replace(action=jnp.zeros((3, 2))), r"action: expected \[2\], got \(3, 2\)"),
        (lambda *inputs: planned(*inputs)._replace(plan=jnp.zeros(2)), r"plan: expected \[H, 2\], got \(2,\)"),
    ],
)
def test_what_a_planners_builder_returns_is_checked(plan, message, monkeypatch):
    make = lambda config, action_size, evaluate, *, discrete, propose: plan  # noqa: E731
    monkeypatch.setitem(PLANNERS, "cem", CEM._replace(make=make))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the tests' own check of types comes first
    with pytest.raises(ValueError, match=message):
        planner = lp.make_planner(CEMConfig(), 2, lambda *inputs: 0.0, discrete=False, propose=None)
        jax.eval_shape(planner, None, None, jax.random.key(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"make": lambda config, embed_size, action_size: None},
            r"^DYNAMICS\['rssm'\].make: expected Dynamics, got None",
        ),
        (
            {"deter_size": lambda config: 3},
            r"belief.deter: expected \[..., 3\], got \(8,\); let the entry's deter_size",
        ),
    ],
)
def test_what_dynamics_have_is_checked_against_their_entry(change, message, monkeypatch):
    monkeypatch.setitem(DYNAMICS, "rssm", DYNAMICS["rssm"]._replace(**change))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        lp.make_world_model(lp.WorldModelConfig(**TINY), SPEC).initial(())


@pytest.mark.parametrize(
    ("latents", "got"),
    [
        (lambda posterior, prior: posterior, r"expected \(belief, \(posterior, prior\)\), got a Gaussian"),
        (
            lambda posterior, prior: (posterior, jax.tree.map(lambda x: x[..., 1:], prior)),
            r"expected a prior like the posterior Gaussian\[\(2, 4\), \(2, 4\)\], got Gaussian\[\(2, 3\), \(2, 3\)\]",
        ),
        (
            lambda posterior, prior: (posterior, prior.mean),
            r"expected a prior like the posterior Gaussian\[.*, got array\[\(2, 4\)\]",
        ),
    ],
)
def test_what_dynamics_observe_is_a_posterior_and_a_prior_alike(latents, got, monkeypatch):
    def make(config, embed_size, action_size):
        whole = RSSM.make(config, embed_size, action_size)

        def observe_step(*arguments):
            belief, pair = whole.observe_step(*arguments)
            return belief, latents(*pair)

        return whole._replace(observe_step=observe_step)

    monkeypatch.setitem(DYNAMICS, "rssm", RSSM._replace(make=make))
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    agent = lp.make_agent(PlaNetConfig(model=lp.WorldModelConfig(**TINY)), SPEC)
    observation = {"state": jnp.zeros((2, 5))}
    state = jax.eval_shape(agent.init, jax.random.key(0))
    with pytest.raises(ValueError, match=rf"^DYNAMICS\['rssm'\], observe_step: {got}"):
        act = lambda params, key: agent.act(params, agent.initial(2), observation, jnp.ones(2, bool), key, mode="eval")  # noqa: E731
        jax.eval_shape(act, state.params, jax.random.key(0))


def test_what_an_agents_or_a_diagnostics_builder_returns_is_checked(monkeypatch):
    monkeypatch.setitem(DIAGNOSTICS, "mine", DiagnosticEntry(lambda subject: None))
    with pytest.raises(ValueError, match=r"^DIAGNOSTICS\['mine'\].make: expected Diagnostic, got None; return"):
        lp.make_agent(PlaNetConfig(model=lp.WorldModelConfig(**TINY)), SPEC)
    monkeypatch.setitem(AGENTS, "planet", AGENTS["planet"]._replace(make=lambda config, spec: None))
    with pytest.raises(ValueError, match=r"^AGENTS\['planet'\].make: expected Agent, got None"):
        lp.make_agent(PlaNetConfig(), SPEC)


STATE = lp.TrainState({"w": jax.ShapeDtypeStruct((2,), "float32")}, (), jax.ShapeDtypeStruct((), "int32"))


@pytest.mark.parametrize(
    ("update", "message"),
    [
        (lambda state: state, r"expected \(TrainState, metrics by name\), got a TrainState"),
        (lambda state: (None, {"finite": 1.0}), "state: expected TrainState, got None"),
        (
            lambda state: (state._replace(params={}), {"finite": 1.0}),
            "state.params: expected structure, shapes and types",
        ),
        (lambda state: (state, {"loss": 1.0}), "expected finite among the metrics, got loss; add it"),
        (lambda state: (state, {"finite": 1.0, "error": state.params["w"]}), r"that are scalars, got error \(2,\)"),
    ],
)
def test_what_an_update_returns_is_checked(update, message):
    agent = lp.Agent(lambda key: STATE, None, None, {"joint": lambda state, sample, key: update(state)}, {})
    agent = agent._replace(init=lambda key: jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), STATE))
    with pytest.raises(ValueError, match=rf"^updates\['joint'\].*{message}"):
        update_metrics(agent, make_replay(ReplayConfig(capacity=10, batch_size=1, batch_length=2), SPEC))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({}, "expected Measurement, got a dict"),
        (Measurement({"a": jnp.zeros((2, 2))}), r"scalars or vectors, got a \(2, 2"),
    ],
)
def test_what_a_diagnostic_measures_is_checked(result, message):
    diagnosis = Diagnosis({"mine": Diagnostic(lambda params, evidence, key: result)})
    with pytest.raises(ValueError, match=f"^diagnostics.mine: .*{message}"):
        diagnosis.measure(None, Evidence(jnp.zeros(3)), [jax.random.key(0)])
