"""What an episode shows of a policy's memory, for TensorBoard; docs/tensorboard.md says how to read it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.summary_pb2 import Summary as SummaryProto
from tensorboard.plugins.histogram.metadata import create_summary_metadata
from tensorboard.plugins.hparams import api as hparams
from tensorboard.plugins.scalar.summary_v2 import scalar_pb

from tfmem.inspection.summary import ATTENTION, READS, WRITES, entropy, summarize
from tfmem.inspection.trace import Trace
from tfmem.networks import MemoryQNetwork
from tfmem.serving import wire

HEADS = {READS: "read", WRITES: "write"}


@dataclass(frozen=True)
class Summaries:
    """What goes to TensorBoard at a step of training, by tag.

    Attributes:
      scalars: numbers.
      histograms: `[buckets, 3]` each: left edge, right edge and content of every bucket.
      images: `[height, width]` uint8 each, grey.
    """

    scalars: Mapping[str, float]
    histograms: Mapping[str, np.ndarray] = field(default_factory=dict)
    images: Mapping[str, np.ndarray] = field(default_factory=dict)

    def write(self, *, step: int) -> None:
        """Writes all to TensorFlow's default summary writer."""
        # In one message: a call of `tf.summary.scalar` for each takes ten times as long.
        scalars = SummaryProto()
        for tag, value in self.scalars.items():
            scalars.MergeFrom(scalar_pb(tag, value))
        tf.summary.experimental.write_raw_pb(scalars.SerializeToString(), step=step)
        for tag, buckets in self.histograms.items():
            tf.summary.write(tag, buckets, step=step, metadata=create_summary_metadata(None, None))
        for tag, image in self.images.items():
            tf.summary.image(tag, image[np.newaxis, :, :, np.newaxis], step=step)


def memory_summaries(episode: Trace, network: MemoryQNetwork) -> Summaries:
    """What an episode shows of the memory of the network that acted in it.

    Heads are counted from 1. What the network does not have is left out.

    | tag | what |
    | --- | --- |
    | `entropy/attention`, `entropy/read_1`, `entropy/write_1` | of weights, in nats, the mean over steps |
    | `slots_used/read_1`, `slots_used/write_1` | `exp −Σ_i u_i log u_i`, u_i the share of slot i in them |
    | `mean_distance/attention`, `mean_distance/read_1` | how many steps ago what is looked at came in |
    | `distance/attention`, `distance/read_1` | the histogram of it, as shares |
    | `modes/read_1/forward/mean`, `…/std` | probability of each mode of a head, over steps |
    | `erase/write_1/mean`, `…/std` | erase strengths of a head, over steps and numbers |
    | `memory/content` | slot × number, after the last step; 0 is grey, the largest size white or black |
    | `memory/read_weights`, `memory/write_weights` | slot × step, 1 is white; the heads beneath each other |
    | `memory/attention` | input × step, the oldest input at the top, 1 is white |

    Args:
      episode: of a policy over `network`, by `tfmem.inspection.trace`.
      network: the Q-network.
    """
    summary = summarize(episode)
    reaches = {READS: summary.reads, ATTENTION: summary.attention}
    distances = {
        head: share
        for name, reach in reaches.items()
        if reach
        for head, share in _by_head(name, reach.histogram).items()
    }
    scalars: dict[str, Any] = {}
    for name, values in summary.entropy.items():
        means = _by_head(name, np.atleast_1d(values.mean(axis=0)))
        scalars |= {f"entropy/{head}": mean for head, mean in means.items()}
    for name, shares in summary.usage.items():
        used = _by_head(name, np.exp(entropy(shares)))
        scalars |= {f"slots_used/{head}": slots for head, slots in used.items()}
    for head, share in distances.items():
        if share.sum() > 0:  # else all that was looked at had been there from the start
            scalars[f"mean_distance/{head}"] = share @ np.arange(len(share)) / share.sum()
    return Summaries(
        scalars={tag: float(value) for tag, value in (scalars | _controls(episode, network)).items()},
        histograms={f"distance/{head}": _buckets(share) for head, share in distances.items()},
        images=_images(episode),
    )


