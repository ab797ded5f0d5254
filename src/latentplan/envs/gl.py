"""Chooses and checks the OpenGL back end for MuJoCo, before mujoco is imported.

MuJoCo and dm_control read `MUJOCO_GL` once, at import, so `choose_backend` must run first.
"""

import ctypes
import os
import subprocess
import sys

BACKENDS = ("egl", "osmesa", "glfw")
NO_RENDERING = ("off", "disable", "disabled", "false", "0")
GLFW_ALIASES = ("glfw", "on", "enable", "enabled", "true", "1")

INSTALL = {
    "egl": "apt-get install libegl1 libopengl0 libgl1-mesa-dri",
    "osmesa": "apt-get install libosmesa6",
    "glfw": "start it in a graphical session (DISPLAY set), or set MUJOCO_GL=egl",
}

# Required libraries, one of each row. PyOpenGL accepts any of the last three of EGL's for plain GL calls.
_LIBRARIES = {
    "egl": (("libEGL.so.1",), ("libOpenGL.so.0", "libGL.so.1", "libGLESv2.so.2")),
    "osmesa": (("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so"),),
    "glfw": (),
}

_CHECKED = "LATENTPLAN_GL_CHECKED"  # inherited by worker processes, so that the check runs only once

# os._exit skips the interpreter's shutdown, where some drivers crash on open contexts.
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
    """The OpenGL back end does not work on this machine. The message says what to install."""


def choose_backend(*, rendering: bool = True) -> str:
    """Sets `MUJOCO_GL` and `LP_NUM_THREADS` unless the user has; call it before mujoco is imported.

    On Linux without a display the back end is EGL, and SDL (pygame) also renders off screen. Mesa's software renderer
    is given no threads of its own (0), since the threads of several workers would contend. If nothing is rendered and
    EGL's libraries are missing, rendering is disabled, so that state observations work without OpenGL.

    Args:
        rendering: whether frames will be rendered.

    Returns:
        The back end in use: "egl", "osmesa", "glfw" or "disabled".

    Raises:
        ValueError: `MUJOCO_GL` is not the name of a back end.
    """
    os.environ.setdefault("LP_NUM_THREADS", "0")
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        if not os.environ.get("MUJOCO_GL"):  # an empty one counts as unset
            usable = rendering or not missing_libraries("egl")
            os.environ["MUJOCO_GL"] = "egl" if usable else "disabled"
    return _canonical(os.environ.get("MUJOCO_GL") or "glfw")


def check_backend(backend: str | None = None, *, timeout_s: float = 60.0) -> None:
    """Checks that frames can be rendered: loads the libraries, then renders a frame in a subprocess.

    A subprocess, because a broken driver may crash or hang. Success is cached in an environment variable, which child
    processes inherit.

    Args:
        backend: "egl", "osmesa" or "glfw"; None for the result of `choose_backend`.
        timeout_s: timeout of the test frame, in seconds.

    Raises:
        GLUnavailable: with the reason, and what to install.
    """
    backend = choose_backend() if backend is None else _canonical(backend)
    if os.environ.get(_CHECKED) == backend:
        return
    if backend == "disabled":
        raise GLUnavailable(
            "MUJOCO_GL=disabled: pixels need OpenGL. Unset MUJOCO_GL, and if no back end works "
            f"install one:\n  {INSTALL['egl']}\nor use state observations."
        )
    missing = missing_libraries(backend)
    problem = f"{' and '.join(missing)} cannot be loaded" if missing else _render_one_frame(backend, timeout_s)
    if problem:
        raise GLUnavailable(unavailable_message(backend, problem))
    os.environ[_CHECKED] = backend


def missing_libraries(backend: str) -> list[str]:
    """The system libraries required by `backend` that cannot be loaded, for example ["libEGL.so.1"]."""
    if sys.platform != "linux":
        return []
    return [" or ".join(names) for names in _LIBRARIES[backend] if not any(map(_loads, names))]


def unavailable_message(backend: str, problem: str) -> str:
    """An error message with the problem, the Debian packages that fix it, and the alternative off-screen back end."""
    lines = [f"OpenGL back end {backend!r} (MUJOCO_GL) does not work here: {problem.rstrip('.')}."]
    verb = "To fix it" if backend == "glfw" else "On Debian or Ubuntu"
    lines.append(f"{verb}:\n  {INSTALL[backend]}")
    other = {"egl": "osmesa", "osmesa": "egl"}.get(backend, "egl")
    lines.append(f"Or use MUJOCO_GL={other}:\n  {INSTALL[other]}")
    lines.append("Or train from state vectors, which need no rendering. `latentplan doctor` checks all back ends.")
    return "\n".join(lines)


def run_python(code: str, timeout_s: float, **variables: str) -> tuple[str, str]:
    """Runs Python code in a subprocess, isolated from crashes and hangs.

    Args:
        code: the source to run.
        timeout_s: timeout in seconds.
        **variables: environment variables of the process, such as MUJOCO_GL.

    Returns:
        (standard output, the problem in one line, "" on success).
    """
    environment = {**os.environ, **variables}
    environment.pop("PYOPENGL_PLATFORM", None)  # set when this process imported mujoco
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
