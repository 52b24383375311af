"""What a training run is: one frozen configuration, with its JSON form and presets."""

import dataclasses
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import dacite

from tfmem.environments import Probe, Vectorization, probe
from tfmem.errors import InvalidInput, require
from tfmem.networks import CoreConfig, NetworkConfig, ScanNTMConfig
from tfmem.networks.config import CORES, Attention, RegionAttention
from tfmem.recipes import RECIPES


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a run, apart from where its files go.

    Attributes:
      env_id: a Gymnasium environment id.
      env_kwargs: arguments of the environment itself.
      previous_action: add the previous action to the observation.
      previous_reward: add the previous reward to the observation.
      action_mask: the environment says which actions are allowed; see
        `tfmem.environments.GymnasiumEnvironment`.
      vectorization: how environments are stepped together in training; see `tfmem.environments.load`.
      seed: of the weights, exploration, sampling and environments.
      pretrained: a run's folder, whose weights this one starts from: transfer to another task or size, where
        observations, actions and the network are of the same shapes.
      env_steps: the budget; steps that only reset an environment do not count.
      num_envs: environments stepped together.
      embedding: see `tfmem.networks.NetworkConfig`.
      core: see `tfmem.networks.NetworkConfig`.
      attention_window: see `tfmem.networks.NetworkConfig`.
      attention: see `tfmem.networks.NetworkConfig`.
      attention_entropy: see `tfmem.networks.NetworkConfig`.
      region_attention: see `tfmem.networks.NetworkConfig`.
      region_attention_heads: see `tfmem.networks.NetworkConfig`.
      region_attention_entropy: see `tfmem.networks.NetworkConfig`.
      hidden: see `tfmem.networks.NetworkConfig`.
      hidden_layers: see `tfmem.networks.NetworkConfig`.
      gamma: discount.
      n_step: rewards in a return before it bootstraps.
      double_q: double Q-learning.
      td_loss: `"squared"`, or `"huber"`, squared up to a TD error of 1 and linear beyond. Where errors are
        mostly above 1, in units of the rewards' root mean square, Huber's loss learns medians, which leave
        rare ends out; where they are not, it is calmer.
      value_rescaling: learn `h(Q)` in place of Q; see `tfmem.agents.rescale`.
      target_tau: the share by which the target network moves towards the online one.
      target_period: updates between two such moves; with `target_tau=1` the target is a copy now and then.
      averaging: the share of itself that a running mean of the weights keeps in each round of updates; the
        mean answers in evaluations and exports, in place of the latest weights. 0 for none.
      learning_rate: Adam's at first; it falls linearly to a tenth of it over the run.
      temperature: to what the temperature of ScanNTM's heads falls, from 1, between two fifths and four
        fifths of the run; see `tfmem.layers.ScanNTM`.
      gradient_clip: each variable's gradient is clipped to this norm.
      replay_capacity: frames kept.
      sequence_length: frames in a training window.
      burn_in: frames at the start of a window inside an episode that only warm the memory up.
      stored_state: such a window starts with the memory that the policy had there; else with an empty one.
      priority_exponent: how much windows of large TD errors are preferred; 0 for not at all. See
        `tfmem.replay.Priorities`.
      priority_correction: how much of the bias that this brings is corrected, 0 to 1.
      batch_size: windows in an update.
      collect_steps: steps of every environment between two rounds of updates.
      updates: updates in a round.
      learning_starts: environment steps before the first update.
      epsilon: probability of a random action after exploration has decayed.
      epsilon_steps: environment steps over which it falls linearly from 1.
      exploration: `"same"`, that probability in every environment, or `"ladder"`, in environment i of E that
        to the power of `1 + 7 i / (E - 1)` [Horgan et al., 2018].
      checkpoint_interval: environment steps between two evaluations, each followed by a checkpoint.
      eval_episodes: episodes of such an evaluation.
      device: `"cpu"`, `"gpu"`, or `"auto"`, a GPU where there is one.
    """

    env_id: str
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    previous_action: bool = False
    previous_reward: bool = False
    action_mask: bool = False
    vectorization: Vectorization = "sync"
    seed: int = 0
    pretrained: str | None = None
    env_steps: int = 200_000
    num_envs: int = 16
    embedding: int = 64
    core: CoreConfig = field(default_factory=ScanNTMConfig)
    attention_window: int = 0
    attention: Attention = "soft"
    attention_entropy: float = 0.0
    region_attention: RegionAttention = "none"
    region_attention_heads: int = 4
    region_attention_entropy: float = 0.0
    hidden: int = 128
    hidden_layers: int = 1
    gamma: float = 0.99
    n_step: int = 1
    double_q: bool = True
    td_loss: Literal["huber", "squared"] = "huber"
    value_rescaling: bool = False
    target_tau: float = 0.01
    target_period: int = 1
    averaging: float = 0.0
    learning_rate: float = 3e-3
    temperature: float = 0.25
    gradient_clip: float = 1.0
    replay_capacity: int = 200_000
    sequence_length: int = 104
    burn_in: int = 0
    stored_state: bool = False
    priority_exponent: float = 0.0
    priority_correction: float = 0.6
    batch_size: int = 16
    collect_steps: int = 52
    updates: int = 4
    learning_starts: int = 5_000
    epsilon: float = 0.05
    epsilon_steps: int = 20_000
    exploration: Literal["same", "ladder"] = "same"
    checkpoint_interval: int = 20_000
    eval_episodes: int = 64
    device: Literal["auto", "cpu", "gpu"] = "auto"

    def __post_init__(self):
        for name in (
            "env_steps",
            "num_envs",
            "n_step",
            "target_period",
            "batch_size",
            "collect_steps",
            "updates",
            "epsilon_steps",
            "checkpoint_interval",
            "eval_episodes",
        ):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("gamma", "epsilon", "priority_exponent", "priority_correction"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        require(0 < self.target_tau <= 1, "target_tau", self.target_tau, "above 0 and at most 1")
        for name in ("learning_rate", "temperature", "gradient_clip"):
            value = getattr(self, name)
            require(0 < value < math.inf, name, value, "a finite number above 0")
        require(0 <= self.averaging < 1, "averaging", self.averaging, "in [0, 1)")
        require(0 <= self.seed < 2**32, "seed", self.seed, "between 0 and 2**32 - 1")
        require(self.sequence_length >= 2, "sequence_length", self.sequence_length, "at least 2")
        require(
            0 <= self.burn_in <= self.sequence_length - 2,
            "burn_in",
            self.burn_in,
            f"between 0 and sequence_length - 2 = {self.sequence_length - 2}",
        )
        require(
            self.n_step < self.sequence_length,
            "n_step",
            self.n_step,
            f"below sequence_length = {self.sequence_length}",
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
            attention=self.attention,
            attention_entropy=self.attention_entropy,
            region_attention=self.region_attention,
            region_attention_heads=self.region_attention_heads,
            region_attention_entropy=self.region_attention_entropy,
            hidden=self.hidden,
            hidden_layers=self.hidden_layers,
            action_mask=self.action_mask,
        )

    def to_json(self) -> str:
        """The configuration as JSON text, which `from_dict` of its parsed form gives back."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TrainConfig":
        """Builds a configuration from plain values; raises `InvalidInput` naming a field that does not fit.

        `core` may be a core's name or a dict with its `kind`.
        """
        require(isinstance(values, dict), "the configuration", values, "an object of fields and values")
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


