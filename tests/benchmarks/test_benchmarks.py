"""The benchmarks run, and say what they measured and where."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import elsewhere
import harness
import pytest
from tiers import one_of_each

ROOT = Path(__file__).resolve().parents[2]
TINY = {
    "planner": "--sizes cpu --beliefs 2 --candidates 20 --iterations 1 --rounds 2",
    "planner_quality": "--planner cem icem --budgets 40 200 --cases 2 --problems quadratic",
    "update": "--sizes cpu tdmpc2-5M --obs state --rounds 1",
    "imagine": "--sizes dreamer_v3-1M --starts 4 --rounds 1",
    "env": "--tasks cartpole_swingup --workers 1 --rounds 1",
}


@pytest.mark.parametrize("name", one_of_each(TINY, lambda _: "a program"))
def test_a_benchmark_prints_its_table_and_writes_json(name, tmp_path):
    file = tmp_path / "new" / "result.json"
    command = [sys.executable, f"benchmarks/{name}.py", *TINY[name].split(), "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    record = json.loads(file.read_text())
    assert record["benchmark"] == name and record["rows"] and record["ratios"]
    assert {"commit", "device", "processor", "versions"} <= record["hardware"].keys()
    assert harness.render(record) in done.stdout


def test_cases_are_timed_in_turns_and_the_first_call_apart():
    calls = []
    cases = {
        "slow": lambda: (calls.append("slow"), time.sleep(0.02 if calls.count("slow") > 1 else 0.1)),
        "fast": lambda: calls.append("fast"),
    }
    timings = harness.in_turns(cases, rounds=3, seconds=0)
    assert calls == ["slow", "fast"] * 4
    assert timings["slow"].first > 0.1 > timings["slow"].high >= timings["slow"].median >= timings["slow"].low > 0.02
    assert timings["fast"].median < 0.02 and timings["fast"].calls == 3


def makes_cases(delay):
    if delay is None:
        raise SystemExit("expected a delay")
    return {"short": lambda: None, "long": lambda: time.sleep(delay), "broken": lambda: 1 / 0}


def test_cases_elsewhere_time_themselves_in_another_process_and_their_mistakes_come_back():
    with elsewhere.elsewhere(LATENTPLAN_HERE="there") as process:
        cases = process.cases(f"{__name__}:makes_cases", 0.2)
        assert isinstance(cases["short"](), harness.Seconds) and cases["short"]() < 0.1 < 0.2 <= cases["long"]()
        assert process.call("os:getpid") != os.getpid()
        assert process.call("os:getenv", "LATENTPLAN_HERE") == "there" and "LATENTPLAN_HERE" not in os.environ
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            cases["broken"]()
        with pytest.raises(ValueError, match="expected a delay"):
            process.cases(f"{__name__}:makes_cases", None)
        assert cases["long"]() >= 0.2  # it lives on
        with pytest.raises(RuntimeError, match="died"):
            process.call("os:_exit", 1)


def test_tables_are_aligned_markdown_over_all_columns():
    lines = harness.table([{"a": 1, "b": 0.123456}, {"a": "x", "c": 12345.6}]).splitlines()
    assert [line.split() for line in lines] == [
        ["|", "a", "|", "b", "|", "c", "|"],
        ["|", "-", "|", "------", "|", "------", "|"],
        ["|", "1", "|", "0.1235", "|", "|"],
        ["|", "x", "|", "|", "12,346", "|"],
    ]
    assert len({len(line) for line in lines}) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_work_of_other_processes_is_noticed():
    spin = "import time; end = time.time() + 1.0\nwhile time.time() < end: pass"
    before = harness._cpu_seconds()
    other = subprocess.Popen([sys.executable, "-c", spin])  # not waited for: it does not count as ours
    time.sleep(0.8)
    share = harness._other_work(before)
    other.wait()
    assert share > 0.05


@pytest.mark.parametrize(
    ("arguments", "said"),
    [("planner.py --rounds 0", "positive integer"), ("env.py --tasks nonsense_x", "nonsense_x"),
     ("loop.py --preset nope", "invalid choice"), ("planner.py --json /dev/null/x.json", "/dev/null")],
)  # fmt: skip
def test_mistakes_are_told_without_a_traceback(arguments, said):
    program, *rest = arguments.split()
    done = subprocess.run([sys.executable, f"benchmarks/{program}", *rest], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
