"""The scoreboard's rows: tasks, budgets, what is published of them, and the results that are there."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tfmem.environments import Probe
from tfmem.networks import ScanNTMConfig
from tfmem.recipes import RECIPES, Recipe
from tfmem.training import PRESETS, TrainConfig

RESULTS = Path(__file__).parent.resolve() / "results" / "scoreboard"
EPISODES = 100  # that a return is the mean of

POPGYM = "POPGym, PPO, best of 13 models, 15 M steps, maximum over epochs (Morad et al., 2023, appendix)"
MEMOROIDS = "DDQN with memoroids, 10 k to 20 k episodes (Morad et al., 2024, read off a figure)"
SHM = "Stable Hadamard Memory, 15 M steps (Le et al., 2024)"


@dataclass(frozen=True)
class Row:
    """An environment, the budget, and the best figure published for it."""

    name: str
    env_id: str
    steps: int
    published: float | None
    source: str
    preset: str = "recall"
    env_kwargs: tuple[tuple[str, Any], ...] = ()
    seeds: int = 3
    systems: tuple[str, ...] = ("scan_ntm",)
    greatest: float | None = 1.0  # return, where there is one
    evaluated_on: tuple[str, ...] = ()  # arguments of the environment in evaluation, key=value
    observed: tuple[tuple[str, Any], ...] = ()  # arguments that show what has to be remembered
    settings: tuple[str, ...] = ()  # fields of TrainConfig that a recipe sets beside the preset

    @property
    def title(self) -> str:
        arguments = ", ".join(f"{name}={value}" for name, value in self.env_kwargs)
        short = self.env_id.rpartition(":")[2].removeprefix("popgym-").removesuffix("-v0")
        if self.evaluated_on:
            return f"{short}, {', '.join(self.evaluated_on)}"
        return f"{short}({arguments})" if arguments else short


def popgym(task: str) -> str:
    return f"popgym-{task}-v0"


THREE = ("scan_ntm", "lstm", "none")
PEERS_OF_OURS = ("frame_stack", "tf_agents", "recurrent_ppo", "tianshou")
BASELINES = (*THREE, *PEERS_OF_OURS)
CONTROL_BASELINES = ("lstm", "scan_ntm", "none", *PEERS_OF_OURS)  # the preset's own core first
# From the top down: what is measured first.
ROWS = (
    Row(
        "repeat_previous_easy", popgym("RepeatPreviousEasy"), 50_000, 1.0, POPGYM, seeds=5, systems=BASELINES
    ),
    Row("repeat_first_easy", popgym("RepeatFirstEasy"), 50_000, 1.0, MEMOROIDS, seeds=5),
    Row("repeat_first_medium", popgym("RepeatFirstMedium"), 400_000, 1.0, POPGYM),
    Row(
        "repeat_previous_2_10",
        "popgym_sizes:RepeatPrevious-v0",
        200_000,
        1.0,
        MEMOROIDS,
        env_kwargs=(("num_decks", 2), ("k", 10)),
        seeds=5,
    ),
    Row("autoencode_easy", popgym("AutoencodeEasy"), 300_000, 0.495, SHM, seeds=5, systems=BASELINES),
    Row("repeat_previous_medium", popgym("RepeatPreviousMedium"), 200_000, 0.789, POPGYM, systems=THREE),
    Row("repeat_previous_hard", popgym("RepeatPreviousHard"), 200_000, 0.191, POPGYM),
    Row("autoencode_medium", popgym("AutoencodeMedium"), 300_000, -0.420, POPGYM),
    Row("autoencode_hard", popgym("AutoencodeHard"), 400_000, -0.448, POPGYM),
    Row("count_recall_easy", popgym("CountRecallEasy"), 400_000, 0.575, MEMOROIDS),
    Row("count_recall_medium", popgym("CountRecallMedium"), 400_000, -0.519, POPGYM),
    Row("count_recall_hard", popgym("CountRecallHard"), 400_000, -0.470, POPGYM),
    Row(
        "repeat_previous_10_256",
        "popgym_sizes:RepeatPrevious-v0",
        1_000_000,
        None,
        "",
        env_kwargs=(("num_decks", 10), ("k", 256)),
    ),
    Row("autoencode_6", "popgym_sizes:Autoencode-v0", 600_000, None, "", env_kwargs=(("num_decks", 6),)),
    Row(
        "memory_len_30",
        "memory_chain:MemoryChain-v0",
        310_000,
        None,
        "",
        env_kwargs=(("length", 30),),
        systems=THREE,
    ),
    Row("memory_len_100", "memory_chain:MemoryChain-v0", 500_000, None, "", env_kwargs=(("length", 100),)),
    Row(
        "memory_size_10",
        "memory_chain:MemoryChain-v0",
        100_000,
        None,
        "",
        env_kwargs=(("length", 2), ("bits", 10)),
        systems=THREE,
    ),
    # Whether the next card is higher; which cards are left is worth little more than the card that is seen.
    *(
        Row(
            f"higher_lower_{size.lower()}",
            popgym(f"HigherLower{size}"),
            200_000,
            published,
            POPGYM,
            systems=THREE,
            greatest=None,
        )
        for size, published in (("Easy", 0.529), ("Medium", 0.513), ("Hard", 0.509))
    ),
    # Games whose state is what each action has found so far. What is published of each was not at hand.
    *(
        Row(
            f"{game.lower()}_{size.lower()}",
            popgym(f"{game}{size}"),
            300_000,
            None,
            "",
            systems=THREE if size == "Easy" else ("scan_ntm",),
            greatest=None,
        )
        for game in ("Battleship", "Concentration", "MineSweeper")
        for size in ("Easy", "Medium", "Hard")
    ),
    *(
        Row(
            f"position_only_cartpole_{size.lower()}",
            popgym(f"PositionOnlyCartPole{size}"),
            steps,
            1.0,
            POPGYM,
            preset="control",
            systems=systems,
        )
        for size, steps, systems in (
            ("Easy", 100_000, CONTROL_BASELINES),
            ("Medium", 150_000, ("lstm", "none")),
            ("Hard", 150_000, ("lstm", "none")),
        )
    ),
    # The other half of CartPole's state. Its identifier in POPGym has a small p.
    *(
        Row(
            f"velocity_only_cartpole_{size.lower()}",
            popgym(f"VelocityOnlyCartpole{size}"),
            steps,
            None,
            "",
            preset="control",
            systems=("lstm", "none"),
        )
        for size, steps in (("Easy", 100_000), ("Medium", 150_000), ("Hard", 150_000))
    ),
    *(
        Row(
            f"noisy_position_only_cartpole_{size.lower()}",
            popgym(f"NoisyPositionOnlyCartPole{size}"),
            150_000,
            published,
            POPGYM,
            preset="control",
            systems=("lstm", "none"),
        )
        for size, published in (("Medium", 0.659), ("Hard", 0.404))
    ),
    # The size between those of the recipes.
    Row(
        "memory_s9",
        "recipes/memory-s7",
        300_000,
        None,
        "",
        preset="control",
        env_kwargs=(("env_id", "MiniGrid-MemoryS9-v0"),),
        systems=("lstm", "none"),
        greatest=None,
    ),
    *(
        Row(f"fast_{name}", popgym(task), 50_000, 1.0, POPGYM, preset="fast", systems=("lstm",))
        for name, task in (
            ("repeat_previous_easy", "RepeatPreviousEasy"),
            ("position_only_cartpole_easy", "PositionOnlyCartPoleEasy"),
        )
    ),
)
# What training has not seen.
HELD_OUT = {"battery": ("weeks=held_out",), "dark-room-9": ("goals=held_out",)}
# What shows all along what has to be remembered.
OBSERVED = {
    "battery": (("prices", "always"),),
    "connect-four": (("observation", "board"),),
    "reach": (("goal", "always"),),
}


def of_recipe(recipe: Recipe) -> Row:
    core = recipe.settings.get("core", PRESETS[recipe.preset].values.get("core", "scan_ntm"))
    others = tuple(other for other in THREE if other != core)
    return Row(
        recipe.name.replace("-", "_"),
        recipe.env_id,
        recipe.settings["env_steps"],
        None,
        "",
        preset=recipe.preset,
        systems=(core, *others, *(["observed"] if recipe.name in OBSERVED else [])),
        greatest=None,
        evaluated_on=HELD_OUT.get(recipe.name, ()),
        observed=OBSERVED.get(recipe.name, ()),
        settings=tuple(recipe.settings),
    )


RECIPE_ROWS = tuple(map(of_recipe, RECIPES.values()))
SYSTEMS = {
    "scan_ntm": "external memory (ScanNTM)",
    "lstm": "LSTM",
    "none": "no memory",
    "observed": "the first of these, shown all along what has to be remembered",
    "frame_stack": "the last 4 frames",
    "tf_agents": "TF-Agents' DqnAgent and QRnnNetwork, LSTM",
    "recurrent_ppo": "sb3-contrib's RecurrentPPO, LSTM",
    "tianshou": "tianshou's recurrent double DQN, LSTM",
}
# Of those, what runs in PyTorch, with settings of its own.
PYTORCH = ("recurrent_ppo", "tianshou")


def results_of(row: Row) -> list[dict]:
    path = RESULTS / f"{row.name}.json"
    return json.loads(path.read_text())["runs"] if path.exists() else []


def outdated(row: Row, run: dict) -> bool:
    """Whether the preset, the memory's heads, or what else decides, have been changed since the run."""
    config = run["config"]
    if "env_id" not in config:  # settings of another library
        return False
    if "earlier" in run:  # what was different then, noted where the configuration does not tell
        return True
    # A field that a run's configuration does not have yet was as its default is.
    then = {field.name: field.default for field in fields(TrainConfig)} | config
    preset = PRESETS[row.preset]
    values = preset.values
    if preset.by_probe:
        found = Probe(
            frames=config["sequence_length"] - 1,
            lengths_vary=False,
            needs_previous_action=config["previous_action"],
            action_grid=(),
            rewards_dense=config["value_rescaling"],
            observation_spec=(),
        )
        values = values | preset.by_probe(found)
    core = {"jumps": True, "favourite_logit": 5.0} | config["core"]
    if core["kind"] != ScanNTMConfig.kind:  # `make_config` keeps these for the preset's own core
        values = {name: value for name, value in values.items() if name != "action_slots"}
    heads = ScanNTMConfig(
        jumps=values.get("core.jumps", True), favourite_logit=values.get("core.favourite_logit", 5.0)
    )
    if core["kind"] == heads.kind and (
        [core["read_heads"], core["write_heads"], core["jumps"], core["favourite_logit"]]
        != [list(heads.read_heads), list(heads.write_heads), heads.jumps, heads.favourite_logit]
    ):
        return True
    # The grid of actions, how often it rewards and what its observations are made of are the environment's,
    # which is not made here: runs without a grid or tallies, or with values squeezed where they are not now,
    # or the reverse, are noted `earlier`.
    cell = {"core", "env_steps", "checkpoint_interval", "action_grid", "tallies"} | set(row.settings)
    return any(then[name] != value for name, value in values.items() if name.partition(".")[0] not in cell)
