"""Measurements of models and plans, made from evaluation episodes: one file and one line of DIAGNOSTICS each."""

from latentplan.diagnostics.imagination import make_imagination
from latentplan.diagnostics.open_loop import make_open_loop
from latentplan.diagnostics.planning import make_planning
from latentplan.diagnostics.prediction import make_prediction
from latentplan.diagnostics.subject import DiagnosticEntry, Subject
from latentplan.types import Diagnostic

DIAGNOSTICS: dict[str, DiagnosticEntry] = {
    "open_loop": DiagnosticEntry(make_open_loop),
    "prediction": DiagnosticEntry(make_prediction),
    "imagination": DiagnosticEntry(make_imagination, needs=("policy",)),
    "planning": DiagnosticEntry(make_planning),
}
"""Name, under which its numbers are logged -> how it is built. New ones go to the end, as each draws from its place's
key."""


def make_diagnostics(subject: Subject) -> dict[str, Diagnostic]:
    """Builds all diagnostics that an agent supports.

    Args:
        subject: what the agent has to be measured.

    Returns:
        `Agent.diagnostics`: name -> Diagnostic, those of DIAGNOSTICS whose needs are met.
    """
    return {name: entry.make(subject) for name, entry in DIAGNOSTICS.items() if subject.has(*entry.needs)}
