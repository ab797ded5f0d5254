"""Console output of a run: a progress bar on a terminal, one line per event otherwise."""

import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from latentplan.cli.words import over_episodes

if TYPE_CHECKING:
    from latentplan.driver.logging import Row


class Display:
    """Shows a run's reports. Call it with (kind, values), as `latentplan.driver.loop.train` does.

    Args:
        total: length of the run.
        console: the output console.
        unit: of the total: "env_steps", or "updates" for a run that collects nothing.
    """

    def __init__(self, total: int, console: Console, unit: str = "env_steps"):
        self._total, self._console, self._unit = total, console, unit
        self._bar = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[status]}"),
            console=console,
            disable=not console.is_terminal,
            refresh_per_second=4,
        )
        self._task = self._bar.add_task("starting", total=total, status="")
        self._began: tuple[float, int] | None = None
        self._now = {"env_steps": 0, "episodes": 0, "updates": 0}
        self._last: dict[str, str] = {}

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, kind: str, values: "Row") -> None:
        """One report."""
        if kind == "message":
            self._console.print(values["message"], markup=False, highlight=False, soft_wrap=True)
            return
        if kind == "progress":
            self._now = {name: values[name] for name in self._now}
            self._began = self._began or (time.monotonic(), self._now[self._unit])
            self._draw(values["doing"])
            return
        line = {
            "episodes": "collected  return {collect/return:8.1f}{note}  in {time/collect:.1f} s",
            "learned": "learned    {losses}  {model}  {time/updates_per_second:.2f} updates/s",
            "evaluated": "evaluated  {returns}  in {time/evaluate:.0f} s",
        }[kind]
        note = " (random)" if values.get("collect/random") else ""
        model = "kl {:6.2f} nats".format(values["learn/kl"]) if "learn/kl" in values else ""
        if "learn/value_target" in values:
            consistency, value = values["learn/consistency_loss"], values["learn/value_target"]
            model = f"consistency {consistency:.4f}  value {value:7.2f}"
        found = [name.split("/")[1:] for name in values if name.startswith("learn/") and name.endswith("/loss")]
        losses = "  ".join(f"{' '.join(names)} {values['/'.join(('learn', *names))]:10.4g}" for names in found)
        returns = "  ".join([*_returns(values), *_held_out(values)])
        self._remember(kind, values)
        counters = "{env_steps:>8} env_steps  {episodes:>4} episodes  {updates:>6} updates  ".format(**values)
        self._console.print(
            counters + line.format(**values, note=note, losses=losses, model=model, returns=returns),
            highlight=False,
            soft_wrap=True,
        )

    def _remember(self, kind: str, values: "Row") -> None:
        if kind == "episodes":
            self._last["return"] = f"{values['collect/return']:.0f}"
        elif kind == "learned":
            self._last["updates/s"] = f"{values['time/updates_per_second']:.2f}"
        elif "evaluation/return" in values:
            self._last["evaluation"] = f"{values['evaluation/return']:.0f}"

    def _draw(self, doing: str) -> None:
        parts = [f"{name} {value}" for name, value in (self._now | self._last).items()]
        self._bar.update(
            self._task,
            completed=self._now[self._unit],
            description=doing,
            status="  ".join([*parts, f"left {self._time_left()}"]),
        )

    def _time_left(self) -> str:
        assert self._began is not None
        began, at = self._began
        done = self._now[self._unit] - at
        if done <= 0:
            return "?"
        seconds = (time.monotonic() - began) / done * max(self._total - self._now[self._unit], 0)
        hours, minutes = divmod(int(seconds) // 60, 60)
        return f"{hours} h {minutes:02d} min"


def _returns(values: "Row") -> list[str]:
    """An evaluation's returns in words, if it ran episodes."""
    if "evaluation/return" not in values:
        return []
    words = over_episodes(*(values[f"evaluation/{name}"] for name in ("return", "return_std", "episodes")))
    return [f"return {words:>8}"]


def _held_out(values: "Row") -> list[str]:
    """Losses on held-out episodes in words, if there are any."""
    names = [name for name in values if name.startswith("held_out/") and name.endswith("/loss")]
    return [f"held-out loss {values[name]:.4g}" for name in names]
