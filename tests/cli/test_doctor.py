"""The doctor: a true report of this machine, and the right advice for broken ones."""

import subprocess
import sys
from pathlib import Path

import pytest

from latentplan.cli import doctor

SCRIPT = Path(__file__).parents[2] / "experiments" / "doctor.py"


@pytest.fixture
def backends(monkeypatch):
    """Lets a test say which back ends work, and which is chosen."""

    def pretend(chosen, *working):
        monkeypatch.setattr(doctor.gl, "choose_backend", lambda: chosen)
        monkeypatch.setattr(doctor, "walker_frames", lambda b: (50.0, "") if b in working else (0.0, "it is broken"))

    return pretend


def test_the_report_of_this_machine():
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in ("Python ", "jaxlib ", "flashbax ", "CPU cores", "free memory", "jitted matmul", "egl ", "osmesa "):
        assert expected in done.stdout
    assert "frames/s at 64 x 64" in done.stdout
    assert done.stdout.rstrip().endswith("OK: training from pixels works here.")


def test_a_backend_that_is_not_used_may_be_missing(backends):
    backends("egl", "egl")
    section = doctor.opengl()
    assert section.to_do == []
    assert "apt-get install libosmesa6" in dict(section.rows)["osmesa"]


def test_another_backend_is_proposed_where_the_chosen_one_fails(backends):
    backends("egl", "osmesa")
    assert doctor.opengl().to_do == ["OpenGL back end egl does not work: set MUJOCO_GL=osmesa, which does."]


def test_without_any_backend_the_packages_are_named(backends):
    backends("egl")
    (advice,) = doctor.opengl().to_do
    assert doctor.gl.INSTALL["egl"] in advice


def test_something_to_do_gives_exit_status_1(backends, monkeypatch, capsys):
    backends("egl")
    monkeypatch.setattr(doctor, "jax_devices", lambda: doctor.Section("JAX", [("state", "FAILED")], ["Mend JAX."], []))
    assert doctor.main([]) == 1
    printed = capsys.readouterr().out
    assert "1. Mend JAX." in printed
    assert "2. No OpenGL back end works" in printed


def test_a_jax_that_fails_is_reported_not_raised(monkeypatch):
    monkeypatch.setattr(doctor, "_JAX", "raise RuntimeError('CUDA error: no driver')")
    section = doctor.jax_devices()
    assert "CUDA error: no driver" in section.to_do[0]


def test_packages_that_are_missing_or_too_new_are_named(monkeypatch):
    def version(package):
        if package == "chex":
            raise doctor.importlib.metadata.PackageNotFoundError(package)
        return "4.0.0"

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    assert [item.split()[:2] for item in doctor.versions().to_do] == [["Install", "chex:"], ["mujoco", "4.0.0"]]


def test_a_blank_frame_is_not_taken_for_a_picture(monkeypatch):
    monkeypatch.setattr(doctor, "_WALKER", """print('{"contrast": 0.0, "rate": 99.0}')""")
    monkeypatch.setattr(doctor.gl, "missing_libraries", lambda backend: [])
    assert doctor.walker_frames("egl") == (0.0, "the frame is blank")
