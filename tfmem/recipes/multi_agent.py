"""Multi-agent: level-based foraging [Papoudakis et al., 2021], two players who see two cells far.

Food lies on a board of 8×8 cells. A player next to it loads it where the levels of those who load add up to
its own; all food together pays 1. Food out of sight is not shown, nor where on the board a player is. Ours:
the reward is the team's, the sum of its players', and what a player sees is a map of the cells around it in
place of a list of things and their places. One controller for all players, or one policy for each of them,
with the same weights and a memory of its own.
"""

import math
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import MultiDiscrete
from gymnasium.vector.utils import batch_space

from tfmem.recipes.recipe import Needs, Recipe

NEEDS = Needs(("lbforaging",), "pip install 'tfmem[multi-agent]'")

# Sight 2, a board of 8×8 cells, two players, two pieces of food.
ENV_ID = "Foraging-2s-8x8-2p-2f-v3"
PLAYERS = 2
SIGHT = 2
SIDE = 2 * SIGHT + 1  # of what a player sees


class Joint(gym.Wrapper):
    """A game as one controller plays it: all views joined, an action for each player, the sum of rewards.

    Of a view, whole numbers: the level of the food in each cell around the player, `[5, 5]`, and of the other
    players, the same, with 0 for none; then how many cells lie above the player and left of it, 2 for more,
    and its own level.
    """

    def __init__(self, env: gym.Env):
        super().__init__(env)
        players: Any = env.action_space
        view: Any = env.observation_space[0]  # type: ignore[index]  # Gymnasium's types know one player only
        food_level, player_level = view.high.reshape([-1, 3])[[0, -1], 2].astype(np.int64)
        greatest = [food_level] * SIDE**2 + [player_level] * SIDE**2 + [SIGHT, SIGHT, player_level]
        self.observation_space = MultiDiscrete((np.array(greatest) + 1).tolist() * len(players))
        self.action_space = MultiDiscrete([player.n for player in players])

    def reset(self, *, seed=None, options=None):
        views, info = self.env.reset(seed=seed, options=options)
        return self._joined(views), info

    def step(self, action):
        views, rewards, terminated, truncated, info = self.env.step(action)
        team: Any = rewards  # as above
        return self._joined(views), sum(team), terminated, truncated, info

    def _joined(self, views) -> np.ndarray:
        return np.concatenate([around(view, players=len(views)) for view in views])


def around(view: np.ndarray, *, players: int) -> np.ndarray:
    """What `Joint` tells of a view, `[2 · 25 + 3]` int64.

    A view is `[3 · things]`: `(row, column, level)` of each piece of food, of the player, of each other.
    What is not seen has level 0. Rows and columns are counted from the first that the player sees, which at
    an edge is the board's: from there other players are told of more than two cells away, and left out here.
    """
    things = view.astype(np.int64).reshape([-1, 3])
    food, own, others = np.split(things, [-players, 1 - players])
    cells = np.zeros([2, SIDE, SIDE], np.int64)
    for layer, kind in zip(cells, (food, others), strict=True):
        place = kind[:, :2] - own[:, :2] + SIGHT
        seen = (kind[:, 2] > 0) & np.all((place >= 0) & (place < SIDE), axis=1)
        layer[tuple(place[seen].T)] = kind[seen, 2]
    return np.concatenate([cells.ravel(), own[0]])


class Players(gym.vector.VectorWrapper):
    """Games of `Joint` as an environment for each player: its own view and action, and the team's reward.

    Environment i is player `i % players` of game `i // players`; all of a game have the seed of its first.
    """

    def __init__(self, games: gym.vector.VectorEnv):
        super().__init__(games)
        views: Any = games.single_observation_space
        actions: Any = games.single_action_space
        self._players = len(actions)
        size = len(views) // self._players
        self.single_observation_space = MultiDiscrete(views.nvec[:size], start=views.start[:size])
        self.single_action_space = gym.spaces.Discrete(int(actions.nvec[0]))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    @property
    def num_envs(self) -> int:  # type: ignore[override]  # as of Gymnasium's own wrapper
        return self.env.num_envs * self._players

    def reset(self, *, seed=None, options=None):
        if isinstance(seed, int):
            seed = list(range(seed, seed + self.num_envs, self._players))
        views, info = self.env.reset(seed=seed, options=options)
        return self._apart(views), info

    def step(self, actions):
        views, *told, info = self.env.step(np.reshape(actions, [-1, self._players]))
        reward, terminated, truncated = (np.repeat(of_game, self._players) for of_game in told)
        return self._apart(views), reward, terminated, truncated, info

    def _apart(self, views: np.ndarray) -> np.ndarray:
        return views.reshape([self.num_envs, -1])


def joint() -> gym.Env:
    """The game with one controller for all players."""
    NEEDS.check()
    import lbforaging  # noqa: F401  registers its environments

    return Joint(gym.make(ENV_ID, disable_env_checker=True))


def shared(num_envs: int) -> gym.vector.VectorEnv:
    """An environment for each player, of whole games: at least `num_envs`."""
    return Players(gym.vector.SyncVectorEnv([joint] * math.ceil(num_envs / PLAYERS)))


def _recipe(name: str, **made_by: Any) -> Recipe:
    return Recipe(
        name=name,
        domain="multi-agent",
        remembers="food that went out of sight, which ways were walked, and what the other player is up to",
        needs=NEEDS,
        preset="control",
        settings={
            "env_steps": 1_000_000,
            # A game is cut after 50 steps. With the preset's horizon of 333 what is put off costs nothing,
            # and is put off until the end.
            "gamma": 0.95,
        },
        **made_by,
    )


RECIPES = (
    _recipe("foraging", entry_point="tfmem.recipes.multi_agent:joint"),
    _recipe("foraging-shared", vector_entry_point="tfmem.recipes.multi_agent:shared"),
)
