"""Real-time strategy: μRTS [Ontañón, 2013] as Gym-μRTS has it [Huang et al., 2021], in the fog of war.

Two players gather resources, build and fight on a map of 16×16 cells, and see only what is near their units.
The opponent is `POWorkerRush`, which trains workers and sends them to attack. Rewards and their weights are
the published ones: 10 for a win and −10 for any other end; 1 for a load of resources harvested or brought
home, a worker, or an attack, .2 for a building, and 4 for a combat unit, when they are begun. Games are cut
at 2,000 frames.

Ours: one unit is told what to do at a time, in place of all that are idle at once; the frame passes when all
of them have been. A unit that can only wait is not asked, and one that was told to wait is asked again after
`WAIT` frames. An observation is what the unit has around it, its place, and the resources at hand: what the
player's other units see is shown when it is their turn, and has to be remembered. The infos' `action_mask`
tells what the unit can do.

The game knows no chance. What a seed draws is one of twelve maps, so that a policy that does not explore
plays twelve games in all.
"""

import functools
import gc
import itertools
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from tfmem.errors import require
from tfmem.recipes.recipe import Needs, Recipe

NEEDS = Needs(
    ("gym_microrts", "jpype"),
    # Its metadata ask for an old Python and for packages that the game itself does not use.
    "pip install 'tfmem[strategy]' && pip install --no-deps --ignore-requires-python gym-microrts==0.6.0 "
    "and a Java runtime",
    programs=("java",),
)

MAPS = tuple(f"maps/16x16/basesWorkers16x16{letter}.xml" for letter in "ABCDEFGHIJKL")
SIZE = 16
FRAMES = 2_000
WAIT = 10  # frames, as long as a worker walks a cell
PLAYER = 0

# Of a win, a load of resources harvested or returned, a worker, a building, an attack, a combat unit.
REWARDS = {
    "WinLoss": 10.0,
    "ResourceGather": 1.0,
    "ProduceWorker": 1.0,
    "ProduceBuilding": 0.2,
    "Attack": 1.0,
    "ProduceCombatUnit": 4.0,
}
WEIGHTS = np.array(list(REWARDS.values()))

# How many values each number of a cell is told apart by: hit points, resources, owner, kind of unit, what it
# does, whether the cell is in sight.
CELL = np.array((5, 5, 3, 8, 6, 2))
CODE_STARTS = np.cumsum(CELL) - CELL
PLANES = int(CELL.sum())
AROUND = 4  # cells to each side of the unit; a worker sees 3 far
DEAREST = 10  # resources that a base costs; more are told as many

# An order's parts, in the game's order: what to do; where to walk, harvest, return, and produce; the kind of
# unit to produce; and whom of the 7×7 cells around the unit to attack.
PARTS = (6, 4, 4, 4, 4, 7, 49)
# Which of the parts tell more about waiting, walking, harvesting, returning, producing, attacking.
DETAILS = ((), (1,), (2,), (3,), (4, 5), (6,))


def _orders() -> np.ndarray:
    """Every order, `[90, 7]`; parts that do not matter are 0."""
    rows = []
    for kind, details in enumerate(DETAILS):
        for chosen in itertools.product(*(range(PARTS[part]) for part in details)):
            order = np.zeros(len(PARTS), np.int32)
            order[0] = kind
            order[list(details)] = chosen
            rows.append(order)
    return np.array(rows)


def _asked_of() -> np.ndarray:
    """Where the game's list of what a unit can do has to hold 1 for each order, `[90, 7]`."""
    orders, starts = _orders(), np.cumsum((0, *PARTS[:-1]))
    matters = np.array([[part in (0, *DETAILS[kind]) for part in range(len(PARTS))] for kind in orders[:, 0]])
    return np.where(matters, starts + orders, orders[:, :1])


WAITING = 0  # the first order
ORDERS = _orders()
ASKED_OF = _asked_of()


