"""What of its episodes a page holds, within its size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfmem.inspection.report.contents import Episode
from tfmem.inspection.report.packing import Packed, Series, pack
from tfmem.inspection.report.pictures import Pictures, as_frames, is_image, pictures
from tfmem.networks.memory_q_network import REGION_ATTENTION

# The share of pictures, where an episode has some.
_PICTURES = 0.35
# Parts of the state that are weights: where steps are joined, a peak stays.
_WEIGHTS = ("attention", "read_weights", "write_weights")
_SHOWN_STATE = (*_WEIGHTS, "memory", "action_slots", "hidden", "cell")


@dataclass(frozen=True)
class Material:
    """An episode as the page holds it.

    Attributes:
      arrays: by name, one row for a step or for several.
      pictures: what can be looked at: `"frames"`, and parts of the observation by name.
      observation: names of the parts of the observation that are told in numbers.
    """

    arrays: dict[str, Packed]
    pictures: dict[str, Pictures]
    observation: list[str]

    @property
    def characters(self) -> int:
        """What it takes in the page."""
        images = [image for shown in self.pictures.values() for image in shown.images]
        return sum(len(one.data) for one in self.arrays.values()) + sum(map(len, images))

    @property
    def thinned(self) -> dict[str, int]:
        """Steps to a row of what does not have every step, by name."""
        held: dict[str, Packed | Pictures] = {**self.arrays, **self.pictures}
        return {name: one.every for name, one in held.items() if one.every > 1}


def gather(episode: Episode, *, budget: int) -> Material:
    """An episode in at most `budget` characters, more only where what must stay whole takes more."""
    trace = episode.trace
    images = {name: values for name, values in trace.observation.items() if is_image(values)}
    looked_at = {} if trace.frames is None else {"frames": trace.frames}
    looked_at |= {name: as_frames(values) for name, values in images.items()}
    each = int(_PICTURES * budget) // max(1, len(looked_at))
    shown = {name: pictures(frames, budget=each) for name, frames in looked_at.items()}
    budget -= sum(len(image) for one in shown.values() for image in one.images)
    told = [name for name in trace.observation if name not in images]
    series = {name: Series(trace.observation[name]) for name in told}
    series |= {
        name: Series(values, whole=True)
        for name, values in {
            "action": trace.action,
            "q_values": trace.q_values,
            "reward": trace.reward,
            "td_error": trace.td_error,
            "return_so_far": np.cumsum(trace.reward, dtype=np.float64),
            **{aside(name): values for name, values in episode.asides.items()},
        }.items()
    }
    if REGION_ATTENTION in trace.explained:
        series[REGION_ATTENTION] = Series(trace.explained[REGION_ATTENTION], peaks=True)
    if episode.detailed:
        series |= {
            name: Series(trace.state[name], peaks=name in _WEIGHTS)
            for name in _SHOWN_STATE
            if name in trace.state
        }
    return Material(pack(series, budget=budget), shown, told)


def aside(name: str) -> str:
    """The name among an episode's arrays of one of its asides."""
    return f"aside: {name}"


def every_array(episodes: Sequence[Episode]) -> dict[str, Any]:
    """All arrays of the episodes, by names such as `0/state/memory`: the episode, then the field."""
    arrays: dict[str, Any] = {}
    for i, episode in enumerate(episodes):
        trace = episode.trace
        for name in ("action", "q_values", "reward", "td_error"):
            arrays[f"{i}/{name}"] = getattr(trace, name)
        if trace.frames is not None:
            arrays[f"{i}/frames"] = trace.frames
        for group in ("observation", "state", "initial_state", "explained"):
            arrays |= {f"{i}/{group}/{name}": values for name, values in getattr(trace, group).items()}
    return arrays