_CORE_TYPE_HOOKS: Any = {tuple[str, ...]: _names, float: _float, int: _int}

# dacite looks hooks up by any annotation, unions included, though it declares plain types.
_TYPE_HOOKS: Any = {CoreConfig: _core, float: _float, int: _int}


@dataclass(frozen=True)
class Preset:
    """A named configuration for a family of tasks: what differs from `TrainConfig`'s defaults.

    Attributes:
      values: fields that are the same for the whole family.
      by_probe: fields that depend on what a few episodes tell of the environment, where there are any.
    """

    values: dict[str, Any]
    by_probe: Callable[[Probe], dict[str, Any]] | None = None


def _whole_episodes(found: Probe) -> dict[str, Any]:
    """A window holds an episode, the memory a slot for each of its frames; learning twice an episode.

    An update takes about 832 frames: of long episodes a few are enough, and more updates teach more. The
    longer an episode, the less may a head stray in a step: some 1.5 times in an episode at first.

    Random play of a game that a mistake ends says little of how long a good one lasts.
    """
    frames = max(found.frames, 64) if found.lengths_vary else found.frames
    windows = min(16, max(4, 832 // frames))
    return {
        "previous_action": found.needs_previous_action,
        "sequence_length": frames + 1,
        "core.slots": max(2, frames),
        "core.favourite_logit": max(5.0, 1.0 + math.log(frames)),
        "collect_steps": max(1, frames // 2),
        "batch_size": windows,
        "updates": 64 // windows,
    }


# What is seen depends on the actions, and velocities or goals are hidden. docs/learning.md has what was
# measured for it.
_CONTROL = {
    # A filter of noisy positions is learned better by its gates than by slots.
    "core": "lstm",
    "previous_action": True,
    "gamma": 0.997,
    "n_step": 2,
    # Returns are up to 300 rewards: Huber's loss would be linear nearly everywhere.
    "td_loss": "squared",
    "sequence_length": 33,
    "burn_in": 8,
    "stored_state": True,
    "collect_steps": 8,
    "updates": 8,
    "learning_rate": 1e-3,
    "target_tau": 0.05,
    # Where all experience is of playing well, the values of playing badly are forgotten.
    "exploration": "ladder",
    "epsilon": 0.7,
    "averaging": 0.99,
}

PRESETS: dict[str, Preset] = {
    # What was seen has to be recalled later, and actions do not decide what is seen: a short horizon removes
    # variance and costs nothing.
    "recall": Preset(
        {
            "gamma": 0.5,
            # Which of many answers is likeliest: their medians are all the same.
            "td_loss": "squared",
            # What was read may have to be told apart finely, as a count from the next.
            "hidden_layers": 2,
            # Two fifths of the memory's time, and no task that was measured needs them.
            "core.jumps": False,
        },
        _whole_episodes,
    ),
    "control": Preset(_CONTROL),
    # Screens, or boards drawn as images, with something that a single one does not show.
    "atari": Preset(
        {
            **_CONTROL,
            "gamma": 0.99,
            "n_step": 3,
            # Convolutions take most of an update: short windows, and only a few frames to warm up with.
            "sequence_length": 17,
            "burn_in": 4,
            "target_tau": 0.02,
            "epsilon": 0.4,
        },
    ),
    # A first answer within seconds, for vectors with short-lived secrets: a small network, which compiles and
    # runs quickly, and larger steps of learning from shorter windows.
    "fast": Preset(
        {
            **_CONTROL,
            "env_steps": 50_000,
            "core.units": 64,
            "embedding": 32,
            "hidden": 64,
            "gamma": 0.97,
            "n_step": 1,
            "sequence_length": 17,
            "burn_in": 4,
            "learning_rate": 2e-3,
            "learning_starts": 1_000,
            "epsilon_steps": 5_000,
            "target_tau": 0.02,
            "gradient_clip": 10.0,
            "epsilon": 0.4,
            "averaging": 0.9,
            "checkpoint_interval": 5_000,
        },
    ),
}


def make_config(
    env_id: str, *, preset: str | None = None, overrides: dict[str, Any] | None = None
) -> TrainConfig:
    """The configuration of `preset` for an environment, with `overrides` on top.

    Without a preset it is a recipe's own for `recipes/NAME`, and `recall` for any other environment. A
    recipe's settings come on top of the preset. Override keys are `TrainConfig`'s fields; `core` takes a
    core's name, and `core.slots` and the like set a field of the core. A preset may depend on how long
    episodes are and on what the environment says of itself: a few random ones are played then.

    Raises:
      InvalidInput: on an unknown preset or field, or a value that does not fit.

    Example:
      >>> make_config("popgym-RepeatPreviousEasy-v0", overrides={"core.slots": 64, "seed": 1})
    """
    recipe = RECIPES.get(env_id)
    preset = preset or (recipe.preset if recipe else "recall")
    require(preset in PRESETS, "preset", preset, f"one of {', '.join(PRESETS)}")
    overrides = {**(recipe.settings if recipe else {}), **(overrides or {})}
    if "env_id" in overrides:
        raise InvalidInput("env_id is given by itself and cannot be overridden")
    chosen = PRESETS[preset]
    values: dict[str, Any] = {"env_id": env_id, **chosen.values}
    preset_core = chosen.values.get("core", "scan_ntm")
    core = overrides.get("core", preset_core)
    if chosen.by_probe:
        values |= chosen.by_probe(
            probe(env_id, overrides.get("env_kwargs"), action_mask=overrides.get("action_mask", False))
        )
    if core != preset_core:  # whose fields the preset sets
        values = {key: value for key, value in values.items() if not key.startswith("core.")}
    values |= overrides
    core_fields = {key: values.pop(key) for key in list(values) if key.startswith("core.")}
    if core_fields:
        require(isinstance(core, str), "core", core, f"one of {', '.join(CORES)}")
        values["core"] = {"kind": core, **{k.removeprefix("core."): v for k, v in core_fields.items()}}
    return TrainConfig.from_dict(values)
