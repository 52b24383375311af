"""The environment that a run's configuration asks for."""

from typing import Any

from tfmem.environments import GymnasiumEnvironment, Vectorization, load
from tfmem.training.config import TrainConfig


def load_environment(
    config: TrainConfig, num_envs: int, *, vectorization: Vectorization = "sync"
) -> GymnasiumEnvironment:
    """`num_envs` copies of the environment that `config` asks for."""
    return load(
        config.env_id,
        num_envs=num_envs,
        env_kwargs=config.env_kwargs,
        previous_action=config.previous_action,
        previous_reward=config.previous_reward,
        action_mask=config.action_mask,
        vectorization=vectorization,
    )


def environment_description(config: TrainConfig) -> dict[str, Any]:
    """The environment that `config` asks for, as an export's manifest tells it."""
    environment = load_environment(config, num_envs=1)
    action_space = str(environment.action_space)
    environment.close()
    return {
        "id": config.env_id,
        "kwargs": config.env_kwargs,
        "previous_action": config.previous_action,
        "previous_reward": config.previous_reward,
        "action_mask": config.action_mask,
        "action_space": action_space,
    }
