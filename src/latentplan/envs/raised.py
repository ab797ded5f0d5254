"""Errors while an environment is built: those of its own code are told with their place, this library's as they are."""

import traceback
from types import FrameType

from latentplan.envs.suite import Suite

_PARTS = {"reset": "its reset", "render": "its render", "<module>": "its module"}
_PASSED_THROUGH = ("latentplan", "importlib")  # packages that call an environment's code


def attributed(error: Exception, name: str, suite: Suite) -> Exception:
    """Says where an error comes from, unless its message was written for the user.

    Args:
        error: raised while the environment was built.
        name: of the environment.
        suite: of the environment; its own ValueErrors are written for the user, as `Suite.load` asks for.

    Returns:
        For a ValueError of other code, one whose line names the environment, what of it raised, and file and line; else
        the error itself.
    """
    frames = list(traceback.walk_tb(error.__traceback__))
    if not isinstance(error, ValueError) or not frames:
        return error
    last, line = frames[-1]
    if _module(last).split(".")[0] == "latentplan" or _module(last) == suite.load.__module__:
        return error
    first = next((frame.f_code.co_name for frame, _ in frames if not _passes_through(frame)), "")
    message = " ".join(str(error).split())
    return ValueError(
        f"env: {name}: {_PARTS.get(first, 'its constructor')} raised {type(error).__name__}: {message} "
        f"({last.f_code.co_filename}:{line}). Correct it there, or what env_kwargs gives it."
    )


def _passes_through(frame: FrameType) -> bool:
    module = _module(frame)
    return module.split(".")[0] in _PASSED_THROUGH or module == "gymnasium.envs.registration"


def _module(frame: FrameType) -> str:
    return frame.f_globals.get("__name__", "")
