"""Collecting in one graph: failures and interruptions come out of it as they went in."""

import _thread
import dataclasses
import signal
import time

import pytest

from tfmem.environments import EnvironmentFailed, GymnasiumEnvironment, load
from tfmem.training.collector import Collector
from tfmem.training.learner import Learner
from tfmem.training.stopwatch import Stopwatch


def make_collector(config, steps, **env_kwargs) -> tuple[Collector, GymnasiumEnvironment]:
    environment = load(config.env_id, num_envs=config.num_envs, env_kwargs=env_kwargs)
    collector = Collector(Learner(environment, config), environment, Stopwatch(), steps=steps)
    collector.restart(seed=0)
    return collector, environment


def test_an_environments_own_error_is_the_cause_of_what_is_raised(tiny_config):
    config = dataclasses.replace(tiny_config, env_id="tests/Breaking-v0")
    collector, _ = make_collector(config, 20, after=5)
    with pytest.raises(EnvironmentFailed, match="the arm has come off") as caught:
        collector.collect()
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.fixture
def ctrl_c_heard():
    """As on a terminal: a shell starts what it puts in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_heard")
def test_ctrl_c_does_not_wait_for_all_steps(tiny_config):
    collector, environment = make_collector(tiny_config, 10_000)
    step, steps = environment.step, []

    def interrupted(action):
        steps.append(action)
        if len(steps) == 3:
            _thread.interrupt_main()
            time.sleep(0.5)  # so that the main thread notices
        return step(action)

    environment.step = interrupted
    with pytest.raises(KeyboardInterrupt):
        collector.collect()
    assert 3 <= len(steps) < 50


def test_a_stopwatch_counts_time_once():
    stopwatch = Stopwatch()
    with stopwatch.measure("acting"):
        time.sleep(0.05)
        with stopwatch.measure("environment"):
            time.sleep(0.1)
        time.sleep(0.05)
    shares = stopwatch.shares(total=0.2)
    assert shares["environment"] == pytest.approx(0.5, abs=0.15)
    assert shares["acting"] == pytest.approx(0.5, abs=0.15)
