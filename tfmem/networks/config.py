"""What a `MemoryQNetwork` is made of."""

import math
from dataclasses import dataclass, field
from typing import Literal

from tfmem.errors import require

Attention = Literal["soft", "reinforce", "gumbel", "straight_through"]
RegionAttention = Literal["none", Attention]
# A layer wider than this is a slip of the pen: its weights would not fit into any memory.
WIDEST_LAYER = 2**16


def _require_width(name: str, width: int, least: int = 1) -> None:
    require(least <= width <= WIDEST_LAYER, name, width, f"at least {least} and at most {WIDEST_LAYER}")


@dataclass(frozen=True)
class ScanNTMConfig:
    """A `tfmem.layers.ScanNTM` core; the fields are the layer's arguments, with vector erase."""

    kind: Literal["scan_ntm"] = "scan_ntm"
    slots: int = 32
    width: int = 16
    read_heads: tuple[str, ...] = ("forward", "forward", "rewind", "stay", "write", "any", "write_2")
    write_heads: tuple[str, ...] = ("forward", "stay")
    controller_units: int = 64
    jumps: bool = True
    favourite_logit: float = 5.0

    def __post_init__(self):
        require(
            0 <= self.favourite_logit < math.inf,
            "core.favourite_logit",
            self.favourite_logit,
            "a finite number of 0 or more",
        )
        _require_width("core.slots", self.slots, least=2)
        _require_width("core.width", self.width)
        _require_width("core.controller_units", self.controller_units)
        moves = ("stay", "forward", "back", *(("jump",) if self.jumps else ()), "any")
        places = ("write", *(f"write_{i}" for i in range(2, len(self.write_heads) + 1)))
        jump = "" if self.jumps else " (and jump, with core.jumps=true)"
        for name, heads, modes, hint in (
            ("core.write_heads", self.write_heads, moves, jump),
            (
                "core.read_heads",
                self.read_heads,
                (*moves, *places, "content", "rewind"),
                f"{jump}, write_2 being where the second of core.write_heads is",
            ),
        ):
            valid = len(heads) >= 1 and all(head in modes for head in heads)
            require(valid, name, list(heads), f"one or more of {', '.join(modes)}{hint}")


@dataclass(frozen=True)
class LSTMConfig:
    """A Keras LSTM core."""

    kind: Literal["lstm"] = "lstm"
    units: int = 128

    def __post_init__(self):
        _require_width("core.units", self.units)


@dataclass(frozen=True)
class NoCoreConfig:
    """No core: Q-values of the current observation alone (and of the recent past, with attention)."""

    kind: Literal["none"] = "none"


CoreConfig = ScanNTMConfig | LSTMConfig | NoCoreConfig

CORES: dict[str, type[CoreConfig]] = {
    "scan_ntm": ScanNTMConfig,
    "lstm": LSTMConfig,
    "none": NoCoreConfig,
}


@dataclass(frozen=True)
class NetworkConfig:
    """Encoder, core and head of a `MemoryQNetwork`.

    Attributes:
      embedding: width of the encoded observation.
      core: what carries memory from step to step.
      attention_window: attention over this many most recent encoded observations, the current one included,
        is joined to the core's input; 0 for none.
      attention: `"soft"`, or hard attention by one of the estimators of `tfmem.layers.HardAttention`.
      attention_entropy: λ of the attention's entropy in the loss: positive sharpens, negative spreads.
      region_attention: `"none"`, or attention over the regions of the observation's one image, in place of
        all of its features: `"soft"`, or hard by an estimator as above. See
        `tfmem.networks.region_attention.RegionAttention`.
      region_attention_heads: its heads, or how many regions hard attention selects.
      region_attention_entropy: λ of its entropy in the loss.
      hidden: width of a hidden layer before the dueling head.
      hidden_layers: how many of them there are.
      action_slots: width of the slot that each action has for what was seen after it was last taken, one
        number of which says that it has been; 0 for no such slots. See
        `tfmem.networks.action_slots.ActionSlots`; the observation has to have a part `previous_action`.
      action_grid: cells along each axis of the grid that the actions are, in C order, as `(8, 8)` of a board;
        empty where they are none. Each is scored by what its neighbours found as well; needs `action_slots`.
        See `tfmem.networks.action_slots.Neighbourhoods`.
      tallies: width of the embeddings that components of the observation with the same categories share,
        whose sums over the episode tell how often what one shows now has been shown; 0 for none. See
        `tfmem.networks.tallies.Tallies`.
      action_mask: the observation has a part `action_mask` that says which actions are allowed.
    """

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
    action_slots: int = 0
    action_grid: tuple[int, ...] = ()
    tallies: int = 0
    action_mask: bool = False

    def __post_init__(self):
        _require_width("embedding", self.embedding)
        _require_width("hidden", self.hidden)
        _require_width("tallies", self.tallies, least=0)
        slots = self.action_slots
        require(slots == 0 or slots >= 2, "action_slots", slots, "0, or at least 2")
        grid = list(self.action_grid)
        require(all(cells >= 1 for cells in grid), "action_grid", grid, "numbers of cells, each at least 1")
        if not slots:
            needed = "[], as it is without slots of actions: set action_slots to at least 2"
            require(not grid, "action_grid", grid, needed)
        window = self.attention_window
        require(window == 0 or window >= 2, "attention_window", window, "0, or at least 2")
        if not window:
            needed = "as it is without attention: set attention_window to at least 2"
            require(self.attention == "soft", "attention", self.attention, f"'soft', {needed}")
            require(self.attention_entropy == 0, "attention_entropy", self.attention_entropy, f"0, {needed}")
        if self.region_attention == "none":
            entropy = self.region_attention_entropy
            needed = "0, as it is without attention over regions: set region_attention"
            require(entropy == 0, "region_attention_entropy", entropy, needed)
        heads = self.region_attention_heads
        require(heads >= 1, "region_attention_heads", heads, "at least 1")
        for name in ("attention_entropy", "region_attention_entropy"):
            require(math.isfinite(getattr(self, name)), name, getattr(self, name), "a finite number")
        require(self.hidden_layers >= 1, "hidden_layers", self.hidden_layers, "at least 1")
