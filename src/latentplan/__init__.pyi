"""The public names. `__init__.py` reads them from here."""

from latentplan import distributions as distributions
from latentplan.agents import make_agent as make_agent
from latentplan.agents.dreamer.v1 import DreamerV1Config as DreamerV1Config
from latentplan.agents.dreamer.v2 import DreamerV2Config as DreamerV2Config
from latentplan.agents.dreamer.v3 import DreamerV3Config as DreamerV3Config
from latentplan.agents.planet import PlaNetConfig as PlaNetConfig
from latentplan.agents.tdmpc.v1 import TDMPCConfig as TDMPCConfig
from latentplan.agents.tdmpc.v2 import TDMPC2Config as TDMPC2Config
from latentplan.envs.env import EnvConfig as EnvConfig
from latentplan.envs.env import make_env as make_env
from latentplan.losses.elbo import ElboTerms as ElboTerms
from latentplan.losses.elbo import elbo as elbo
from latentplan.losses.overshooting import latent_overshooting as latent_overshooting
from latentplan.losses.overshooting import overshoot as overshoot
from latentplan.losses.returns import lambda_returns as lambda_returns
from latentplan.models.decoder_free import DecoderFreeConfig as DecoderFreeConfig
from latentplan.models.decoder_free import make_decoder_free as make_decoder_free
from latentplan.models.rollout import imagine as imagine
from latentplan.models.rollout import observe as observe
from latentplan.models.world_model import WorldModelConfig as WorldModelConfig
from latentplan.models.world_model import make_world_model as make_world_model
from latentplan.planners import make_planner as make_planner
from latentplan.planners.cem import CEMConfig as CEMConfig
from latentplan.planners.gradient import GradientConfig as GradientConfig
from latentplan.planners.icem import ICEMConfig as ICEMConfig
from latentplan.planners.mppi import MPPIConfig as MPPIConfig
from latentplan.planners.objectives import model_returns as model_returns
from latentplan.planners.shooting import ShootingConfig as ShootingConfig
from latentplan.runs import Run as Run
from latentplan.runs import load_run as load_run
from latentplan.types import Agent as Agent
from latentplan.types import ArraySpec as ArraySpec
from latentplan.types import Batch as Batch
from latentplan.types import Belief as Belief
from latentplan.types import EnvSpec as EnvSpec
from latentplan.types import Planner as Planner
from latentplan.types import PlanOutput as PlanOutput
from latentplan.types import Sample as Sample
from latentplan.types import TrainState as TrainState
from latentplan.types import WorldModel as WorldModel

__version__: str
