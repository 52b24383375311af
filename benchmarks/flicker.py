"""MinAtar's Breakout without what shows the ball's direction: `flicker:Breakout-v0`.

The channel with the ball's trail is left out, and every frame is black with probability 1/2 (Hausknecht and
Stone, 2015), so neither where the ball is nor where it flies can be told from one frame. The wrapper is
ours: its returns are not those of the published game.
"""

import gymnasium as gym
import numpy as np

TRAIL = 2  # of the channels paddle, ball, trail, brick
BLACK = 0.5


class Flicker(gym.ObservationWrapper):
    """Frames `[10, 10, 3]` of 0 and 1."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        height, width, channels = env.observation_space.shape
        self.observation_space = gym.spaces.Box(0, 1, (height, width, channels - 1), np.uint8)
        self._random = np.random.default_rng()

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self._random = np.random.default_rng(seed)
            # MinAtar repeats the last action now and then, that of the episode before included.
            self.unwrapped.game.last_action = 0
        return super().reset(seed=seed, options=options)

    def observation(self, observation):
        if self._random.random() < BLACK:
            return np.zeros(self.observation_space.shape, np.uint8)
        return np.delete(observation, TRAIL, axis=-1).astype(np.uint8)


def make() -> gym.Env:
    from minatar.gym import register_envs

    if "MinAtar/Breakout-v1" not in gym.registry:
        register_envs()
    return Flicker(gym.make("MinAtar/Breakout-v1", use_minimal_action_set=True, disable_env_checker=True))


# Games that are played well do not end by themselves.
gym.register("Breakout-v0", "flicker:make", max_episode_steps=1_000)
