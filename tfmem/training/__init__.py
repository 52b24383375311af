"""Configuration, the collect-and-learn loop, checkpoints, evaluation."""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.training.config import TrainConfig
from tfmem.training.environment import environment_description, load_environment
from tfmem.training.evaluation import EndlessEpisode, Evaluation, evaluate
from tfmem.training.learner import Learner
from tfmem.training.presets import PRESETS, make_config
from tfmem.training.run import (
    Diverged,
    Interrupted,
    Result,
    SavingFailed,
    Status,
    TrainingRun,
    train,
)
from tfmem.training.run_folder import RunFolder
from tfmem.training.trained_run import TrainedRun, load_run

__all__ = [
    "PRESETS",
    "Diverged",
    "EndlessEpisode",
    "Evaluation",
    "Interrupted",
    "Learner",
    "Result",
    "RunFolder",
    "SavingFailed",
    "Status",
    "TrainConfig",
    "TrainedRun",
    "TrainingRun",
    "environment_description",
    "evaluate",
    "load_environment",
    "load_run",
    "make_config",
    "train",
]
