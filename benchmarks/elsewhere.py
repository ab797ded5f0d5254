"""Runs benchmark cases in a separate process, so that their threads do not compete with those of other cases.

PyTorch's threads spin for a while after each parallel region. In one process with XLA, which runs next, they made its
programs take half as long again (docs/performance.md).
"""

import contextlib
import importlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import harness

GRACE_S = 2.0  # for the process to end by itself


class Elsewhere:
    """A spawned process that builds and runs cases on request; created by `elsewhere`."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def call(self, name: str, *inputs: Any) -> Any:
        """Runs a function in that process.

        Args:
            name: "module:function"; imported there, so that this process need not import the module.
            *inputs: picklable.

        Returns:
            Its result, which must be picklable.

        Raises:
            RuntimeError: it raised an exception; the message holds the traceback.
            ValueError: it refused, with SystemExit.
        """
        return self._ask("call", name, inputs)

    def cases(self, name: str, *inputs: Any) -> dict[str, Callable[[], harness.Seconds]]:
        """Builds cases in that process.

        Args:
            name: "module:function", which makes a dictionary of functions; see `call`.
            *inputs: of that function.

        Returns:
            For each of these functions, by the same name, one that runs it there and returns its seconds.
        """
        return {
            case: lambda index=index: harness.Seconds(self._ask("time", index))  # type: ignore[misc]
            for case, index in self._ask("make", name, inputs).items()
        }

    def _ask(self, *question: Any) -> Any:
        try:
            self._pipe.send(question)
            kind, answer = self._pipe.recv()
        except (EOFError, OSError) as error:
            raise RuntimeError(f"the process for {question[:2]} died") from error
        if kind == "refused":
            raise ValueError(answer)
        if kind == "failed":
            raise RuntimeError(answer)
        return answer


@contextlib.contextmanager
def elsewhere(**environment: str | None) -> Iterator[Elsewhere]:
    """A process for cases, alive within the context.

    Args:
        **environment: variables to set there; None removes one.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, environment))
    process.start()
    theirs.close()
    try:
        yield Elsewhere(ours)
    finally:
        ours.close()
        process.join(GRACE_S)
        process.kill()  # it was in the middle of a call
        process.join()


def _serve(pipe: Connection, environment: dict[str, str | None]) -> None:
    for name, value in environment.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    cases: list[Callable[[], Any]] = []
    with contextlib.suppress(EOFError, BrokenPipeError, KeyboardInterrupt):  # the parent has closed the pipe
        while True:
            question = pipe.recv()
            try:
                pipe.send(("done", _answer(cases, *question)))
            except SystemExit as error:
                pipe.send(("refused", str(error)))
            except Exception:
                pipe.send(("failed", traceback.format_exc()))


def _answer(cases: list[Callable[[], Any]], kind: str, what: Any, inputs: tuple[Any, ...] = ()) -> Any:
    if kind == "time":
        return harness.seconds_of(cases[what])
    module, function = what.split(":")
    result = getattr(importlib.import_module(module), function)(*inputs)
    if kind == "call":
        return result
    cases += result.values()
    return dict(zip(result, range(len(cases) - len(result), len(cases)), strict=True))