@functools.cache
def _java(name: str) -> Any:
    """A class of the game; the first one starts the process's Java machine."""
    import gym_microrts
    import jpype

    if not jpype.isJVMStarted():
        jar = Path(gym_microrts.__path__[0]) / "microrts" / "microrts.jar"
        # Signals stay Python's. The quick compiler and one thread to collect garbage make a step take half as
        # long where cores are few.
        flags = ("-Xrs", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
        callbacks = list(gc.callbacks)
        jpype.startJVM(*flags, classpath=[str(jar)], interrupt=False)
        # JPype has Python's and Java's garbage collectors set each other off, so that a process which grows
        # does little else (its issue 1197). No cycle of objects runs through both here.
        gc.callbacks[:] = callbacks
        # What Java prints is no result of a command.
        system = jpype.JClass("java.lang.System")
        system.setOut(system.err)
    return jpype.JClass(name)


def _game(map_path: str) -> Any:
    """A game on a map, not yet begun."""
    import gym_microrts

    kinds = _java("rts.units.UnitTypeTable")()
    rewards = [_java(f"ai.rewardfunction.{name}RewardFunction")() for name in REWARDS]
    opponent = _java("ai.abstraction.partialobservability.POWorkerRush")(kinds)
    folder = str(Path(gym_microrts.__path__[0]) / "microrts")
    return _java("tests.JNIGridnetClient")(rewards, folder, map_path, opponent, kinds, True)


class MicroRTS(gym.Env):
    """μRTS against `POWorkerRush`, one unit at a time.

    Actions are `ORDERS`. An observation has the cells `around` the unit, `[9, 9, 29]` of 0 and 1, and its
    `place`: row, column, and the player's resources. Where no unit is left to be asked, all are 0.
    """

    def __init__(self):
        NEEDS.check()
        side = 2 * AROUND + 1
        self.action_space = gym.spaces.Discrete(len(ORDERS))
        self.observation_space = gym.spaces.Dict(
            {
                "around": gym.spaces.Box(0, 1, (side, side, PLANES), np.uint8),
                "place": gym.spaces.MultiDiscrete([SIZE, SIZE, DEAREST + 1]),
            }
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._game = _game(str(self.np_random.choice(MAPS)))
        self._game.reset(PLAYER)
        self._given: list[list[int]] = []
        self._waits_until = np.zeros([SIZE, SIZE], np.int32)
        self._begin_frame()
        return self._observation(), self._info()

    def step(self, action):
        row, column, mask = self._idle.pop(0)
        require(mask[action], "action", int(action), f"one of {np.flatnonzero(mask).tolist()}")
        if action == WAITING:
            self._waits_until[row, column] = self._time + WAIT
        else:
            self._given.append([SIZE * row + column, *ORDERS[action].tolist()])
        reward = 0.0
        while not (self._idle or self._over or self._time >= FRAMES):
            reward += self._pass_frame()
        cut = self._time >= FRAMES and not self._over
        return self._observation(), reward, self._over, cut, self._info()

    def _pass_frame(self) -> float:
        """Has the orders carried out; what that pays."""
        rewards = self._game.gameStep(_java("int[][]")(self._given), PLAYER).reward
        self._given = []
        self._begin_frame()
        return float(np.array(rewards) @ WEIGHTS)

    def _begin_frame(self) -> None:
        """Sees which units have to be told what to do."""
        self._time, self._over = int(self._game.gs.getTime()), bool(self._game.gs.gameover())
        able = np.array(self._game.getMasks(PLAYER))
        free = (able[..., 0] == 1) & (self._waits_until <= self._time) & (not self._over)
        masks = able[free][:, 1 + ASKED_OF].all(axis=-1).astype(np.int8)
        self._idle = [
            (row, column, mask)
            for (row, column), mask in zip(np.argwhere(free), masks, strict=True)
            if mask[WAITING + 1 :].any()
        ]
        if self._idle:
            self._seen = self._view()

    def _view(self) -> np.ndarray:
        """What the player sees, `[24, 24, 29]` of 0 and 1, the map with a margin around it."""
        state = _java("rts.PartiallyObservableGameState")(self._game.gs, PLAYER)
        numbers = np.moveaxis(np.array(state.getMatrixObservation(PLAYER)), 0, -1)
        seen = np.zeros([SIZE + 2 * AROUND, SIZE + 2 * AROUND, PLANES], np.uint8)
        inside = seen[AROUND:-AROUND, AROUND:-AROUND]
        np.put_along_axis(inside, CODE_STARTS + numbers.clip(0, CELL - 1), 1, axis=-1)
        return seen

    def _observation(self) -> dict[str, np.ndarray]:
        parts: Any = self.observation_space
        if not self._idle:
            return {name: np.zeros(part.shape, part.dtype) for name, part in parts.items()}
        row, column, _ = self._idle[0]
        side = 2 * AROUND + 1
        resources = min(self._game.gs.getPlayer(PLAYER).getResources(), DEAREST)
        return {
            "around": self._seen[row : row + side, column : column + side],
            "place": np.array([row, column, resources]),
        }

    def _info(self) -> dict[str, np.ndarray]:
        mask = self._idle[0][-1] if self._idle else np.zeros(len(ORDERS), np.int8)
        return {"action_mask": mask}


RECIPES = (
    Recipe(
        name="microrts",
        domain="real-time strategy",
        remembers="what other units have seen, the enemy above all, and what they were told to do",
        needs=NEEDS,
        entry_point="tfmem.recipes.strategy:MicroRTS",
        preset="atari",
        settings={
            "env_steps": 300_000,
            "action_mask": True,
            # Games that are not lost at once have a thousand decisions, and there are twelve.
            "eval_episodes": len(MAPS),
            "checkpoint_interval": 50_000,
        },
    ),
)
