"""Smart home: a battery that buys when power is cheap, from prices that are published once a day.

The Building Energy Storage Simulation [Rohrer, 2023] has a building's hourly load, its solar power and the
day-ahead prices of a year, and a battery of 100 kWh that takes or gives up to 20 kWh an hour. What the sun
and the battery do not cover is bought; what the sun gives beyond is lost. The published environment shows the
next hours of load, sun and prices at every step. Ours shows those of this hour, and the prices as day-ahead
markets do: all 24 at midnight, and none at the other hours. An episode is four days from a midnight on, the
battery empty at first.

Every fourth week is held out: an episode, and the midnight after it, lies in training weeks or in held-out
ones as a whole. `tfmem evaluate RUN --env-arg weeks=held_out` plays the latter. Nine months are few to learn
from, so an episode of training has the prices of its own days, and load and sun of other training days of the
season.
"""

from typing import Any, Literal

import gymnasium as gym
import numpy as np

from tfmem.errors import require
from tfmem.recipes.recipe import Needs, Recipe

NEEDS = Needs(("building_energy_storage_simulation", "pkg_resources"), "pip install 'tfmem[smart-home]'")

# Shares of the greatest charge in an hour.
LEVELS = (-1.0, -0.5, 0.0, 0.5, 1.0)
DAYS = 4
HOURS = 24 * DAYS
YEAR = 365
# How far apart the days may be from which an episode of training has prices, and load and sun.
SEASON = 24 * 21
# Cents: rewards are in units of 10 euros, prices in 20 cents a kWh, load and sun in 100 kWh.
REWARD, PRICE, ENERGY = 1_000.0, 20.0, 100.0

Weeks = Literal["training", "held_out"]
Prices = Literal["daily", "always"]


def starts(weeks: Weeks) -> np.ndarray:
    """The hours of the year at which episodes start, `[N]`."""
    held_out = np.arange(YEAR) // 7 % 4 == 3
    ours = held_out if weeks == "held_out" else ~held_out
    whole = np.lib.stride_tricks.sliding_window_view(ours, DAYS + 1).all(axis=1)
    return 24 * np.flatnonzero(whole)


class Battery(gym.Env):
    """The battery of a building for four days.

    | part of the observation | holds |
    | --- | --- |
    | charge `[1]` | the share of the battery that is charged |
    | hour | of the day |
    | load, solar `[1]` | of this hour, in 100 kWh |
    | prices `[24]` | of the day's hours, in 20 cents a kWh, at midnight; else zeros |

    The action is one of five `LEVELS`; the battery gives no more than it has. The reward is what is saved
    against not using it, in 10 euros.

    Args:
      simulation: a `building_energy_storage_simulation.BuildingSimulation`.
      weeks: where episodes are from, `"training"` or `"held_out"`. Training mixes: load and sun are of
        another episode's days, at most three weeks from those of the prices. Held-out weeks are as they were.
      prices: `"always"` shows the day's prices at every hour: nothing is left to remember.
    """

    def __init__(self, simulation: Any, weeks: Weeks = "training", prices: Prices = "daily"):
        require(weeks in ("training", "held_out"), "weeks", weeks, "training or held_out")
        require(prices in ("daily", "always"), "prices", prices, "daily or always")
        self.simulation = simulation
        self._starts = starts(weeks)
        self._mixes = weeks == "training"
        self._load, self._solar = simulation.electricity_load_profile, simulation.solar_generation_profile
        self._always = prices == "always"
        energy = gym.spaces.Box(0, np.inf, (1,), np.float32)
        self.observation_space = gym.spaces.Dict(
            {
                "charge": gym.spaces.Box(0, 1, (1,), np.float32),
                "hour": gym.spaces.Discrete(24),
                "load": energy,
                "solar": energy,
                "prices": gym.spaces.Box(-np.inf, np.inf, (24,), np.float32),
            }
        )
        self.action_space = gym.spaces.Discrete(len(LEVELS))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.simulation.reset()
        start = int(self.np_random.choice(self._starts))
        self.simulation.start_index = start
        if self._mixes:
            shift = start - int(self.np_random.choice(self._of_the_season(start)))
            self.simulation.electricity_load_profile = np.roll(self._load, shift)
            self.simulation.solar_generation_profile = np.roll(self._solar, shift)
        return self._observe(), {}

    def _of_the_season(self, start: int) -> np.ndarray:
        """Starts within `SEASON` of this one, over the turn of the year as well."""
        apart = np.abs(self._starts - start)
        return self._starts[np.minimum(apart, 24 * YEAR - apart) <= SEASON]

    def step(self, action):
        simulation, now = self.simulation, self._now
        charge, most = simulation.battery.state_of_charge, simulation.battery.max_battery_charge_per_timestep
        needed = simulation.electricity_load_profile[now] - simulation.solar_generation_profile[now]
        # The simulation counts as bought what is asked for beyond the charge.
        bought, price = simulation.simulate_one_step(max(LEVELS[action], -charge / most))
        reward = float((max(0, needed) - bought) * price) / REWARD
        return self._observe(), reward, simulation.step_count == HOURS, False, {}

    @property
    def _now(self) -> int:
        """The hour of the year."""
        return self.simulation.start_index + self.simulation.step_count

    def _observe(self) -> dict[str, Any]:
        simulation, now = self.simulation, self._now
        hour = now % 24
        published = simulation.electricity_price[now - hour :][:24] * (self._always or hour == 0)
        charged = simulation.battery.state_of_charge / simulation.battery.capacity
        return {
            "charge": np.array([charged], np.float32),
            "hour": np.int64(hour),
            "load": np.array([simulation.electricity_load_profile[now] / ENERGY], np.float32),
            "solar": np.array([simulation.solar_generation_profile[now] / ENERGY], np.float32),
            "prices": (published / PRICE).astype(np.float32),
        }


def battery(weeks: Weeks = "training", prices: Prices = "daily") -> gym.Env:
    """The battery of a building, its prices published once a day; see `Battery`."""
    NEEDS.check()
    from building_energy_storage_simulation import BuildingSimulation

    return Battery(BuildingSimulation(), weeks, prices)


RECIPES = (
    Recipe(
        name="battery",
        domain="smart home",
        remembers="the prices of the day's 24 hours, shown at midnight",
        needs=NEEDS,
        entry_point="tfmem.recipes.smart_home:battery",
        preset="control",
        settings={
            "env_steps": 1_000_000,
            # What is bought is used within a day: a longer horizon adds the noise of days that are not known.
            "gamma": 0.97,
        },
    ),
)
