"""Parallel environments in spawned processes, stepped synchronously, with explicit errors.

Worker processes must not load JAX, so imports that would load it are local.
"""

import contextlib
import multiprocessing
import signal
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing import connection, resource_tracker
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import gymnasium
import numpy as np
from numpy.typing import ArrayLike

from latentplan import extensions
from latentplan.envs import gl, suite_of
from latentplan.envs.actions import check_actions
from latentplan.envs.boundary import SpaceMismatch
from latentplan.envs.raised import attributed
from latentplan.envs.suite import Suite

if TYPE_CHECKING:
    from latentplan.envs.env import EnvConfig
    from latentplan.types import EnvSpec


_MISTAKES = {"SpaceMismatch": SpaceMismatch, "ValueError": ValueError, "GLUnavailable": gl.GLUnavailable}
"""Exceptions that the parent raises as they are: by an environment's declaration or by the user's settings."""


class StepResult(NamedTuple):
    """The result of one decision in each environment.

    Attributes:
        observation: by name [num_envs, ...], uint8 images or float32 vectors.
        reward: [num_envs] float32, summed over the repeated control steps.
        is_last: [num_envs] bool, the episode is over, by termination or by the time limit.
        is_terminal: [num_envs] bool, it is over by termination.
    """

    observation: dict[str, np.ndarray]
    reward: np.ndarray
    is_last: np.ndarray
    is_terminal: np.ndarray


class WorkerDied(RuntimeError):
    """An environment's process was killed, raised an exception, or timed out.

    Attributes:
        index: of the environment, from 0.
        summary: what happened, in one line.
        traceback: the worker's own traceback, "" without one.
    """

    def __init__(self, index: int, reason: str, traceback: str = ""):
        self.index = index
        self.summary = f"environment worker {index} {reason}"
        self.traceback = traceback
        super().__init__(self.summary + (f"\n\n{traceback}" if traceback else ""))


class Workers:
    """Environments in separate processes, stepped synchronously.

    Processes are spawned, not forked, since JAX and OpenGL do not survive a fork; so a script that creates Workers
    needs the usual `if __name__ == "__main__":`, and each process repeats its top-level imports. gymnasium's
    AsyncVectorEnv is not used: despite its timeout it hangs on an exception that cannot be pickled and on a worker that
    hangs during construction, and it loses tracebacks.

    Any failure closes all processes, so new Workers can be created at once.

    Args:
        name: the environment, as for `make_env`.
        config: its settings.
        num_envs: number of environments.
        timeout_s: timeout of each answer from a worker, in seconds.

    Attributes:
        spec: of the environment.
        notes: what a user might not expect of how the environment is used, in sentences.
        num_envs: number of environments.

    Raises:
        ValueError, GLUnavailable: as for `make_env`; a ValueError of the environment's own code names it and its place.
        SpaceMismatch: from `reset` and `step`, if an environment returned something other than it declares.
        WorkerDied: from any method, if a worker was killed, raised an exception, or timed out.

    Examples:
        >>> from latentplan.envs.env import EnvConfig
        >>> with Workers("Pendulum-v1", EnvConfig(obs="state"), num_envs=2) as workers:
        ...     observation = workers.reset(seeds=[0, 1])
        ...     result = workers.step(np.zeros((2, workers.spec.action_size), np.float32))
        >>> result.reward.shape
        (2,)
    """

    def __init__(self, name: str, config: "EnvConfig", num_envs: int, *, timeout_s: float = 120.0):
        if num_envs < 1:
            raise ValueError(f"num_envs: expected at least 1 environment, got {num_envs}.")
        suite, pixels = suite_of(name), config.renders
        gl.choose_backend(rendering=pixels)  # in the parent, so that the processes inherit it
        if pixels and suite.needs_opengl:
            gl.check_backend()
        self.num_envs = num_envs
        self._name, self._timeout_s = name, timeout_s
        self._waiting = self._closed = False
        self._starting = True
        self._pipes: list[connection.Connection] = []
        self._processes: list[BaseProcess] = []
        try:
            self._start(config, suite)
            self.spec, self.notes = self._receive_spec()
            self._starting = False
        except BaseException:
            self._kill()
            raise

    def reset(self, seeds: Sequence[int]) -> dict[str, np.ndarray]:
        """Starts a new episode in every environment.

        Args:
            seeds: one per environment, each from 0 to 2**31 - 1, since many environments keep them in 32 bits; the
                same seed gives the same episode.

        Returns:
            The first observations by name [num_envs, ...].
        """
        if len(seeds) != self.num_envs:
            raise ValueError(f"seeds: expected {self.num_envs}, one per environment, got {len(seeds)}.")
        if not all(0 <= seed < 2**31 for seed in seeds):
            raise ValueError(f"seeds: expected numbers from 0 to 2**31 - 1, got {list(seeds)}.")
        self._send("reset", [int(seed) for seed in seeds])
        return _stacked(self._receive())

    def step(self, actions: ArrayLike) -> StepResult:
        """Takes one decision in every environment: actions [num_envs, A] in [-1, 1]."""
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: ArrayLike) -> None:
        """Sends the actions [num_envs, A] and returns at once; `step_wait` returns the result."""
        self._send("step", list(check_actions(actions, (self.num_envs, self.spec.action_size))))

    def step_wait(self) -> StepResult:
        """Waits for the result of `step_async`."""
        if not self._waiting:
            raise RuntimeError("step_wait: no actions were sent. Call step_async first.")
        observation, reward, is_last, is_terminal = zip(*self._receive(), strict=True)
        return StepResult(_stacked(observation), np.array(reward, np.float32), np.array(is_last), np.array(is_terminal))

    def close(self) -> None:
        """Ends the processes; safe to call repeatedly."""
        self._closed = True
        for pipe in self._pipes:
            pipe.close()  # a worker whose pipe is closed closes its environment and exits
        deadline = time.monotonic() + 5.0
        for process in self._processes:
            process.join(max(0.0, deadline - time.monotonic()))
        self._kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _start(self, config: "EnvConfig", suite: Suite) -> None:
        context = multiprocessing.get_context("spawn")
        with _sigint_blocked():
            for index in range(self.num_envs):
                ours, theirs = context.Pipe()
                self._pipes.append(ours)
                # With the suite, which may have been added to SUITES in this process only.
                args = (self._name, config, suite, tuple(extensions.IMPORTED), theirs)
                process = context.Process(target=_serve, args=args, name=f"env-{index}", daemon=True)
                process.start()
                self._processes.append(process)
                theirs.close()

    def _receive_spec(self) -> tuple["EnvSpec", tuple[str, ...]]:
        from latentplan.types import EnvSpec

        self._waiting = True
        fields, notes = self._receive()[0]
        return EnvSpec.from_fields(fields), notes

    def _send(self, command: str, payloads: Sequence[object]) -> None:
        if self._closed:
            raise RuntimeError("Workers: closed. Create new ones.")
        if self._waiting:
            raise RuntimeError(f"{command}: a result is still pending. Call step_wait first.")
        for index, (pipe, payload) in enumerate(zip(self._pipes, payloads, strict=True)):
            try:
                pipe.send((command, payload))
            except OSError:
                raise self._died(index) from None
        self._waiting = True

    def _receive(self) -> list[Any]:
        answers: dict[int, object] = {}
        due: dict[Any, int] = {pipe: index for index, pipe in enumerate(self._pipes)}
        deadline = time.monotonic() + self._timeout_s
        while due:
            ready = connection.wait(list(due), max(0.0, deadline - time.monotonic()))
            if not ready:
                self._kill()
                raise WorkerDied(min(due.values()), f"({self._name}) did not answer within {self._timeout_s:g} s.")
            for pipe in ready:
                index = due.pop(pipe)
                answers[index] = self._answer(index)
        self._waiting = False
        return [answers[index] for index in range(self.num_envs)]

    def _answer(self, index: int) -> Any:
        try:
            kind, answer = self._pipes[index].recv()
        except (EOFError, OSError):
            raise self._died(index) from None
        if kind == "answer":
            return answer
        self._kill()
        summary, trace = answer
        if kind in _MISTAKES:
            raise _MISTAKES[kind](summary)
        raise WorkerDied(index, f"({self._name}) failed: {summary}", trace)

    def _died(self, index: int) -> WorkerDied:
        self._processes[index].join(5.0)
        code = self._processes[index].exitcode
        self._kill()
        if code is not None and code < 0:
            how = f"was killed by signal {-code} ({_signal_name(-code)})."
            how += " Out of memory? Try fewer environments." if -code == getattr(signal, "SIGKILL", None) else ""
        else:
            how = f"ended with exit status {code}; its own message, if any, is above"
            if self._starting:
                how += '. A script that creates Workers needs `if __name__ == "__main__":` around its main code'
        return WorkerDied(index, f"({self._name}) {how}")

    def _kill(self) -> None:
        self._closed = True
        for process in self._processes:
            if process.is_alive():
                process.kill()
            process.join()
        for pipe in self._pipes:
            pipe.close()