def write_hyperparameters(values: Mapping[str, Any], *, metric: str) -> None:
    """Writes a run's hyper-parameters, and which scalar tells how it ended, to the default summary writer.

    Args:
      values: nested mappings, whose names are joined by dots; what is no number, string or truth value is
        written as JSON.
      metric: the scalar's tag.
    """
    flat = dict(_flatten(values))
    hparams.hparams_config([hparams.HParam(name) for name in flat], [hparams.Metric(metric)])
    hparams.hparams(flat)


def _flatten(values: Mapping[str, Any], prefix: str = ""):
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            plain = isinstance(value, bool | int | float | str)
            yield f"{prefix}{name}", value if plain else json.dumps(value)


def _by_head(name: str, values: np.ndarray) -> dict[str, Any]:
    """`[H, ...]` of a part of the state by the heads' names."""
    if name == ATTENTION:
        return {ATTENTION: values[0]}
    return {f"{HEADS[name]}_{i}": value for i, value in enumerate(values, start=1)}


def _controls(episode: Trace, network: MemoryQNetwork) -> dict[str, Any]:
    """Mean and spread of the heads' modes and erase strengths."""
    memory = network.memory
    if memory is None:
        return {}
    spec = network.input_tensor_spec
    parts = [tf.constant(episode.observation[name]) for name in wire.flatten_observation(spec)]
    before = {
        name: tf.concat([episode.initial_state[name][np.newaxis], after[:-1]], axis=0)
        for name, after in episode.state.items()
    }
    controls = network.controls(tf.nest.pack_sequence_as(spec, parts), before)
    assert controls is not None  # there is a memory
    names = {READS: memory.read_modes, WRITES: memory.write_modes}
    modes = {READS: controls.read_modes, WRITES: controls.write_modes}
    samples = {  # [samples] each
        f"modes/{head}/{mode}": np.asarray(by_mode)[:, i]
        for part in modes
        for head, by_mode in _by_head(part, np.moveaxis(modes[part].numpy(), 1, 0)).items()
        for i, mode in enumerate(names[part])
    }
    erase = _by_head(WRITES, np.moveaxis(controls.erase.numpy(), 1, 0))
    samples |= {f"erase/{head}": strength for head, strength in erase.items()}
    means = {f"{tag}/mean": sample.mean() for tag, sample in samples.items()}
    return means | {f"{tag}/std": sample.std() for tag, sample in samples.items()}


def _buckets(share: np.ndarray) -> np.ndarray:
    """`[D]`, the share of each whole distance, as a histogram's buckets `[D, 3]`."""
    distance = np.arange(len(share))
    return np.stack([distance - 0.5, distance + 0.5, share], axis=1)


def _images(episode: Trace) -> dict[str, np.ndarray]:
    state = episode.state
    images = {f"memory/{name}": _grey(_beneath(state[name])) for name in HEADS if name in state}
    if ATTENTION in state:
        images[f"memory/{ATTENTION}"] = _grey(state[ATTENTION].T)
    if "memory" in state:
        content = state["memory"][-1]
        largest = np.abs(content).max()
        images["memory/content"] = _grey(0.5 + 0.5 * content / (largest or 1.0))
    return images


def _beneath(weights: np.ndarray) -> np.ndarray:
    """`[T, H, N]` as a picture `[H (N + 1) − 1, T]` of slots by steps, the heads apart by white lines."""
    by_head = np.moveaxis(weights, 0, -1)
    return np.pad(by_head, [(0, 0), (0, 1), (0, 0)], constant_values=1.0).reshape(-1, len(weights))[:-1]


def _grey(share: np.ndarray) -> np.ndarray:
    """Numbers from 0, black, to 1, white, as bytes."""
    return np.rint(255 * share.clip(0, 1)).astype(np.uint8)
