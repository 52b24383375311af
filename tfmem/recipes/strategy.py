"""Real-time strategy: μRTS [Ontañón, 2013] as Gym-μRTS has it [Huang et al., 2021], in the fog of war.

Two players gather resources, build and fight on a map of 16×16 cells, and see only what is near their units.
The opponent is `POWorkerRush`, which trains workers and sends them to attack. Rewards and their weights are
the published ones: 10 for a win and −10 for any other end; 1 for a load of resources harvested or brought
home, a worker, or an attack, .2 for a building, and 4 for a combat unit, when they are begun. Games are cut
at 2,000 frames.

Ours: one unit is told what to do at a time, in place of all that are idle at once; the frame passes when all
of them have been. Orders are those that μRTS' scripted players give, such as to harvest or to attack, with
their shortest paths [A*; Hart et al., 1968]; a unit is asked again after each of its moves. A unit that can
only wait is not asked, and one that was told to wait is asked again after `WAIT` frames. An observation is
what the unit has around it, its place, and the resources at hand, and it attacks what is among that: what the
player's other units see is shown when it is their turn, and has to be remembered. The infos' `action_mask`
tells what the unit can do.

The game knows no chance. What a seed draws is one of twelve maps, so that a policy that does not explore
plays twelve games in all.
"""

import functools
import gc
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
PLAYER, ENEMY, NOBODY = 0, 1, -1

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

WEAPONS = ("Light", "Heavy", "Ranged")
# What a unit can be told, and the middles of the regions that it can be told to go to.
REGIONS = tuple(itertools.product((2, 8, 13), repeat=2))
ORDERS = (
    "wait",
    "harvest",  # the nearest resources in sight, and bring them home
    "attack",  # the nearest enemy of those around
    "build barracks",
    *(f"train {kind}" for kind in ("Worker", *WEAPONS)),
    *(f"go to row {row}, column {column}" for row, column in REGIONS),
)
WAIT_ORDER = ORDERS.index("wait")
# Rows and columns between a base and the barracks that are built beside it.
CORNERS = tuple(itertools.product((-2, 2), repeat=2))
# Cells to each side of a unit that the game tells attacks apart by.
REACH = 3
PRODUCING, ATTACKING = 4, 5  # kinds of actions, in the game's numbers


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


class Unit(NamedTuple):
    """A unit that the player sees, resources among them."""

    row: int
    column: int
    owner: int  # a player, −1 for none
    kind: str
    java: Any

    def distance(self, other: "Unit") -> int:
        return abs(self.row - other.row) + abs(self.column - other.column)

    def is_around(self, other: "Unit") -> bool:
        return max(abs(self.row - other.row), abs(self.column - other.column)) <= AROUND


def _nearest(to: Unit, units: Iterable[Unit]) -> Unit | None:
    return min(units, key=to.distance, default=None)


