"""Collecting experience: the policy and the environments, step after step, in one traced function."""

import collections
import concurrent.futures
import math

import numpy as np
import tensorflow as tf
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from tfmem.environments import GymnasiumEnvironment
from tfmem.training.learner import Learner
from tfmem.training.stopwatch import Stopwatch

# Recent episodes whose mean return is shown.
RECENT_EPISODES = 100
WAKES_EVERY_S = 0.2


class Collector:
    """Steps all environments of a run with its exploring policy.

    The loop over steps is the graph's, which calls Python for nothing but the environments' own steps.

    Args:
      learner: acts, and stores what it sees.
      environment: as many environments as the learner acts in.
      stopwatch: counts the environments' time apart from the rest.
      steps: of each environment, in a call of `collect`.
    """

    def __init__(
        self, learner: Learner, environment: GymnasiumEnvironment, stopwatch: Stopwatch, *, steps: int
    ):
        self._learner, self._environment, self._stopwatch = learner, environment, stopwatch
        self._spec = tensor_spec.from_spec(environment.time_step_spec())
        self._returns = np.zeros(environment.batch_size)
        self._recent: collections.deque[float] = collections.deque(maxlen=RECENT_EPISODES)
        self._failure: Exception | None = None
        self._interrupted = False
        # While the graph runs this thread can still be interrupted from the keyboard.
        self._caller = concurrent.futures.ThreadPoolExecutor(1, "collect")
        self._collect = tf.function(
            lambda time_step, state: self._unroll(time_step, state, steps),
            input_signature=learner.act.input_signature,
            autograph=False,
        )

    @property
    def recent_return(self) -> float:
        """Mean return of the latest episodes since the restart, which explore; nan before the first ends."""
        return float(np.mean(self._recent)) if self._recent else math.nan

    @property
    def compiled(self) -> bool:
        """Whether the first call, which compiles, is over."""
        return self._collect.experimental_get_tracing_count() > 0

    def restart(self, seed: int) -> None:
        """Resets all environments, from this seed on, and the policy's memory."""
        self._environment.seed(seed)
        self._time_step = self._environment.reset()
        self._state = self._learner.network.initial_state(self._environment.batch_size) or ()
        self._returns[:] = 0.0
        self._recent.clear()

    def collect(self) -> None:
        """Takes the steps; Ctrl-C ends them after the environments' current one.

        Raises:
          EnvironmentFailed: when an environment raises, or its worker has died.
        """
        self._interrupted = False
        call = self._caller.submit(self._collect, self._time_step, self._state)
        try:
            while not call.done():  # a signal that reaches another thread is seen when this one wakes
                concurrent.futures.wait([call], timeout=WAKES_EVERY_S)
            self._time_step, self._state = call.result()
        except KeyboardInterrupt:
            self._interrupted = True
            concurrent.futures.wait([call])
            raise
        except tf.errors.OpError:
            if self._failure is None:
                raise
            # TensorFlow's error is of its own class, and holds the environment's as text alone.
            failure, self._failure = self._failure, None
            raise failure from failure.__cause__

    def _unroll(self, time_step: ts.TimeStep, state, steps: int):
        def step(i, time_step, state):
            action, state = self._learner.act(time_step, state)
            return i + 1, self._step_of_environments(action), state

        return tf.while_loop(lambda i, *_: i < steps, step, (0, time_step, state))[1:]

    def _step_of_environments(self, action: tf.Tensor) -> ts.TimeStep:
        specs = tf.nest.flatten(self._spec)
        flat = tf.numpy_function(self._step_in_python, [action], [spec.dtype for spec in specs])
        for tensor, spec in zip(flat, specs, strict=True):
            tensor.set_shape([self._environment.batch_size, *spec.shape])
        return tf.nest.pack_sequence_as(self._spec, flat)

    def _step_in_python(self, action: np.ndarray) -> list[np.ndarray]:
        if self._interrupted:
            raise KeyboardInterrupt
        try:
            with self._stopwatch.measure("environment"):
                time_step = self._environment.step(action)
        except Exception as error:
            self._failure = error
            raise
        self._returns += time_step.reward
        ended = time_step.is_last()
        self._recent.extend(self._returns[ended])
        self._returns[ended] = 0.0
        # Copies: TensorFlow keeps what it is given, and an environment may write its next step there.
        flat, specs = tf.nest.flatten(time_step), tf.nest.flatten(self._spec)
        return [np.array(x, spec.dtype.as_numpy_dtype) for x, spec in zip(flat, specs, strict=True)]
