"""The memory tasks of bsuite (Osband et al., 2020) for Gymnasium: `memory_chain:MemoryChain-v0`.

bsuite's own package speaks dm_env and brings plotting and data-frame libraries along; the rules are these.
An observation is the share of time that is left, a question, and bits. The bits are ±1 in the first two
observations and 0 later; the question, the place of a bit, is there in the last observation but one. The
last action is rewarded with 1 if it is the bit at that place, and with -1 if not. `memory_len` asks for one
bit after `length` steps, `memory_size` for one of `bits` after two.
"""

import gymnasium as gym
import numpy as np


class MemoryChain(gym.Env):
    """An episode has `length + 1` steps."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, length: int, bits: int = 1):
        self._length, self._bits = length, bits
        high = np.array([1.0, max(1, bits - 1), *[1.0] * bits], np.float32)
        low = np.array([-1.0, 0.0, *[-1.0] * bits], np.float32)
        self.observation_space = gym.spaces.Box(low, high)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._shown = self.np_random.integers(0, 2, self._bits)
        self._asked = int(self.np_random.integers(self._bits))
        self._time = 0
        return self._observe(), {}

    def step(self, action):
        # As in bsuite, the first observation comes twice.
        observation = self._observe()
        self._time += 1
        over = self._time > self._length
        right = int(action) == self._shown[self._asked]
        reward = (1.0 if right else -1.0) if over else 0.0
        return observation, reward, over, False, {}

    def _observe(self) -> np.ndarray:
        question = self._asked if self._time == self._length - 1 else 0
        bits = 2 * self._shown - 1 if self._time == 0 else np.zeros(self._bits)
        return np.array([1 - self._time / self._length, question, *bits], np.float32)


gym.register("MemoryChain-v0", "memory_chain:MemoryChain")
