"""How fast training acts and learns, beside TF-Agents' own recurrent DQN, and where an update's time goes.

    taskset -c 0 python benchmarks/throughput.py

RepeatPreviousEasy, 64 environments in one process, the sizes of the `recall` preset. Measured in turns, the
median of several rounds each, everything compiled before:

- acting: environment steps in a second, the environments' own time, exploring and storing included.
  TF-Agents' driver steps the same vector environment and stores in its own replay. Also in CartPole-v1, which
  steps all its copies in one NumPy expression, so that what is left is the policies' own time; TF-Agents
  acts in 64 environments loaded and batched its own way, too, by suite_gym and BatchedPyEnvironment;
- learning: updates in a second on the same number of windows of the same length, sampling included, also
  with the memory's jump mode, which the preset leaves out;
- of our update: sampling with and without priorities, and the time that its products of numbers would take at
  the rate of this machine's largest matrix products.

Writes benchmarks/results/throughput.json.
"""

import tfmem.quiet  # isort: skip  (before anything that imports TensorFlow)
import tfmem.xla  # noqa: F401  # isort: skip  (as the command line does)

import itertools
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf
from machine import provenance
from stock import StockDqn
from tf_agents.environments import batched_py_environment, suite_gym

from tfmem.environments import GymnasiumEnvironment
from tfmem.networks import ScanNTMConfig
from tfmem.replay.sequence_replay import estimate_bytes
from tfmem.training import Learner, TrainConfig, make_config
from tfmem.training.collector import Collector
from tfmem.training.environment import load_environment
from tfmem.training.stopwatch import Stopwatch

ENV_ID = "popgym-RepeatPreviousEasy-v0"
ENVS = 64
ROUNDS = 9
RESULTS = Path(__file__).parent / "results" / "throughput.json"


def make_environment(config: TrainConfig) -> GymnasiumEnvironment:
    return load_environment(config, config.num_envs, vectorization=config.vectorization)


class Ours:
    """The training loop's two halves."""

    def __init__(self, config: TrainConfig):
        environment = make_environment(config)
        self.learner = Learner(environment, config)
        collector = Collector(self.learner, environment, Stopwatch(), steps=config.collect_steps)
        collector.restart(0)
        self.collect = collector.collect

    def update(self) -> None:
        """A round of updates."""
        float(self.learner.learn())


def configured(env_id: str = ENV_ID, **overrides) -> TrainConfig:
    return make_config(env_id, overrides={"num_envs": ENVS, **overrides})


