"""Atari: frames that are black half of the time, of MinAtar's games and of the Arcade Learning Environment's.

Every frame is black with probability 1/2 [Hausknecht and Stone, 2015], so a single one does not show where
things are or where they fly, nor do a few. MinAtar's Breakout [Young and Tian, 2019] loses its channel with
the ball's trail as well, which shows the direction. ALE's games have frames as is usual [Machado et al.,
2018]: grey, 84×84, the greater of two of every four, one at a time in place of the stack of four.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from tfmem.recipes.recipe import Needs, Recipe

NEEDS = Needs(("minatar", "ale_py", "cv2"), "pip install 'tfmem[atari]'")
TRAIL = 2  # of the channels paddle, ball, trail, brick
BLACK = 0.5


class Flicker(gym.ObservationWrapper):
    """Frames of which some are black, each with probability `BLACK`."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self._random = np.random.default_rng()

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self._random = np.random.default_rng(seed)
        return super().reset(seed=seed, options=options)

    def observation(self, observation):
        return np.zeros_like(observation) if self._random.random() < BLACK else observation


class NoTrail(gym.ObservationWrapper):
    """MinAtar's Breakout as frames `[10, 10, 3]` of 0 and 1: paddle, ball, bricks."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        space: Any = env.observation_space
        height, width, channels = space.shape
        self.observation_space = gym.spaces.Box(0, 1, (height, width, channels - 1), np.uint8)

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            # MinAtar repeats the last action now and then, that of the episode before included.
            game: Any = self.unwrapped
            game.game.last_action = 0
        return super().reset(seed=seed, options=options)

    def observation(self, observation):
        return np.delete(observation, TRAIL, axis=-1).astype(np.uint8)


class Picture(gym.Wrapper):
    """Renders MinAtar's `[10, 10, 3]` floats in [0, 1] as a picture of bytes, 8 pixels a cell."""

    def render(self) -> Any:
        frame: Any = super().render()
        return np.kron((255 * frame).astype(np.uint8), np.ones([8, 8, 1], np.uint8))


def breakout(render_mode: str | None = None) -> gym.Env:
    """MinAtar's Breakout without trail, half of its frames black."""
    NEEDS.check()
    from minatar.gym import register_envs

    if "MinAtar/Breakout-v1" not in gym.registry:
        register_envs()
    game = gym.make("MinAtar/Breakout-v1", disable_env_checker=True, render_mode=render_mode)
    return Flicker(NoTrail(Picture(game) if render_mode else game))


def pong(render_mode: str | None = None) -> gym.Env:
    """ALE's Pong, half of its frames black."""
    NEEDS.check()
    import ale_py

    gym.register_envs(ale_py)
    game = gym.make("ALE/Pong-v5", frameskip=1, disable_env_checker=True, render_mode=render_mode)
    return Flicker(gym.wrappers.AtariPreprocessing(game, grayscale_newaxis=True))


class FlickeringGames(gym.vector.VectorObservationWrapper):
    """ALE's frames `[B, 1, 84, 84]` as `[B, 84, 84, 1]`, each black with probability `BLACK`."""

    def __init__(self, env: gym.vector.VectorEnv):
        super().__init__(env)
        self.single_observation_space = gym.spaces.Box(0, 255, (84, 84, 1), np.uint8)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self._random = np.random.default_rng()

    def reset(self, *, seed=None, options=None):
        if seed is not None:
            self._random = np.random.default_rng(seed)
        return super().reset(seed=seed, options=options)

    def observations(self, observations):
        shown = self._random.random(self.num_envs) >= BLACK
        return np.moveaxis(observations, 1, -1) * shown[:, None, None, None].astype(np.uint8)


def pongs(num_envs: int) -> gym.vector.VectorEnv:
    """Many games of ALE's Pong at once, by its own vector environment."""
    NEEDS.check()
    from ale_py.vector_env import AtariVectorEnv

    return FlickeringGames(
        AtariVectorEnv("pong", num_envs, stack_num=1, repeat_action_probability=0.25, use_fire_reset=False)
    )


RECIPES = (
    Recipe(
        name="breakout",
        domain="Atari",
        remembers="where the ball was, and so where it flies: no frame shows it, and half of them are black",
        needs=NEEDS,
        entry_point="tfmem.recipes.atari:breakout",
        # Games that are played well do not end by themselves.
        max_episode_steps=1_000,
        preset="atari",
        settings={"env_steps": 500_000},
    ),
    Recipe(
        name="pong",
        domain="Atari",
        remembers="where the ball was, and so where it flies: half of the frames are black",
        needs=NEEDS,
        entry_point="tfmem.recipes.atari:pong",
        vector_entry_point="tfmem.recipes.atari:pongs",
        preset="atari",
        settings={
            "env_steps": 400_000,
            "vectorization": "vector_entry_point",
            # Games have a thousand steps and more.
            "eval_episodes": 8,
            "checkpoint_interval": 25_000,
        },
    ),
)
