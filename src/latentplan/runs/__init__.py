"""Runs on disk, read without starting an environment: what was run, what it reached, what it learned."""

from latentplan.runs.run import Run, load_run

__all__ = ["Run", "load_run"]
