"""Meta-learning: the Dark Room [Laskin et al., 2023] as trials of RL² [Duan et al., 2016].

A room without marks, a start in its middle, and a goal that is not shown: a step that ends on the goal pays
1. A trial is several episodes with the same goal, and one episode of the environment, so that memory is
kept: what the first episodes find, the later ones use. RL² shows the previous action and reward and where an
episode starts. Ours: the trials, the goals held out, and the position as its row and its column in place of
one number for the cell.
"""

from typing import Any, Literal

import gymnasium as gym
import numpy as np

from tfmem.recipes.recipe import Needs, Recipe

NEEDS = Needs(("toymeta",), "pip install 'tfmem[meta]'")

Goals = Literal["all", "training", "held_out"]


def goal_cells(size: int, goals: Goals) -> np.ndarray:
    """The cells `[cells, 2]` that may be the goal of a trial.

    Held out is every fifth cell, a knight's move apart: no two are neighbours, and every row and column has
    some.
    """
    cells = np.argwhere(np.ones([size, size]))
    held_out = (2 * cells[:, 0] + cells[:, 1]) % 5 == 0
    return {"all": cells, "training": cells[~held_out], "held_out": cells[held_out]}[goals]


class Trial(gym.Wrapper):
    """Some `episodes` of `steps` each in a dark room, the goal one of `goals` `[cells, 2]` throughout.

    After an episode's last step the position is that of the next one's start. A trial terminates, for its
    length is part of the task.
    """

    def __init__(self, room: Any, goals: np.ndarray, *, episodes: int, steps: int):
        super().__init__(room)
        self._room = room.unwrapped
        self._goals = goals
        self._episodes = episodes
        self._steps = steps
        position = gym.spaces.MultiDiscrete([self._room.size] * 2)
        self.observation_space = gym.spaces.Dict({"position": position, "start": gym.spaces.Discrete(2)})

    def reset(self, *, seed=None, options=None):
        cell, info = self.env.reset(seed=seed, options=options)
        self._room.goal_pos = self._room.np_random.choice(self._goals)
        self._taken = 0
        return self._observation(cell), info

    def step(self, action):
        cell, reward, _, _, info = self.env.step(action)
        self._taken += 1
        if self._taken % self._steps == 0:
            cell, _ = self.env.reset()
        return self._observation(cell), reward, self._taken == self._episodes * self._steps, False, info

    def _observation(self, cell: int) -> dict[str, Any]:
        return {
            "position": np.array(divmod(cell, self._room.size)),
            "start": int(self._taken % self._steps == 0),
        }


def dark_room(
    size: int, *, episodes: int, steps: int, goals: Goals, render_mode: str | None = None
) -> gym.Env:
    """Trials in a dark room of `size` × `size` cells."""
    NEEDS.check()
    from toymeta.dark_room import DarkRoom

    room = DarkRoom(size, goal=(0, 0), random_start=False, render_mode=render_mode)
    return Trial(room, goal_cells(size, goals), episodes=episodes, steps=steps)


def _recipe(name: str, size: int, episodes: int, steps: int, goals: Goals, budget: int) -> Recipe:
    trial = episodes * steps
    return Recipe(
        name=name,
        domain="meta-learning",
        remembers="where the goal was in the episodes before, and which cells were searched",
        needs=NEEDS,
        entry_point="tfmem.recipes.meta_learning:dark_room",
        kwargs={"size": size, "episodes": episodes, "steps": steps, "goals": goals},
        preset="control",
        settings={
            "env_steps": budget,
            "previous_reward": True,
            # The way to the goal is a few steps; beyond it there is the noise of goals not found yet.
            "gamma": 0.9,
            # A window holds a trial: what is found at its start pays until its end.
            "sequence_length": trial + 1,
            "burn_in": 0,
            "stored_state": False,
            "collect_steps": trial // 2,
        },
    )


RECIPES = (
    _recipe("dark-room", size=5, episodes=4, steps=12, goals="all", budget=200_000),
    _recipe("dark-room-9", size=9, episodes=8, steps=20, goals="training", budget=3_000_000),
)
