"""Records and protocols that the packages share: arrays travel in records, functions are bundled in them.

Axis letters: T time, B batch, H horizon, N candidates, A action, D deter, S stoch, E embed.
`[...]` stands for any leading batch shape.
"""

from latentplan.types.agents import Agent, Carry, TrainState, Update
from latentplan.types.arrays import AnyBelief, AnyLatent, Array, BeliefT, Key, Metrics, Params, WarmStart
from latentplan.types.diagnostics import Diagnostic, Evidence, ImaginedTrajectory, Measurement, OpenLoop
from latentplan.types.models import Belief, ImagineStep, ObserveStep, Predict, Prediction, WorldModel
from latentplan.types.planners import Planner, PlanOutput
from latentplan.types.records import Batch, Sample, Trajectory
from latentplan.types.spaces import ArraySpec, EnvSpec

__all__ = [
    "Agent",
    "AnyBelief",
    "AnyLatent",
    "Array",
    "ArraySpec",
    "Batch",
    "Belief",
    "BeliefT",
    "Carry",
    "Diagnostic",
    "EnvSpec",
    "Evidence",
    "ImagineStep",
    "ImaginedTrajectory",
    "Key",
    "Measurement",
    "Metrics",
    "ObserveStep",
    "OpenLoop",
    "Params",
    "PlanOutput",
    "Planner",
    "Predict",
    "Prediction",
    "Sample",
    "TrainState",
    "Trajectory",
    "Update",
    "WarmStart",
    "WorldModel",
]
