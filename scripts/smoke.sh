#!/bin/sh
# Builds the wheel, installs it into an environment of its own with the locked versions, and uses it from an empty folder:
# README's example with the library alone, then the command with its extras. Nothing of the checkout is on the path.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
uv=$(command -v uv || echo "$root/.tools/bin/uv")
[ -x "$uv" ] || { echo "smoke: uv is needed; make setup installs it" >&2; exit 1; }

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
unset PYTHONPATH VIRTUAL_ENV
export JAX_DISABLE_MOST_OPTIMIZATIONS=1 JAX_COMPILATION_CACHE_DIR="$folder/compiled" # what runs once is compiled sooner
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0

"$uv" build --quiet --wheel --out-dir wheel "$root"
"$uv" export --quiet --locked --project "$root" --no-dev --no-emit-project --no-hashes --extra cli --extra video -o locked.txt
"$uv" venv --quiet --python "${SMOKE_PYTHON:-$root/.venv/bin/python}" venv
wheel=$(echo wheel/latentplan-*.whl)
install() { "$uv" pip install --quiet --python venv/bin/python --constraint locked.txt "$@"; }

install "$wheel"
mkdir empty && cd empty
sed -n '/^```python$/,/^```$/p' "$root/README.md" | sed '/^```/d' >example.py
[ -s example.py ] || { echo "smoke: README has no Python example" >&2; exit 1; }
../venv/bin/python example.py
../venv/bin/python - <<'END'
from latentplan.envs.env import EnvConfig, make_env

print(make_env("walker_walk", EnvConfig(obs="state")).reset(seed=0)[0]["state"].shape)
END
if ../venv/bin/latentplan train 2>message; then echo "smoke: train worked without its extra" >&2; exit 1; fi
grep -q "pip install 'latentplan\[cli\]'" message

cd .. && install "latentplan[cli,video] @ $wheel" && cd empty
../venv/bin/latentplan --version
../venv/bin/latentplan train --help >/dev/null
../venv/bin/latentplan train --env Pendulum-v1 --obs state --preset debug --logdir run >log || { cat log; exit 1; }
../venv/bin/latentplan evaluate run --episodes 1
../venv/bin/latentplan report run
../venv/bin/latentplan results run --out kept
../venv/bin/python - <<'END'
import pathlib

import latentplan as lp

assert (pathlib.Path(lp.__file__).parent / "py.typed").exists()
run = lp.load_run("run")
print(f"{len(run.metrics['evaluation']['return'])} evaluations, {run.spec}")
END
echo "smoke: the wheel works"
