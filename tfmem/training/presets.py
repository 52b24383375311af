"""Presets: what a family of tasks needs, and the configuration of one for an environment."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfmem.environments import Probe, probe
from tfmem.errors import InvalidInput, require
from tfmem.networks.tallies import alike
from tfmem.recipes import RECIPES
from tfmem.training.config import TrainConfig


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

    Random play of a game that a mistake ends says little of how long a good one lasts: where lengths vary
    there is room for 64 frames at least.

    Episodes of which the probe has not seen the end do not fit: windows inside of them then start with the
    memory that the policy had there, and warm it up by an eighth of their frames.

    Where observations are said to mean little without the action that led to them, what has to be remembered
    is what each action found, and, where actions have several components, as a board's row and column, what
    those beside it did: any MultiDiscrete actions are taken for a grid, which overriding `action_grid` with
    `[]` undoes.

    Where a few components of the observation have the same categories, one may ask about another: how often
    each has shown what the others show is tallied. Sums over episodes whose end is not in sight have no
    bound, and so none are kept there.
    """
    frames = max(found.frames, 64) if found.lengths_vary else found.frames
    windows = min(16, max(4, 832 // frames))
    return {
        "stored_state": found.cut,
        "burn_in": frames // 8 if found.cut else 0,
        "previous_action": found.needs_previous_action,
        "action_slots": 8 if found.needs_previous_action else 0,
        "action_grid": found.action_grid,
        "tallies": 32 if _asks(found) and not (found.cut or found.needs_previous_action) else 0,
        "sequence_length": frames + 1,
        "core.slots": max(2, frames),
        "core.favourite_logit": max(5.0, 1.0 + math.log(frames)),
        "collect_steps": max(1, frames // 2),
        "batch_size": windows,
        "updates": 64 // windows,
    }


def _asks(found: Probe) -> bool:
    """Whether two to four components have the same categories; more are a picture, or a table."""
    groups = [components for _, _, components in alike(found.observation_spec)]
    return 2 <= max(groups, default=0) <= 4


def _values_of_many_rewards(found: Probe) -> dict[str, Any]:
    """Values are squeezed where most steps are rewarded.

    They are of hundreds of rewards then, and those near an episode's end of a few: squeezed, these are told
    apart better. Where one reward is all there is, squeezing would only make what has to be told apart
    smaller.
    """
    return {"value_rescaling": found.rewards_dense}


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
    "control": Preset(_CONTROL, _values_of_many_rewards),
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

    Another core than the preset's comes without the preset's slots of actions and tallies, which are part of
    what it remembers. A policy that is not shown the previous action comes without the slots as well, and
    without slots there is no grid.

    Without a preset it is a recipe's own for `recipes/NAME`, and `recall` for any other environment. A
    recipe's settings come on top of the preset. Override keys are `TrainConfig`'s fields; `core` takes a
    core's name, or a dict of its `kind` and fields, and `core.slots` and the like set a field of the core.
    A preset may depend on how long episodes are, on how often they reward and on what the environment says
    of itself: a few random ones are played then.

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
    if "core.kind" in overrides:
        raise InvalidInput(f"core.kind is set by core alone, as core={overrides['core.kind']}")
    if isinstance(overrides.get("core"), dict):  # its fields, as if each were given by itself
        fields = {"core" if key == "kind" else f"core.{key}": v for key, v in overrides["core"].items()}
        overrides |= {"core": None, **fields}
    env_kwargs = overrides.get("env_kwargs", {})
    require(isinstance(env_kwargs, dict), "env_kwargs", env_kwargs, 'an object such as {"name": 1}')
    chosen = PRESETS[preset]
    values: dict[str, Any] = {"env_id": env_id, **chosen.values}
    preset_core = chosen.values.get("core", "scan_ntm")
    core = overrides.get("core", preset_core)
    if chosen.by_probe:
        values |= chosen.by_probe(probe(env_id, env_kwargs, action_mask=overrides.get("action_mask", False)))
    if core != preset_core:  # whose fields the preset sets
        values = {key: value for key, value in values.items() if not key.startswith("core.")}
        values.pop("tallies", None)
    if core != preset_core or not overrides.get("previous_action", True):
        values.pop("action_slots", None)
    # What neighbours found is in their slots.
    if not (values | overrides).get("action_slots"):
        values.pop("action_grid", None)
    values |= overrides
    core_fields = {key: values.pop(key) for key in list(values) if key.startswith("core.")}
    if core_fields:
        values["core"] = {"kind": core, **{k.removeprefix("core."): v for k, v in core_fields.items()}}
    return TrainConfig.from_dict(values)
