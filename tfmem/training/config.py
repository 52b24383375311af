"""What a training run is: one frozen configuration, with its JSON form and presets."""

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import dacite

from tfmem.errors import InvalidInput, require
from tfmem.networks import CoreConfig, NetworkConfig, ScanNTMConfig
from tfmem.networks.config import CORES


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a run, apart from where its files go.

    Attributes:
      env_id: a Gymnasium environment id.
      env_kwargs: arguments of the environment itself.
      previous_action: add the previous action to the observation.
      previous_reward: add the previous reward to the observation.
      seed: of the weights, exploration, sampling and environments.
      env_steps: the budget; steps that only reset an environment do not count.
      num_envs: environments stepped together.
      embedding: see `tfmem.networks.NetworkConfig`.
      core: see `tfmem.networks.NetworkConfig`.
      attention_window: see `tfmem.networks.NetworkConfig`.
      hidden: see `tfmem.networks.NetworkConfig`.
      gamma: discount.
      n_step: rewards in a return before it bootstraps.
      double_q: double Q-learning.
      target_tau: the target network moves by this share towards the online one after each update.
      learning_rate: Adam's at first; it falls linearly to a tenth of it over the run.
      gradient_clip: each variable's gradient is clipped to this norm.
      replay_capacity: frames kept.
      sequence_length: frames in a training window.
      burn_in: frames at the start of a window inside an episode that only warm the memory up.
      batch_size: windows in an update.
      collect_steps: steps of every environment between two rounds of updates.
      updates: updates in a round.
      learning_starts: environment steps before the first update.
      epsilon: probability of a random action after exploration has decayed.
      epsilon_steps: environment steps over which it falls linearly from 1.
      checkpoint_interval: environment steps between two evaluations, each followed by a checkpoint.
      eval_episodes: episodes of such an evaluation.
      device: `"cpu"`, `"gpu"`, or `"auto"`, a GPU where there is one.
    """

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    previous_action: bool = False
    previous_reward: bool = False
    seed: int = 0
    env_steps: int = 200_000
    num_envs: int = 16
    embedding: int = 64
    core: CoreConfig = field(default_factory=ScanNTMConfig)
    attention_window: int = 0
    hidden: int = 128
    gamma: float = 0.99
    n_step: int = 1
    double_q: bool = True
    target_tau: float = 0.01
    learning_rate: float = 3e-3
    gradient_clip: float = 1.0
    replay_capacity: int = 200_000
    sequence_length: int = 104
    burn_in: int = 0
    batch_size: int = 16
    collect_steps: int = 52
    updates: int = 4
    learning_starts: int = 5_000
    epsilon: float = 0.05
    epsilon_steps: int = 20_000
    checkpoint_interval: int = 20_000
    eval_episodes: int = 64
    device: Literal["auto", "cpu", "gpu"] = "auto"

    def __post_init__(self):
        for name in (
            "env_steps",
            "num_envs",
            "n_step",
            "batch_size",
            "collect_steps",
            "updates",
            "epsilon_steps",
            "checkpoint_interval",
            "eval_episodes",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("gamma", "target_tau", "epsilon"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        for name in ("learning_rate", "gradient_clip"):
            value = getattr(self, name)
            require(0 < value < math.inf, name, value, "a finite number above 0")
        require(0 <= self.seed < 2**32, "seed", self.seed, "between 0 and 2**32 - 1")
        require(self.sequence_length >= 2, "sequence_length", self.sequence_length, "at least 2")
        require(
            0 <= self.burn_in <= self.sequence_length - 2,
            "burn_in",
            self.burn_in,
            f"between 0 and sequence_length - 2 = {self.sequence_length - 2}",
        )
        smallest = 2 * self.sequence_length * self.num_envs
        require(
            self.replay_capacity >= smallest,
            "replay_capacity",
            self.replay_capacity,
            f"at least 2 * sequence_length * num_envs = {smallest}",
        )
        require(self.learning_starts >= 0, "learning_starts", self.learning_starts, "0 or more")
        require(
            self.first_update < self.env_steps,
            "env_steps",
            self.env_steps,
            f"above {self.first_update}, where learning starts (learning_starts, sequence_length * num_envs)",
        )
        _ = self.network  # checks its fields

    @property
    def first_update(self) -> int:
        """The environment steps after which there is experience enough to learn from."""
        return max(self.learning_starts, self.sequence_length * self.num_envs)

    @property
    def network(self) -> NetworkConfig:
        """The network's part of the configuration."""
        return NetworkConfig(
            embedding=self.embedding,
            core=self.core,
            attention_window=self.attention_window,
            hidden=self.hidden,
        )

    def to_json(self) -> str:
        """The configuration as JSON text, which `from_dict` of its parsed form gives back."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Builds a configuration from plain values; raises `InvalidInput` naming a field that does not fit.

        `core` may be a core's name or a dict with its `kind`.
        """
        try:
            return dacite.from_dict(
                cls,
                values,
                dacite.Config(strict=True, type_hooks=_TYPE_HOOKS),
            )
        except dacite.DaciteError as error:
            raise InvalidInput(f"configuration: {error}") from error


