"""Reading runs from disk, without starting an environment: config, metrics, parameters, episodes."""

from latentplan.runs.run import Run, load_run

__all__ = ["Run", "load_run"]
