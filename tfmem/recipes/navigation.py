"""Navigation: MiniGrid's memory tasks [Chevalier-Boisvert et al., 2023].

An object, a key or a ball, lies where the agent starts. At the end of a corridor it meets both, and must go
to the one that it saw. The published environment shows a view of 7×7 cells and does not see through walls;
the reward is `1 − .9 steps / limit` at the right object and 0 at the wrong one. Ours: cells as one-hot
codes, no mission text (it is always the same), and the three actions that move.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from tfmem.recipes.recipe import Needs, Recipe

NEEDS = Needs(("minigrid",), "pip install 'tfmem[navigation]'")

# Turn left, turn right, go forward; the others do nothing here.
ACTIONS = 3


class OneHotView(gym.ObservationWrapper):
    """Cells `[7, 7, 3]` of object, colour and state as `[7, 7, 20]` of 0 and 1, and the direction."""

    def __init__(self, env: gym.Env):
        super().__init__(env)
        from minigrid.core import constants

        counts = [len(constants.OBJECT_TO_IDX), len(constants.COLOR_TO_IDX), len(constants.STATE_TO_IDX)]
        self._codes = [np.eye(count, dtype=np.uint8) for count in counts]
        space: Any = env.observation_space
        view = gym.spaces.Box(0, 1, (*space["image"].shape[:2], sum(counts)), np.uint8)
        self.observation_space = gym.spaces.Dict({"view": view, "direction": space["direction"]})
        self.action_space = gym.spaces.Discrete(ACTIONS)

    def observation(self, observation):
        cells = observation["image"]
        codes = [code[cells[..., i]] for i, code in enumerate(self._codes)]
        return {"view": np.concatenate(codes, axis=-1), "direction": observation["direction"]}


def make(env_id: str, **kwargs: Any) -> gym.Env:
    """MiniGrid's `env_id` with one-hot views and three actions."""
    NEEDS.check()
    import minigrid  # noqa: F401  registers its environments

    return OneHotView(gym.make(env_id, disable_env_checker=True, **kwargs))


def _recipe(name: str, env_id: str, budget: int) -> Recipe:
    return Recipe(
        name=name,
        domain="navigation",
        remembers="the object at the start, until both are met at the end of a corridor",
        needs=NEEDS,
        entry_point="tfmem.recipes.navigation:make",
        kwargs={"env_id": env_id},
        preset="control",
        settings={"env_steps": budget},
    )


RECIPES = (
    _recipe("memory-s7", "MiniGrid-MemoryS7-v0", 200_000),
    _recipe("memory-s13", "MiniGrid-MemoryS13Random-v0", 500_000),
)
