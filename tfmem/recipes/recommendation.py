"""Recommendation: SARDINE's users who get bored [Deffayet et al., 2024].

A hundred times an item is recommended, and clicked or not. A user's tastes are hidden, and drift with the
clicks. One who has clicked five items of a topic within a few steps is bored of everything for five more,
and clicks on nothing. The published environment has the agent choose among 1,000 items, and shows which
topics have been clicked of late. Ours: the agent chooses one of ten topics, the item is a random one of it,
and that memory made by hand is left out. A click pays 1.

Who knows the tastes, and always takes the topic most likely to be clicked, gets 36 (60 users); one who also
keeps a user from boredom, by no fifth click of a topic, 39.
"""

from typing import Any

import gymnasium as gym
import numpy as np

from tfmem.recipes.recipe import Needs, Recipe

NEEDS = Needs(("sardine",), "pip install 'tfmem[recommendation]'")


class Topics(gym.Wrapper):
    """Actions are topics, the item a random one of the topic; observed are it and whether it was clicked.

    An item is observed as its embedding, `[topics]` in [0, 1]: how much it is of each topic. The topic that
    an item is recommended for is the greatest. The first item of an episode is the environment's own.
    """

    def __init__(self, env: gym.Env):
        super().__init__(env)
        simulator: Any = env.unwrapped
        self._embeddings = simulator.item_embedd.astype(np.float32)
        self._items = [np.flatnonzero(simulator.item_comp == topic) for topic in range(simulator.num_topics)]
        self.action_space = gym.spaces.Discrete(simulator.num_topics)
        self.observation_space = gym.spaces.Dict(
            {
                "item": gym.spaces.Box(0, 1, (simulator.num_topics,), np.float32),
                "clicked": gym.spaces.Discrete(2),
            }
        )

    def reset(self, *, seed=None, options=None):
        observation, info = self.env.reset(seed=seed, options=options)
        return self._shown(observation), info

    def step(self, action):
        item = self.np_random.choice(self._items[action])
        observation, reward, terminated, truncated, info = self.env.step(np.array([item]))
        return self._shown(observation), reward, terminated, truncated, info

    def _shown(self, observation) -> dict[str, Any]:
        return {"item": self._embeddings[observation["slate"][0]], "clicked": observation["clicks"][0]}


def boredom(**kwargs: Any) -> gym.Env:
    """SARDINE's users who get bored, and are recommended topics."""
    NEEDS.check()
    import sardine  # noqa: F401  registers its environments

    return Topics(gym.make("sardine/SingleItem-BoredInf-v0", disable_env_checker=True, **kwargs))


RECIPES = (
    Recipe(
        name="boredom",
        domain="recommendation",
        remembers="what was clicked: the user's tastes, and how much of a topic there has been of late",
        needs=NEEDS,
        entry_point="tfmem.recipes.recommendation:boredom",
        # Choices decide what is seen, but clicks come at once: a short horizon costs less than variance does.
        preset="recall",
        settings={"env_steps": 300_000},
    ),
)
