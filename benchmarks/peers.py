"""Peers of the layers on the copy task: an NTM in PyTorch, and the DNC of the package `dnc`.

PyTorch does not belong in the environment of tfmem; the peers run in one of their own, without TensorFlow:

    python -m venv .venv-peers && .venv-peers/bin/pip install torch==2.13.0 numpy dnc==1.1.0
    PYTHONPATH=. .venv-peers/bin/python benchmarks/peers.py pytorch_ntm
    PYTHONPATH=. .venv-peers/bin/python benchmarks/peers.py pytorch_ntm --batch 1
    PYTHONPATH=. .venv-peers/bin/python benchmarks/peers.py pytorch_ntm_as_published
    PYTHONPATH=. .venv-peers/bin/python benchmarks/peers.py dnc

The task, its lengths, the sizes and the criterion are those of algorithmic_tasks.py. `pytorch_ntm` is written
here from the design of github.com/loudinthecloud/pytorch-ntm: an LSTM controller, one read and one write
head, its initial values, RMSprop at 1e-4 and batches of 1, one step of Python for each step of the sequence.
It shifts the weights of the whole batch at once; `pytorch_ntm_as_published` does so one sequence after the
other, as the original does. `dnc` has the same sizes; its controller does not see what was read before
(version 1.1.0 feeds it zeros instead).

Measured are the sequences trained on in a second, and those needed until the mean over the latest 100
batches (1000 at batches of 1) is below 0.01 wrong bits a sequence, or until `--seconds` are over.

Writes benchmarks/results/copy_peer_<name>.json, or copy_peer_<name>_batch_<n>.json for batches not of 32.
"""

import argparse
import collections
import functools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import provenance
from torch import Tensor, nn
from torch.nn import functional as F

from tfmem.tasks import Batch, Copy

RESULTS = Path(__file__).parent / "results"
TASK = Copy()
LENGTHS = (1, 2, 3, 5, 8, 12, 16, 20)  # these two lines as in algorithmic_tasks.py, which imports TensorFlow
BATCH, SLOTS, WIDTH, UNITS = 32, 128, 20, 100
SHIFTS = (-1, 0, 1)
REPEATS = 10
RATES = {  # of learning, and where they are from
    "RMSprop": (1e-4, "published with pytorch-ntm"),
    "Adam": (2e-3, "the best of 1e-3, 2e-3 and 3e-3 for pytorch_ntm in 110 s of seed 100; not tuned for dnc"),
}
CLIP = 10.0


def shift_batch(weights: Tensor, probabilities: Tensor) -> Tensor:
    """Circular convolution of `[B, slots]` with `[B, shifts]`."""
    rolled = torch.stack([weights.roll(by, dims=-1) for by in SHIFTS], dim=1)
    return torch.einsum("bsn,bs->bn", rolled, probabilities)


def shift_each(weights: Tensor, probabilities: Tensor) -> Tensor:
    """The same, one sequence after the other."""
    wrapped = F.pad(weights, (1, 1), mode="circular")
    # conv1d correlates; turned round, the probabilities are its kernel.
    pairs = zip(wrapped, probabilities.flip(-1), strict=True)
    return torch.stack([F.conv1d(w.view(1, 1, -1), p.view(1, 1, -1)).view(-1) for w, p in pairs])


