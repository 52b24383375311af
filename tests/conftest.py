"""What the tests share: quiet TensorFlow, small environments, one trained run."""

import tfmem.quiet  # isort: skip  (before anything that imports TensorFlow)
import tfmem.xla  # noqa: F401  # isort: skip  (before XLA compiles)

import os

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf

from tfmem.training import TrainedRun, load_run, make_config, train

RECALL = "popgym-RepeatPreviousEasy-v0"


class RememberFirst(gym.Env):
    """Shows a number once; the action that names it is rewarded at every step. Ends as told."""

    observation_space = gym.spaces.Discrete(4)  # 3 is the blank
    action_space = gym.spaces.Discrete(3)

    def __init__(self, length: int = 5, ending: str = "terminated"):
        self._length, self._ending = length, ending

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._number, self._t = int(self.np_random.integers(3)), 0
        return self._number, {}

    def step(self, action):
        self._t += 1
        over = self._t == self._length
        ends = {"terminated": (over, False), "truncated": (False, over)}[self._ending]
        return 3, float(action == self._number), *ends, {}


class NaNReward(RememberFirst):
    """Its rewards stop being numbers after a while."""

    steps = 0

    def step(self, action):
        observation, reward, *rest = super().step(action)
        NaNReward.steps += 1
        return observation, np.nan if NaNReward.steps > 400 else reward, *rest


class NaNObservation(RememberFirst):
    """Its observations stop being numbers after a while."""

    observation_space = gym.spaces.Box(-1, 1, [2])
    steps = 0

    def reset(self, **kwargs):
        _, info = super().reset(**kwargs)
        return np.zeros([2], np.float32), info

    def step(self, action):
        _, *rest = super().step(action)
        NaNObservation.steps += 1
        return np.array([0, np.nan if NaNObservation.steps > 400 else 1], np.float32), *rest


class AnImage(RememberFirst):
    """The number as an image, whose updates XLA does not compile on CPUs."""

    observation_space = gym.spaces.Box(0, 255, [16, 16, 3], np.uint8)

    def reset(self, **kwargs):
        number, info = super().reset(**kwargs)
        return np.full([16, 16, 3], number, np.uint8), info

    def step(self, action):
        number, *rest = super().step(action)
        return np.full([16, 16, 3], number, np.uint8), *rest


class Breaking(RememberFirst):
    """Raises after a while, or, told to, ends its own process."""

    def __init__(self, after: int = 150, kills: bool = False):
        super().__init__()
        self._left, self._kills = after, kills

    def step(self, action):
        self._left -= 1
        if self._left < 0:
            if self._kills:
                os._exit(1)
            raise RuntimeError("the arm has come off")
        return super().step(action)


class EverySpace(gym.Env):
    """One of each kind of space; random observations, episodes of 6 steps."""

    observation_space = gym.spaces.Dict(
        {
            "image": gym.spaces.Box(0, 255, (8, 8, 1), np.uint8),
            "pair": gym.spaces.Tuple([gym.spaces.Discrete(3, start=1), gym.spaces.MultiDiscrete([2, 4])]),
            "speed": gym.spaces.Box(-np.inf, np.inf, (2,), np.float64),
            "switches": gym.spaces.MultiBinary(3),
        }
    )
    action_space = gym.spaces.MultiDiscrete([2, 3])

    def _observe(self):
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._t = 0
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self._t += 1
        return self._observe(), float(action[1]), False, self._t == 6, {}


class OneAllowed(gym.Env):
    """Three actions of which one is allowed, another in each step; a forbidden one raises. Five steps."""

    action_space = gym.spaces.Discrete(3)

    def __init__(self, mask_in: str = "observation"):
        self._mask_in = mask_in
        self.observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
        if mask_in == "observation":
            parts = {"x": self.observation_space, "action_mask": gym.spaces.MultiBinary(3)}
            self.observation_space = gym.spaces.Dict(parts)

    def _observe(self):
        x, mask = np.zeros(1, np.float32), np.eye(3, dtype=np.int8)[self._allowed]
        if self._mask_in == "observation":
            return {"x": x, "action_mask": mask}, {}
        return x, {"action_mask": mask} if self._mask_in == "info" else {}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._t, self._allowed = 0, int(self.np_random.integers(3))
        return self._observe()

    def step(self, action):
        assert action == self._allowed, "a forbidden action"
        self._t, self._allowed = self._t + 1, int(self.np_random.integers(3))
        observation, info = self._observe()
        # As some environments do: no mask in the info of an end.
        return observation, 1.0, self._t == 5, False, {} if self._t == 5 else info


class FourActions(RememberFirst):
    """RememberFirst with an action too many."""

    action_space = gym.spaces.Discrete(4)


class Marked(gym.Env):
    """Images `[10, 10, 4]`, black but for one pixel, whose channel is the action to take. Five of them."""

    observation_space = gym.spaces.Box(0, 1, (10, 10, 4), np.uint8)
    action_space = gym.spaces.Discrete(4)

    def _observe(self):
        row, column, self._channel = self.np_random.integers(0, (10, 10, 4))
        image = np.zeros((10, 10, 4), np.uint8)
        image[row, column, self._channel] = 1
        return image

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._t = 0
        return self._observe(), {}

    def step(self, action):
        self._t += 1
        reward = float(action == self._channel)
        return self._observe(), reward, self._t == 5, False, {}


gym.register("tests/FourActions-v0", FourActions)
gym.register("tests/Marked-v0", Marked)
gym.register("tests/RememberFirst-v0", RememberFirst)
gym.register("tests/OneAllowed-v0", OneAllowed)
gym.register("tests/Breaking-v0", Breaking)
gym.register("tests/EverySpace-v0", EverySpace)
gym.register("tests/NaNReward-v0", NaNReward)
gym.register("tests/NaNObservation-v0", NaNObservation)
gym.register("tests/AnImage-v0", AnImage)

# Small enough that tracing and compiling dominate.
TINY = {
    "core.slots": 8,
    "core.width": 4,
    "core.read_heads": ["forward", "stay"],
    "core.controller_units": 16,
    "embedding": 8,
    "hidden": 16,
    "num_envs": 4,
    "sequence_length": 12,
    "batch_size": 4,
    "collect_steps": 12,
    "updates": 8,
    "learning_starts": 100,
    "replay_capacity": 2000,
    "epsilon_steps": 300,
    "eval_episodes": 8,
    "checkpoint_interval": 400,
    "env_steps": 1200,
}
TINY_NO_CORE = {k: v for k, v in TINY.items() if not k.startswith("core.")} | {"core": "none"}
# For what does not ask what remembers: traced and compiled in half the time.
TINY_LSTM = {**TINY_NO_CORE, "core": "lstm", "core.units": 16}


@pytest.fixture(scope="session")
def tiny_config():
    """A run of a few seconds on RememberFirst."""
    return make_config("tests/RememberFirst-v0", overrides=TINY)


@pytest.fixture(scope="session")
def tiny_lstm_config():
    """The same with an LSTM."""
    return make_config("tests/RememberFirst-v0", overrides=TINY_LSTM)


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory):
    """The folder of a run that has learned RepeatPreviousEasy, with the default configuration."""
    out = tmp_path_factory.mktemp("runs") / "recall"
    train(make_config(RECALL, overrides={"env_steps": 40_000}), out)
    return out


@pytest.fixture(scope="session")
def trained_run(trained_folder) -> TrainedRun:
    return load_run(trained_folder)


@pytest.fixture(autouse=True)
def seeded():
    tf.keras.utils.set_random_seed(0)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)