def _int(value: Any) -> Any:
    # To Python, true is an integer.
    return "true or false" if isinstance(value, bool) else value


def _names(value: Any) -> Any:
    require(isinstance(value, list | tuple), "heads", value, 'a list such as ["forward", "any"]')
    return tuple(value)


def _float(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _core(value: Any) -> CoreConfig:
    if isinstance(value, str):
        value = {"kind": value}
    require(isinstance(value, dict), "core", value, f"one of {', '.join(CORES)}")
    fields = dict(value)
    kind = str(fields.get("kind"))
    require(kind in CORES, "core", kind, f"one of {', '.join(CORES)}")
    return dacite.from_dict(CORES[kind], fields, dacite.Config(strict=True, type_hooks=_CORE_TYPE_HOOKS))


_CORE_TYPE_HOOKS: Any = {tuple[str, ...]: _names, int: _int}

# dacite looks hooks up by any annotation, unions included, though it declares plain types.
_TYPE_HOOKS: Any = {CoreConfig: _core, float: _float, int: _int}


# A preset serves a family of tasks: what differs from TrainConfig's defaults.
PRESETS: dict[str, dict[str, Any]] = {
    # What was seen has to be recalled later; the reward follows at once, and the observations do not
    # depend on the actions, so a short horizon removes variance and costs nothing.
    "recall": {"gamma": 0.5},
}


def make_config(
    env_id: str, *, preset: str = "recall", overrides: dict[str, Any] | None = None
) -> TrainConfig:
    """The configuration of `preset` for an environment, with `overrides` on top.

    Override keys are `TrainConfig`'s fields; `core` takes a core's name, and `core.slots` and the like set a
    field of the core.

    Raises:
      InvalidInput: on an unknown preset or field, or a value that does not fit.

    Example:
      >>> make_config("popgym-RepeatPreviousEasy-v0", overrides={"core.slots": 64, "seed": 1})
    """
    require(preset in PRESETS, "preset", preset, f"one of {', '.join(PRESETS)}")
    if "env_id" in (overrides or {}):
        raise InvalidInput("env_id is given by itself and cannot be overridden")
    values: dict[str, Any] = {"env_id": env_id, **PRESETS[preset]}
    core_fields: dict[str, Any] = {}
    for key, value in (overrides or {}).items():
        if key.startswith("core."):
            core_fields[key.removeprefix("core.")] = value
        else:
            values[key] = value
    if core_fields:
        core = values.get("core", "scan_ntm")
        require(isinstance(core, str), "core", core, f"one of {', '.join(CORES)}")
        values["core"] = {"kind": core, **core_fields}
    return TrainConfig.from_dict(values)
