"""Configuration, the collect-and-learn loop, checkpoints, evaluation."""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.training.config import PRESETS, TrainConfig, make_config
from tfmem.training.evaluation import Evaluation, evaluate
from tfmem.training.learner import Learner
from tfmem.training.run import (
    Diverged,
    Interrupted,
    Result,
    SavingFailed,
    Status,
    TrainedRun,
    TrainingRun,
    environment_description,
    load_run,
    train,
)
from tfmem.training.run_folder import RunFolder

__all__ = [
    "PRESETS",
    "Diverged",
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
    "load_run",
    "make_config",
    "train",
]