def medians(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each, in turns, after one call that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(ROUNDS + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if i:
                seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def environments_alone(config: TrainConfig) -> Callable[[], None]:
    environment = make_environment(config)
    environment.reset()
    actions = np.zeros(config.num_envs, np.int32)

    def play() -> None:
        for _ in range(config.collect_steps):
            environment.step(actions)

    return play


def products(config: TrainConfig, inputs: int, actions: int) -> int:
    """Multiplications and additions of an update: forward and twice that backward, forward of the target."""
    core = config.core
    assert isinstance(core, ScanNTMConfig)
    slots, width, units = core.slots, core.width, core.controller_units
    readers, writers = len(core.read_heads), len(core.write_heads)
    jumps = core.jumps * (1 + slots)
    # Of the controller's layers.
    outputs = writers * (3 + jumps + 2 * width) + readers * (3 + writers + jumps)
    memory = slots * width * (readers + 4 * writers) + (4 + core.jumps) * slots * (readers + writers)
    layers = [units + readers * width, *[config.hidden] * config.hidden_layers, 1 + actions]
    head = sum(before * after for before, after in itertools.pairwise(layers))
    step = inputs * config.embedding + config.embedding * units + units * outputs + memory + head
    return 2 * step * config.batch_size * config.sequence_length * (3 + 1)


def largest_rate() -> float:
    """Floating-point operations in a second of a large matrix product."""
    size = 1_024
    x = tf.random.normal([size, size])
    call = tf.function(lambda: tf.matmul(x, x))
    return 2 * size**3 / medians({"product": lambda: call().numpy()})["product"]


def main() -> None:
    config = configured()
    lstm = configured(core="lstm")
    prioritised = configured(priority_exponent=0.9)
    ours = {"ScanNTM": Ours(config), "LSTM": Ours(lstm)}
    preferring = Ours(prioritised)
    jumping = Ours(configured(**{"core.jumps": True}))
    stock = StockDqn(make_environment(config), config)
    for _ in range(4):
        for system in (*ours.values(), preferring, jumping, stock):
            system.collect()
    acting = medians(
        {
            "environments alone": environments_alone(config),
            **{f"ours, {name}": one.collect for name, one in ours.items()},
            "TF-Agents, LSTM": stock.collect,
        }
    )
    vectorised = configured("CartPole-v1", core="lstm", vectorization="vector_entry_point")
    loaded = batched_py_environment.BatchedPyEnvironment([suite_gym.load("CartPole-v1") for _ in range(ENVS)])
    acting_in_cartpole = medians(
        {
            "environments alone": environments_alone(vectorised),
            "ours, LSTM": Ours(vectorised).collect,
            "TF-Agents, LSTM": StockDqn(make_environment(vectorised), vectorised).collect,
            "TF-Agents, LSTM, environments its own": StockDqn(loaded, vectorised).collect,
        }
    )
    updates = medians(
        {
            **{f"ours, {name}": one.update for name, one in ours.items()},
            "ours, ScanNTM that jumps": jumping.update,
            "TF-Agents, LSTM": lambda: [float(stock.update()) for _ in range(config.updates)],
        }
    )

    def sampler(system: Ours) -> Callable[[], object]:
        learner = system.learner
        random = tf.random.Generator.from_seed(0)

        @tf.function
        def sample():
            total = tf.zeros([])
            for _ in tf.range(config.updates):
                windows = learner.replay.sample(config.batch_size, generator=random)
                learner.replay.update_priorities(windows.index, tf.ones([config.batch_size]))
                total += tf.reduce_sum(windows.experience.reward)
            return total

        return lambda: sample().numpy()

    sampling = medians({"uniform": sampler(ours["ScanNTM"]), "prioritised": sampler(preferring)})
    steps = ENVS * config.collect_steps
    learner = ours["ScanNTM"].learner
    specs = learner.agent.time_step_spec, learner.agent.action_spec
    limit = products(config, inputs=int(specs[0].observation.maximum) + 1, actions=int(specs[1].maximum) + 1)
    limit_s = limit / largest_rate()
    update = updates["ours, ScanNTM"] / config.updates
    content = {
        **provenance(),
        "env": ENV_ID,
        "environments": ENVS,
        "batch_size": config.batch_size,
        "sequence_length": config.sequence_length,
        "acting_steps_per_s": {name: round(steps / s) for name, s in acting.items()},
        "acting_steps_per_s_in_cartpole": {
            name: round(ENVS * vectorised.collect_steps / s) for name, s in acting_in_cartpole.items()
        },
        "updates_per_s": {name: round(config.updates / s, 1) for name, s in updates.items()},
        "acting_over_tf_agents": {
            name: round(acting["TF-Agents, LSTM"] / acting[f"ours, {name}"], 2) for name in ours
        },
        "acting_over_tf_agents_in_cartpole": {
            name: round(seconds / acting_in_cartpole["ours, LSTM"], 2)
            for name, seconds in acting_in_cartpole.items()
            if name.startswith("TF-Agents")
        },
        "updates_over_tf_agents": {
            name: round(updates["TF-Agents, LSTM"] / updates[f"ours, {name}"], 2) for name in ours
        },
        "update_ms": round(1e3 * update, 2),
        "sampling_ms": {name: round(1e3 * s / config.updates, 3) for name, s in sampling.items()},
        "sampling_share": {name: round(s / config.updates / update, 3) for name, s in sampling.items()},
        "update_gflop": round(limit / 1e9, 3),
        "arithmetic_limit_ms": round(1e3 * limit_s, 2),
        "update_over_the_limit": round(update / limit_s, 1),
        "bytes_a_frame": estimate_bytes(*specs, 1),
    }
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps({k: v for k, v in content.items() if k != "versions"}, indent=1))


if __name__ == "__main__":
    main()
