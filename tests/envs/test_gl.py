"""The OpenGL back end: what is chosen, what is said when it does not work, and that the check never hangs."""

import os
import subprocess
import sys
import time

import pytest

from latentplan.envs import gl


@pytest.fixture(autouse=True)
def environment():
    """Each test starts without the variables concerned, and leaves the process's as they were."""
    before = dict(os.environ)
    for name in ("MUJOCO_GL", "LP_NUM_THREADS", "SDL_VIDEODRIVER", "DISPLAY", gl._CHECKED):
        os.environ.pop(name, None)
    yield os.environ
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def linux(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")


@pytest.fixture
def no_libraries(linux, monkeypatch):
    monkeypatch.setattr(gl, "_loads", lambda library: False)


def test_a_machine_without_a_display_gets_egl(linux, environment):
    assert gl.choose_backend() == "egl"
    assert environment["MUJOCO_GL"] == "egl"
    assert environment["LP_NUM_THREADS"] == "0"


def test_a_display_leaves_the_choice_to_mujoco(linux, environment):
    environment["DISPLAY"] = ":0"
    assert gl.choose_backend() == "glfw"
    assert "MUJOCO_GL" not in environment


@pytest.mark.parametrize(("display", "chosen", "kept"), [("", "egl", "egl"), (":0", "glfw", "")])
def test_an_empty_mujoco_gl_counts_as_unset(linux, environment, display, chosen, kept):
    environment.update(MUJOCO_GL="", DISPLAY=display)
    assert gl.choose_backend() == chosen
    assert environment["MUJOCO_GL"] == kept


@pytest.mark.parametrize("value", ["vulkan", "disabled"])
def test_a_choice_that_does_not_work_can_be_unset(linux, environment, value):
    environment["MUJOCO_GL"] = value
    with pytest.raises((ValueError, gl.GLUnavailable), match="[Uu]nset"):
        gl.check_backend()
    environment.pop("MUJOCO_GL")
    assert gl.choose_backend() == "egl"


def test_a_users_mujoco_gl_is_kept(linux, environment):
    environment.update(MUJOCO_GL="osmesa", LP_NUM_THREADS="4")
    assert gl.choose_backend() == "osmesa"
    assert environment["LP_NUM_THREADS"] == "4"


def test_state_observations_need_no_opengl(no_libraries, environment):
    assert gl.choose_backend(rendering=False) == "disabled"
    with pytest.raises(gl.GLUnavailable, match="apt-get install libegl1"):
        gl.check_backend()


def test_an_unknown_backend_is_refused(environment):
    environment["MUJOCO_GL"] = "vulkan"
    with pytest.raises(ValueError, match="MUJOCO_GL.*egl.*osmesa.*'vulkan'"):
        gl.choose_backend()


@pytest.mark.parametrize(
    ("backend", "library", "packages", "other"),
    [
        ("egl", "libEGL.so.1", "libegl1 libopengl0 libgl1-mesa-dri", "MUJOCO_GL=osmesa"),
        ("osmesa", "libOSMesa.so.8", "libosmesa6", "MUJOCO_GL=egl"),
    ],
)
def test_missing_libraries_are_named_with_their_packages(no_libraries, backend, library, packages, other):
    with pytest.raises(gl.GLUnavailable) as caught:
        gl.check_backend(backend)
    message = str(caught.value)
    assert library in message
    assert f"apt-get install {packages}" in message
    assert other in message
    assert "libosmesa6" in message


def test_one_of_several_libraries_is_enough(linux, monkeypatch):
    monkeypatch.setattr(gl, "_loads", lambda library: library in ("libEGL.so.1", "libGLESv2.so.2"))
    assert gl.missing_libraries("egl") == []


def test_a_backend_that_works_is_probed_once(environment, monkeypatch):
    gl.check_backend("egl")
    assert environment[gl._CHECKED] == "egl"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("probed again"))
    gl.check_backend("egl")


@pytest.mark.skipif(sys.platform != "linux", reason="libglvnd is Linux's")
def test_a_library_without_a_driver_is_found_out(environment):
    environment["__EGL_VENDOR_LIBRARY_FILENAMES"] = "/nonexistent"
    with pytest.raises(gl.GLUnavailable, match="libgl1-mesa-dri"):
        gl.check_backend("egl")
    assert gl._CHECKED not in environment


def test_a_driver_that_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(gl, "_PROBE", "import time; time.sleep(600)")
    started = time.monotonic()
    with pytest.raises(gl.GLUnavailable, match=r"no answer within 0\.5 s"):
        gl.check_backend("egl", timeout_s=0.5)
    assert time.monotonic() - started < 5


def test_a_driver_that_crashes_is_reported(monkeypatch):
    monkeypatch.setattr(gl, "_PROBE", "import os; os.abort()")
    with pytest.raises(gl.GLUnavailable, match="crashed with signal 6"):
        gl.check_backend("egl")
