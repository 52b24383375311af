"""Manipulation: Fetch's arm reaches for a goal that it is told once [Plappert et al., 2018].

Gymnasium-Robotics' FetchReachDense moves the gripper of a robot's arm to a point within .15 m of where it
starts; the reward is minus the distance in metres, for 50 steps. The published environment shows the goal at
every step and takes displacements of the gripper. Ours shows it at the reset only, and has seven moves: stay,
or one direction of x, y or z at full deflection, about .03 m a step.

It draws no frames: MuJoCo's drawing without a screen, by Mesa, crashes a process that has TensorFlow.
"""

from typing import Any, Literal

import gymnasium as gym
import numpy as np

from tfmem.errors import require
from tfmem.recipes.recipe import Needs, Recipe

NEEDS = Needs(("gymnasium_robotics", "mujoco"), "pip install 'tfmem[robotics]'")

# x, y, z and the fingers, which stay closed.
MOVES = np.array(
    [[0, 0, 0, 0], *([sign * (i == axis) for i in range(4)] for axis in range(3) for sign in (1, -1))],
    np.float32,
)
# Metres: goals are this far from the start on every axis; what a move makes.
REACH, MOVE = 0.15, 0.03

Goal = Literal["once", "always"]


class Reach(gym.Wrapper):
    """FetchReach with seven moves, its goal shown at the reset or always.

    | part of the observation | holds |
    | --- | --- |
    | position `[3]` | the gripper's, from where it starts, in units of .15 m |
    | velocity `[3]` | the gripper's, in .03 m a step |
    | goal `[3]` | the goal's position, in the gripper's units; zeros where it is not shown |
    | shown | whether it is |
    """

    def __init__(self, env: gym.Env, goal: Goal = "once"):
        super().__init__(env)
        require(goal in ("once", "always"), "goal", goal, "once or always")
        self._always = goal == "always"
        vector = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
        self.observation_space = gym.spaces.Dict(
            {"position": vector, "velocity": vector, "goal": vector, "shown": gym.spaces.Discrete(2)}
        )
        self.action_space = gym.spaces.Discrete(len(MOVES))

    def reset(self, *, seed=None, options=None):
        observation, info = self.env.reset(seed=seed, options=options)
        return self._observe(observation, shown=True), info

    def step(self, action):
        observation, reward, terminated, truncated, info = self.env.step(MOVES[action])
        return self._observe(observation, shown=self._always), float(reward), terminated, truncated, info

    def _observe(self, observation, shown: bool) -> dict[str, Any]:
        fetch: Any = self.unwrapped
        position, goal = (
            (observation[name] - fetch.initial_gripper_xpos) / REACH
            for name in ("achieved_goal", "desired_goal")
        )
        return {
            "position": position.astype(np.float32),
            "velocity": (observation["observation"][5:8] / MOVE).astype(np.float32),
            "goal": (goal * shown).astype(np.float32),
            "shown": np.int64(shown),
        }


def reach(goal: Goal = "once") -> gym.Env:
    """FetchReachDense with seven moves, the goal shown at the reset only.

    Args:
      goal: `"always"` shows it at every step: nothing is left to remember.
    """
    NEEDS.check()
    import gymnasium_robotics

    if "FetchReachDense-v4" not in gym.registry:
        gym.register_envs(gymnasium_robotics)
    return Reach(gym.make("FetchReachDense-v4", disable_env_checker=True), goal)


RECIPES = (
    Recipe(
        name="reach",
        domain="manipulation",
        remembers="where the goal is, shown before the first move, until the arm is there and keeps still",
        needs=NEEDS,
        entry_point="tfmem.recipes.manipulation:reach",
        # No move decides what is told, and each is rewarded at once: a short horizon will do.
        preset="recall",
        settings={"env_steps": 150_000},
    ),
)