def _in_numbers(unit: Unit, action: Any) -> list[int]:
    """A unit's action as the game takes it.

    The cell; what to do, of waiting, walking, harvesting, returning, producing, attacking; where to, a number
    each for the four in the middle; what kind to produce; whom of the 7×7 cells around to attack.
    """
    what = int(action.getType())
    numbers = [SIZE * unit.row + unit.column, what, 0, 0, 0, 0, 0, 0]
    if what == ATTACKING:
        down, right = action.getLocationY() - unit.row + REACH, action.getLocationX() - unit.column + REACH
        numbers[7] = int((2 * REACH + 1) * down + right)
    else:
        numbers[1 + what] = int(action.getDirection())
    if what == PRODUCING:
        numbers[6] = int(action.getUnitType().ID)
    return numbers


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
        unit, possible = self._idle.pop(0)
        allowed = [WAIT_ORDER, *possible]
        require(action in allowed, "action", int(action), f"one of {allowed}")
        if action == WAIT_ORDER:
            self._waits_until[unit.row, unit.column] = self._time + WAIT
        else:
            self._given.append(possible[int(action)])
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
        state = self._game.gs
        self._time, self._over = int(state.getTime()), bool(state.gameover())
        self._idle: list[tuple[Unit, dict[int, list[int]]]] = []
        free = [
            unit
            for unit in state.getUnits()
            if unit.getPlayer() == PLAYER
            and state.getUnitAction(unit) is None
            and self._waits_until[unit.getY(), unit.getX()] <= self._time
        ]
        if self._over or not free:
            return
        self._seen = _java("rts.PartiallyObservableGameState")(state, PLAYER)
        units = [
            Unit(int(u.getY()), int(u.getX()), int(u.getPlayer()), str(u.getType().name), u)
            for u in self._seen.getUnits()
        ]
        asked = {(int(unit.getY()), int(unit.getX())) for unit in free}
        for unit in units:
            if (unit.row, unit.column) in asked:
                possible = self._possible(unit, units)
                if possible:
                    self._idle.append((unit, possible))
        self._idle.sort(key=lambda one: one[0][:2])
        if self._idle:
            self._cells = self._view()

    def _possible(self, unit: Unit, units: list[Unit]) -> dict[int, list[int]]:
        """What the unit can be told but to wait, by the order's place in `ORDERS`, in the game's numbers."""
        # Returns what to do next, or null where there is nothing.
        actions = {ORDERS.index(name): plan.execute(self._seen) for name, plan in self._plans(unit, units)}
        return {
            order: _in_numbers(unit, action)
            for order, action in actions.items()
            if action is not None and self._seen.isUnitActionAllowed(unit.java, action)
        }

    def _plans(self, unit: Unit, units: list[Unit]) -> Iterator[tuple[str, Any]]:
        """Orders for a kind of unit, with the scripted players' plan to carry each out."""

        def plan(name: str, *arguments: Any) -> Any:
            return _java(f"ai.abstraction.{name}")(unit.java, *arguments)

        def kind(name: str) -> Any:
            return self._seen.getUnitTypeTable().getUnitType(name)

        paths = _java("ai.abstraction.pathfinding.AStarPathFinding")()
        base = _nearest(unit, (u for u in units if u.owner == PLAYER and u.kind == "Base"))
        if unit.kind == "Base":
            yield "train Worker", plan("Train", kind("Worker"))
            return
        if unit.kind == "Barracks":
            for weapon in WEAPONS:
                yield f"train {weapon}", plan("Train", kind(weapon))
            return
        if unit.kind == "Worker" and base:
            resources = _nearest(unit, (u for u in units if u.owner == NOBODY))
            if resources:
                yield "harvest", plan("Harvest", resources.java, base.java, paths)
            taken = {(u.row, u.column) for u in units}
            for down, right in CORNERS:
                row, column = base.row + down, base.column + right
                if 0 <= row < SIZE and 0 <= column < SIZE and (row, column) not in taken:
                    yield "build barracks", plan("Build", kind("Barracks"), column, row, paths)
                    break
        enemy = _nearest(unit, (u for u in units if u.owner == ENEMY and u.is_around(unit)))
        if enemy:
            yield "attack", plan("Attack", enemy.java, paths)
        for name, (row, column) in zip(ORDERS[-len(REGIONS) :], REGIONS, strict=True):
            yield name, plan("Move", column, row, paths)

    def _view(self) -> np.ndarray:
        """What the player sees, `[24, 24, 29]` of 0 and 1, the map with a margin around it."""
        numbers = np.moveaxis(np.array(self._seen.getMatrixObservation(PLAYER)), 0, -1)
        cells = np.zeros([SIZE + 2 * AROUND, SIZE + 2 * AROUND, PLANES], np.uint8)
        inside = cells[AROUND:-AROUND, AROUND:-AROUND]
        np.put_along_axis(inside, CODE_STARTS + numbers.clip(0, CELL - 1), 1, axis=-1)
        return cells

    def _observation(self) -> dict[str, np.ndarray]:
        parts: Any = self.observation_space
        if not self._idle:
            return {name: np.zeros(part.shape, part.dtype) for name, part in parts.items()}
        unit, _ = self._idle[0]
        side = 2 * AROUND + 1
        resources = min(self._game.gs.getPlayer(PLAYER).getResources(), DEAREST)
        return {
            "around": self._cells[unit.row : unit.row + side, unit.column : unit.column + side],
            "place": np.array([unit.row, unit.column, resources]),
        }

    def _info(self) -> dict[str, np.ndarray]:
        mask = np.zeros(len(ORDERS), np.int8)
        if self._idle:
            mask[[WAIT_ORDER, *self._idle[0][1]]] = 1
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
