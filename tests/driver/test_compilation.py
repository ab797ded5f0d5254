"""How programs are compiled, and where they are kept."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from latentplan.driver import compilation

PROGRAM = """
import jax
from latentplan.driver.compilation import compiled, configure
print(configure())
hits = []
jax.monitoring.register_event_listener(lambda name, **kwargs: hits.append(name.endswith("/cache_hits")))
step = compiled(lambda x: jax.lax.scan(lambda c, k: (c @ c / 9 + k, c.sum()), x, jax.numpy.arange(9.0))[1])
print(step(jax.numpy.eye(300)).shape, sum(hits))
"""


def run(**environment):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment = kept | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"} | environment
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.splitlines()


def test_programs_are_kept_in_the_users_cache_and_found_again_and_replaced_if_unreadable(tmp_path):
    folder = str(tmp_path / "latentplan" / "compiled")
    assert run(XDG_CACHE_HOME=str(tmp_path)) == [folder, "(9,) 0"]
    where, second = run(XDG_CACHE_HOME=str(tmp_path))
    assert where == folder and int(second.split()[-1]) > 0
    written = {entry: entry.stat().st_size for entry in (tmp_path / "latentplan" / "compiled").glob("*-cache")}
    for entry, size in written.items():
        os.truncate(entry, size // 2)  # as a kill leaves it
    assert run(XDG_CACHE_HOME=str(tmp_path)) == [folder, "(9,) 0"]
    assert all(entry.stat().st_size > 0.9 * size for entry, size in written.items())


def test_the_cache_goes_where_jax_is_told_and_can_be_switched_off(tmp_path):
    assert run(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "here"))[0] == str(tmp_path / "here")
    assert run(JAX_ENABLE_COMPILATION_CACHE="0", XDG_CACHE_HOME=str(tmp_path))[0] == "None"
    (tmp_path / "file").write_text("")
    assert run(XDG_CACHE_HOME=str(tmp_path / "file"))[0] == "None"


def test_compiled_is_jit_with_the_same_results():
    x = jax.random.normal(jax.random.key(0), (64, 64))
    function = lambda x: jnp.tanh(x @ x)  # noqa: E731
    np.testing.assert_allclose(compilation.compiled(function)(x), jax.jit(function)(x), rtol=1e-5, atol=1e-5)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="the options are the CPU's")
def test_a_compiler_without_the_option_is_no_obstacle(monkeypatch):
    monkeypatch.setattr(compilation, "_CPU_OPTIONS", {"xla_cpu_no_such_option": ""})
    compilation._compiler_options.cache_clear()
    try:
        assert compilation.compiled(lambda x: x + 1)(1) == 2
    finally:
        compilation._compiler_options.cache_clear()
