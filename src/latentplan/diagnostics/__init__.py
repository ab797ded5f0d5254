"""Measurements of models and plans on evaluation episodes; a new one is one file and one line in DIAGNOSTICS."""

from latentplan.checks import expect_type
from latentplan.diagnostics.imagination import make_imagination
from latentplan.diagnostics.open_loop import make_open_loop
from latentplan.diagnostics.planning import make_planning
from latentplan.diagnostics.prediction import make_prediction
from latentplan.diagnostics.subject import DiagnosticEntry, Subject
from latentplan.registry import Registry
from latentplan.types import Diagnostic

DIAGNOSTICS = Registry(
    "DIAGNOSTICS",
    DiagnosticEntry,
    {
        "open_loop": DiagnosticEntry(make_open_loop),
        "prediction": DiagnosticEntry(make_prediction),
        "imagination": DiagnosticEntry(make_imagination, needs=("policy",)),
        "planning": DiagnosticEntry(make_planning),
    },
)
"""Name, under which results are logged -> how the diagnostic is built. Append new entries at the end: an entry's PRNG
key depends on its position."""


def make_diagnostics(subject: Subject) -> dict[str, Diagnostic]:
    """Builds the diagnostics that an agent supports.

    Args:
        subject: the agent's measurable parts.

    Returns:
        `Agent.diagnostics`: name -> Diagnostic, for all entries of DIAGNOSTICS whose needs are met.
    """
    made = {name: entry.make(subject) for name, entry in DIAGNOSTICS.items() if subject.has(*entry.needs)}
    for name, diagnostic in made.items():
        expect_type(f"DIAGNOSTICS[{name!r}].make", diagnostic, Diagnostic, "return Diagnostic(measure)")
    return made
