"""The policy at a path, and the environment to play it in."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from tfmem.cli.common import parse_settings
from tfmem.errors import InvalidInput

ENVIRONMENT = click.option("--env", "env_id", help="Environment id; by default the one it was trained on.")
ENV_ARGUMENTS = click.option(
    "--env-arg",
    "env_arguments",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument of the environment itself.",
)
EPISODE_SEED = click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Environment seed of the first episode.",
)
BEST = click.option(
    "--best", is_flag=True, help="The policy of the run's best evaluation, in place of its last."
)


@dataclass(frozen=True)
class StoredPolicy:
    """A policy read from a path.

    Attributes:
      path: a run, or a version folder of an export.
      policy: what acts.
      environment: what it says of its environment; see docs/export.md.
      gamma: the discount it was trained with; None where an export does not say.
    """

    path: Path
    policy: Any
    environment: Mapping[str, Any]
    gamma: float | None

    def load_environment(
        self,
        env_id: str | None,
        env_arguments: tuple[str, ...],
        *,
        num_envs: int = 1,
        defaults: Mapping[str, Any] | None = None,
    ) -> Any:
        """`(environment, its id)`: the one asked for, or by default the policy's own; the policy fits it.

        Args:
          env_id: the id asked for.
          env_arguments: `key=value`, added to the policy's own where the environment is its own.
          num_envs: how many copies.
          defaults: arguments that neither gives.
        """
        from tfmem.environments import load

        env_id = env_id or self.environment.get("id")
        if env_id is None:
            raise InvalidInput(f"{self.path} does not say which environment it is for; give --env")
        own = self.environment["kwargs"] if env_id == self.environment.get("id") else {}
        environment = load(
            env_id,
            num_envs=num_envs,
            env_kwargs={**(defaults or {}), **own, **parse_settings(env_arguments)},
            previous_action=self.environment.get("previous_action", False),
            previous_reward=self.environment.get("previous_reward", False),
            action_mask=self.environment.get("action_mask", False),
        )
        require_fit(environment, self.policy.observation, self.policy.actions)
        return environment, env_id


def stored_policy(path: Path, *, best: bool = False) -> StoredPolicy:
    """The policy of a run, its last or its best, or of a version folder of an export.

    Raises:
      InvalidInput: when `path` is neither, or the best is asked of an export.
    """
    from tfmem.export import MANIFEST_PATH, load_policy
    from tfmem.training import load_run

    if (path / MANIFEST_PATH).exists():
        if best:
            raise InvalidInput(f"{path} is an export, of one policy; --best is for a run")
        exported = load_policy(path)
        config = exported.manifest["run"].get("config", {})
        return StoredPolicy(path, exported, exported.manifest["environment"], config.get("gamma"))
    if not (path / "config.json").exists():
        raise InvalidInput(f"{path} is neither the folder of a run nor a version folder of an export")
    run = load_run(path, best=best)
    return StoredPolicy(path, run.policy, run.environment, run.config.gamma)


def require_fit(environment, observation: dict[str, dict[str, Any]], actions: int) -> None:
    """Raises `InvalidInput` unless the environment has the observations and actions of a policy.

    `observation` has the dtype and shape of each part by its name on the wire.
    """
    from tfmem.serving import wire

    found = wire.flatten_observation(environment.observation_spec())
    theirs = {name: (spec.dtype.name, list(spec.shape)) for name, spec in found.items()}
    ours = {name: (spec["dtype"], list(spec["shape"])) for name, spec in observation.items()}
    if theirs != ours:
        raise InvalidInput(
            f"the environment does not fit the policy: it shows {theirs}, the policy takes {ours}"
        )
    count = int(environment.action_spec().maximum) + 1
    if count != actions:
        raise InvalidInput(
            f"the environment does not fit the policy: it has {count} actions, the policy {actions}"
        )
