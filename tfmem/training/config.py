"""What a training run is: one frozen configuration, with its JSON form."""

import dataclasses
import difflib
import json
import math
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

import dacite

from tfmem.environments import Vectorization
from tfmem.errors import InvalidInput, require
from tfmem.networks import CoreConfig, NetworkConfig, ScanNTMConfig
from tfmem.networks.config import CORES, Attention, RegionAttention


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
        observations, actions and the network are of the same shapes. A ScanNTM may have another number of
        slots: its initial state, which is where heads start and what the memory holds then, is a new one.
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
      action_slots: see `tfmem.networks.NetworkConfig`; needs `previous_action`.
      action_grid: see `tfmem.networks.NetworkConfig`; needs `action_slots`.
      tallies: see `tfmem.networks.NetworkConfig`.
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
        Environments start again after one, so between two there should be several episodes of each.
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
    action_slots: int = 0
    action_grid: tuple[int, ...] = ()
    tallies: int = 0
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
        largest = self.replay_capacity // self.sequence_length
        require(
            self.batch_size <= largest,
            "batch_size",
            self.batch_size,
            f"at most replay_capacity / sequence_length = {largest}",
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
            action_slots=self.action_slots,
            action_grid=self.action_grid,
            tallies=self.tallies,
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
        return _built(cls, values, _TYPE_HOOKS)


# What a field of a type takes, as JSON has it.
_TAKES: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    str | None: "a text or null",
}


def _built(cls: type, values: dict[str, Any], hooks: Any, prefix: str = "") -> Any:
    """A dataclass from plain values; `prefix` is where they are in the configuration, for messages."""
    try:
        return dacite.from_dict(cls, values, dacite.Config(strict=True, type_hooks=hooks))
    except dacite.WrongTypeError as error:
        name, wanted = str(error.field_path), error.field_type
        choices = ", ".join(map(repr, typing.get_args(wanted)))
        is_choice = typing.get_origin(wanted) is Literal
        takes = f"one of {choices}" if is_choice else _TAKES.get(wanted, 'an object such as {"name": 1}')
        raise InvalidInput(f"{prefix}{name} must be {takes}, not {values.get(name)!r}") from error
    except dacite.UnexpectedDataError as error:
        unknown = min(map(str, error.keys))
        known = [one.name for one in dataclasses.fields(cls) if one.name != "kind"]
        nearest = [prefix + name for name in difflib.get_close_matches(unknown, known, n=3) or known]
        raise InvalidInput(f"there is no field {prefix}{unknown}; nearest: {', '.join(nearest)}") from error
    except dacite.DaciteError as error:
        raise InvalidInput(f"configuration: {error}") from error


def _int(value: Any) -> Any:
    # To Python, true is an integer.
    return str(value) if isinstance(value, bool) else value


def _grid(value: Any) -> Any:
    whole = isinstance(value, list | tuple) and all(type(cells) is int for cells in value)
    require(whole, "action_grid", value, "a list of whole numbers such as [8, 8]")
    return tuple(value)


def _names(value: Any) -> Any:
    named = isinstance(value, list | tuple) and all(isinstance(head, str) for head in value)
    require(named, "heads", value, 'a list such as ["forward", "any"]')
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
    return _built(CORES[kind], fields, _CORE_TYPE_HOOKS, prefix="core.")


_CORE_TYPE_HOOKS: Any = {tuple[str, ...]: _names, float: _float, int: _int}

# dacite looks hooks up by any annotation, unions included, though it declares plain types.
_TYPE_HOOKS: Any = {CoreConfig: _core, tuple[int, ...]: _grid, float: _float, int: _int}
