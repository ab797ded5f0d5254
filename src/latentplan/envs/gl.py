"""The OpenGL back end that MuJoCo renders with: chosen before mujoco is imported, and checked.

MuJoCo and dm_control read `MUJOCO_GL` once, when they are imported, so `choose_backend` comes first.
"""

import ctypes
import os
import subprocess
import sys

BACKENDS = ("egl", "osmesa", "glfw")
NO_RENDERING = ("off", "disable", "disabled", "false", "0")
GLFW_ALIASES = ("glfw", "on", "enable", "enabled", "true", "1", "")

INSTALL = {
    "egl": "apt-get install libegl1 libopengl0 libgl1-mesa-dri",
    "osmesa": "apt-get install libosmesa6",
    "glfw": "start it in a graphical session (DISPLAY set), or set MUJOCO_GL=egl",
}

# What has to load, one of each row. PyOpenGL takes plain GL calls from any of the last three of EGL's.
_LIBRARIES = {
    "egl": (("libEGL.so.1",), ("libOpenGL.so.0", "libGL.so.1", "libGLESv2.so.2")),
    "osmesa": (("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"),),
    "glfw": (),
}

_CHECKED = "LATENTPLAN_GL_CHECKED"  # inherited by worker processes, so that only the first one probes

# os._exit: some drivers complain about contexts at interpreter exit; the frame is what counts.
_PROBE = """
import mujoco, os, sys
model = mujoco.MjModel.from_xml_string("<mujoco/>")
with mujoco.Renderer(model, 8, 8) as renderer:
    renderer.render()
    sys.stdout.write("rendered")
    sys.stdout.flush()
    os._exit(0)
"""


class GLUnavailable(RuntimeError):
    """The OpenGL back end does not work here. The message says what to install."""


def choose_backend(*, rendering: bool = True) -> str:
    """Sets `MUJOCO_GL` and `LP_NUM_THREADS` where the user has not; call it before mujoco is imported.

    Without a display on Linux the back end is EGL, and SDL (pygame) draws off screen too. Mesa's software
    renderer gets no threads of its own (0): several workers, each with such threads, wait for each other. Where
    nothing is to be rendered and EGL's libraries are missing, rendering is switched off, so that state observations
    work on a machine without OpenGL.

    Args:
        rendering: whether frames will be rendered.

    Returns:
        The back end in use: "egl", "osmesa", "glfw" or "disabled".

    Raises:
        ValueError: `MUJOCO_GL` names no back end.
    """
    os.environ.setdefault("LP_NUM_THREADS", "0")
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        if "MUJOCO_GL" not in os.environ:
            usable = rendering or not missing_libraries("egl")
            os.environ["MUJOCO_GL"] = "egl" if usable else "disabled"
    return _canonical(os.environ.get("MUJOCO_GL", "glfw"))


def check_backend(backend: str | None = None, *, timeout_s: float = 60.0) -> None:
    """Makes sure that a frame can be rendered: loads the libraries, then renders one in a subprocess.

    A subprocess, because a broken driver may crash or hang the process that tries it. A back end that
    passed is remembered in the environment, also for child processes.

    Args:
        backend: "egl", "osmesa" or "glfw"; None for the one `choose_backend` gives.
        timeout_s: seconds the test frame may take.

    Raises:
        GLUnavailable: with the reason, and what to install.
    """
    backend = choose_backend() if backend is None else _canonical(backend)
    if os.environ.get(_CHECKED) == backend:
        return
    if backend == "disabled":
        raise GLUnavailable(
            "MUJOCO_GL=disabled: pixels need OpenGL. Unset MUJOCO_GL, and where no back end works "
            f"install one:\n  {INSTALL['egl']}\nor use state observations."
        )
    missing = missing_libraries(backend)
    problem = f"{' and '.join(missing)} cannot be loaded" if missing else _render_one_frame(backend, timeout_s)
    if problem:
        raise GLUnavailable(unavailable_message(backend, problem))
    os.environ[_CHECKED] = backend


def missing_libraries(backend: str) -> list[str]:
    """The system libraries that `backend` needs and that do not load here, e.g. ["libEGL.so.1"]."""
    if sys.platform != "linux":
        return []
    return [" or ".join(names) for names in _LIBRARIES[backend] if not any(map(_loads, names))]


def unavailable_message(backend: str, problem: str) -> str:
    """What went wrong with `backend`, the Debian packages that mend it, and the other off-screen back end."""
    lines = [f"OpenGL back end {backend!r} (MUJOCO_GL) does not work here: {problem.rstrip('.')}."]
    verb = "To mend it" if backend == "glfw" else "On Debian or Ubuntu"
    lines.append(f"{verb}:\n  {INSTALL[backend]}")
    other = {"egl": "osmesa", "osmesa": "egl"}.get(backend, "egl")
    lines.append(f"Or use MUJOCO_GL={other}:\n  {INSTALL[other]}")
    lines.append("Or train from state vectors, which render nothing. `latentplan doctor` tries them all.")
    return "\n".join(lines)


def run_python(code: str, timeout_s: float, **variables: str) -> tuple[str, str]:
    """Runs Python code in a fresh process, where it may crash or hang without harm.

    Args:
        code: what to run.
        timeout_s: seconds it may take.
        **variables: environment variables for it, such as MUJOCO_GL.

    Returns:
        What it printed, and the problem in one line ("" when it went well).
    """
    environment = {**os.environ, **variables}
    environment.pop("PYOPENGL_PLATFORM", None)  # left behind by a mujoco that this process imported
    command = [sys.executable, "-c", code]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        return "", f"no answer within {timeout_s:g} s"
    if done.returncode == 0:
        return done.stdout, ""
    if done.returncode < 0:
        return done.stdout, f"it crashed with signal {-done.returncode}"
    errors = [line.strip() for line in done.stderr.splitlines() if "Error" in line]
    return done.stdout, errors[-1] if errors else f"it ended with exit status {done.returncode}"


def _render_one_frame(backend: str, timeout_s: float) -> str:
    output, problem = run_python(_PROBE, timeout_s, MUJOCO_GL=backend)
    return problem or ("" if output.startswith("rendered") else "no frame was rendered")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _canonical(value: str) -> str:
    if value in BACKENDS:
        return value
    if value in GLFW_ALIASES:
        return "glfw"
    if value in NO_RENDERING:
        return "disabled"
    raise ValueError(
        f"MUJOCO_GL: expected one of {', '.join(BACKENDS)} or disabled, got {value!r}. Correct or unset it."
    )