class Head(nn.Module):
    """Addressing: by content, then interpolated with the previous weights, shifted and sharpened."""

    def __init__(self, shift: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self._shift = shift
        self._parts = [WIDTH, 1, 1, len(SHIFTS), 1]
        self._parameters_of = nn.Linear(UNITS, sum(self._parts))
        nn.init.xavier_uniform_(self._parameters_of.weight, gain=1.4)
        nn.init.normal_(self._parameters_of.bias, std=0.01)

    def forward(self, hidden: Tensor, memory: Tensor, previous: Tensor) -> Tensor:
        """The weights `[B, slots]` of this step."""
        key, strength, gate, shift, sharpening = self._parameters_of(hidden).split(self._parts, dim=-1)
        similarity = F.cosine_similarity(memory, key.unsqueeze(1), dim=-1)
        by_content = torch.softmax(F.softplus(strength) * similarity, dim=-1)
        gated = torch.lerp(previous, by_content, torch.sigmoid(gate))
        sharp = self._shift(gated, torch.softmax(shift, dim=-1)) ** (1 + F.softplus(sharpening))
        return sharp / (sharp.sum(dim=-1, keepdim=True) + 1e-16)


class NTM(nn.Module):
    """Logits `[B, T, outputs]` of inputs `[B, T, features]`; at each step it reads, then writes."""

    def __init__(self, shift: Callable[[Tensor, Tensor], Tensor] = shift_batch) -> None:
        super().__init__()
        self._controller = nn.LSTMCell(TASK.features + WIDTH, UNITS)
        self._reader, self._writer = Head(shift), Head(shift)
        self._erase_and_add = nn.Linear(UNITS, 2 * WIDTH)
        self._answer = nn.Linear(UNITS + WIDTH, TASK.outputs)
        self._hidden = nn.Parameter(0.05 * torch.randn(1, UNITS))
        self._cell = nn.Parameter(0.05 * torch.randn(1, UNITS))
        self.register_buffer("_read", 0.01 * torch.randn(1, WIDTH))
        bound = (SLOTS + WIDTH) ** -0.5
        self.register_buffer("_memory", torch.empty(1, SLOTS, WIDTH).uniform_(-bound, bound))
        bound = 5 * (TASK.features + WIDTH + UNITS) ** -0.5
        for name, parameter in self._controller.named_parameters():
            nn.init.zeros_(parameter) if "bias" in name else nn.init.uniform_(parameter, -bound, bound)
        for layer, gain in ((self._erase_and_add, 1.4), (self._answer, 1.0)):
            nn.init.xavier_uniform_(layer.weight, gain=gain)
            nn.init.normal_(layer.bias, std=0.01)

    def forward(self, inputs: Tensor) -> Tensor:
        size = len(inputs)
        hidden, cell, read = (start.expand(size, -1) for start in (self._hidden, self._cell, self._read))
        memory = self._memory.expand(size, -1, -1)
        reading = writing = inputs.new_zeros(size, SLOTS)
        logits = []
        for x in inputs.unbind(1):
            hidden, cell = self._controller(torch.cat([x, read], dim=-1), (hidden, cell))
            reading = self._reader(hidden, memory, reading)
            read = (reading.unsqueeze(1) @ memory).squeeze(1)
            writing = self._writer(hidden, memory, writing)
            erase, add = self._erase_and_add(hidden).unsqueeze(1).chunk(2, dim=-1)
            where = writing.unsqueeze(-1)
            memory = memory * (1 - where * torch.sigmoid(erase)) + where * add
            logits.append(self._answer(torch.cat([hidden, read], dim=-1)))
        return torch.stack(logits, dim=1)


class DNC(nn.Module):
    """The package's DNC. Its output is as wide as its input; what is wider than the answer is not used."""

    def __init__(self) -> None:
        super().__init__()
        import dnc  # here, since the NTM runs without it

        sizes = {"nr_cells": SLOTS, "cell_size": WIDTH, "read_heads": 1, "num_hidden_layers": 1}
        self._dnc = dnc.DNC(TASK.features, UNITS, **sizes)

    def forward(self, inputs: Tensor) -> Tensor:
        return self._dnc(inputs)[0][..., : TASK.outputs]


PEERS: dict[str, Callable[[], nn.Module]] = {
    "pytorch_ntm": NTM,
    "pytorch_ntm_as_published": functools.partial(NTM, shift_each),
    "dnc": DNC,
}


def make_optimizer(model: nn.Module, batch_size: int, rate: float | None) -> torch.optim.Optimizer:
    """The published one for batches of 1; for larger ones, whose gradients are less noisy, a faster one."""
    if batch_size == 1:
        return torch.optim.RMSprop(
            model.parameters(), lr=rate or RATES["RMSprop"][0], momentum=0.9, alpha=0.95
        )
    return torch.optim.Adam(model.parameters(), lr=rate or RATES["Adam"][0])


class Learner:
    """A model and its optimiser, from the start of a seed."""

    def __init__(self, peer: str, batch_size: int, seed: int, rate: float | None = None):
        torch.manual_seed(seed)
        self._rng = np.random.default_rng(seed)
        self._batch_size = batch_size
        self.model = PEERS[peer]()
        self.optimizer = make_optimizer(self.model, batch_size, rate)

    def step(self, length: int | None = None) -> float:
        """Trains on one batch, of any of the lengths unless given; returns its wrong bits a sequence."""
        length = length or int(self._rng.choice(LENGTHS))
        batch = TASK.sample(self._rng, batch_size=self._batch_size, length=length)
        inputs, targets, mask = map(torch.from_numpy, Batch(*batch))
        counted = mask > 0
        logits, targets = self.model(inputs)[counted], targets[counted]
        self.optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(logits, targets).backward()
        nn.utils.clip_grad_value_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return int(((logits > 0) != (targets > 0.5)).sum()) / self._batch_size


def throughput(peer: str, batch_size: int) -> float:
    """Sequences trained on in a second when every length is as frequent, the median of some passes."""
    learner = Learner(peer, batch_size, seed=0)
    rates = []
    for _ in range(1 + REPEATS):
        started = time.perf_counter()
        for length in LENGTHS:
            learner.step(length)
        rates.append(len(LENGTHS) * batch_size / (time.perf_counter() - started))
    return round(statistics.median(rates[1:]), 1)  # the first pass warms up


def train(learner: Learner, batch_size: int, budget: float) -> dict[str, Any]:
    """Trains until converged, or for `budget` seconds."""
    window = 1000 if batch_size == 1 else 100
    recent: collections.deque[float] = collections.deque(maxlen=window)
    curve: list[list[float]] = []
    batches, seconds, started = 0, 0.0, time.perf_counter()
    converged = False
    while not converged and seconds < budget:
        recent.append(learner.step())
        batches += 1
        seconds = time.perf_counter() - started
        mean = statistics.fmean(recent)
        converged = len(recent) == window and mean < 0.01
        if batches % window == 0:
            curve.append([batches * batch_size, round(seconds, 1), round(mean, 4)])
            print(curve[-1], flush=True)
    return {
        "converged": converged,
        "sequences": batches * batch_size,
        "seconds": round(seconds, 1),
        "wrong_bits": round(mean, 4),
        "curve": curve,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("peer", choices=sorted(PEERS))
    parser.add_argument("--batch", type=int, default=BATCH, help="sequences in a batch of the training run")
    parser.add_argument("--seconds", type=float, default=600, help="the most the training run may take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, help="another learning rate, for tuning")
    parser.add_argument("--print-only", action="store_true", help="write no result, for tuning")
    arguments = parser.parse_args()
    rates = {str(size): throughput(arguments.peer, size) for size in (BATCH, 1)}
    print({"sequences_per_second_at_batch": rates}, flush=True)
    learner = Learner(arguments.peer, arguments.batch, arguments.seed, arguments.rate)
    run = train(learner, arguments.batch, arguments.seconds)
    optimizer = type(learner.optimizer).__name__
    content = {
        "task": f"copy, lengths {LENGTHS}, {TASK.bits} bits, batches of {arguments.batch}",
        "peer": arguments.peer,
        "parameters": sum(p.numel() for p in learner.model.parameters()),
        "optimizer": optimizer,
        "learning_rate": learner.optimizer.param_groups[0]["lr"],
        "learning_rate_from": "--rate" if arguments.rate else RATES[optimizer][1],
        **provenance(["torch", "numpy", *(["dnc"] if arguments.peer == "dnc" else [])]),
        "threads": torch.get_num_threads(),
        "sequences_per_second_at_batch": rates,
        "seed": arguments.seed,
        **run,
    }
    print({k: v for k, v in content.items() if k != "curve"})
    if not arguments.print_only:
        suffix = "" if arguments.batch == BATCH else f"_batch_{arguments.batch}"
        path = RESULTS / f"copy_peer_{arguments.peer}{suffix}.json"
        path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