def _stacked(observations: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Stacks observations by name over environments, [num_envs, ...]."""
    return {name: np.stack([observation[name] for observation in observations]) for name in observations[0]}


def _serve(name: str, config: "EnvConfig", suite: Suite, modules: Sequence[str], pipe: connection.Connection) -> None:
    """A worker's main function: builds the environment, then serves commands until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    from latentplan.envs.env import env_notes, make_env, spec_fields

    with contextlib.suppress(EOFError, OSError):  # the parent closed the pipe or died
        try:
            if not suite.has(name):  # an id that an extension registers; other extensions are not loaded here
                extensions.import_extensions(modules)
            env = make_env(name, config, suite)
            described = spec_fields(env), env_notes(env)
        except Exception as error:
            pipe.send(_failure(attributed(error, name, suite), _MISTAKES))
            return
        with contextlib.closing(env):
            pipe.send(("answer", described))
            while True:
                command, payload = pipe.recv()
                try:
                    answer = ("answer", _answer(env, command, payload))
                except Exception as error:
                    answer = _failure(error, ("SpaceMismatch",))
                pipe.send(answer)


def _answer(env: gymnasium.Env, command: str, payload: Any) -> object:
    if command == "reset":
        return env.reset(seed=payload)[0]
    observation, reward, terminated, truncated, _ = env.step(payload)
    return observation, reward, terminated or truncated, terminated


def _failure(error: Exception, mistakes: Iterable[str]) -> tuple[str, tuple[str, str]]:
    """The answer for an exception: as one of `mistakes`, whose message says all, or else with its traceback."""
    for kind in mistakes:
        if isinstance(error, _MISTAKES[kind]):
            return kind, (str(error), "")
    # As text: the exception's class may not exist, or not unpickle, in the parent.
    return "failure", (f"{type(error).__name__}: {error}", traceback.format_exc())


@contextlib.contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Starts processes with SIGINT blocked, so that Ctrl-C reaches only the parent, even while they load."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # starting it unblocks SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _signal_name(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else "unknown"
