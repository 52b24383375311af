"""What `recipes/battery` can save at most: the exact optimum by whoever knows the year.

    python benchmarks/battery_bound.py

Charges are multiples of half of what the battery takes in an hour, so that dynamic programming over them is
exact, with perfect foresight of loads, sun and prices.

Writes benchmarks/results/battery_bound.json: the mean over every episode of the training and the held-out
weeks, in the recipe's rewards.
"""

import json
from pathlib import Path

import numpy as np
from machine import provenance

from tfmem.recipes.smart_home import HOURS, LEVELS, REWARD, starts

RESULTS = Path(__file__).parent / "results" / "battery_bound.json"


def plan(simulation, start: int) -> tuple[float, list[int]]:
    """The greatest return of the episode from hour `start` on, and its actions."""
    most, capacity = simulation.battery.max_battery_charge_per_timestep, simulation.battery.capacity
    charges = np.arange(0, capacity + 1, most / 2)
    after = np.clip(charges + most * np.array(LEVELS)[:, None], 0, capacity)  # [actions, charges]
    to = np.rint(after / (most / 2)).astype(int)
    value, choices = np.zeros(len(charges)), []
    for hour in reversed(range(start, start + HOURS)):
        needed = simulation.electricity_load_profile[hour] - simulation.solar_generation_profile[hour]
        bought = np.maximum(0, needed + after - charges)
        saved = (max(0, needed) - bought) * simulation.electricity_price[hour] / REWARD
        q = saved + value[to]
        value = q.max(axis=0)
        choices.append(q.argmax(axis=0))
    actions, charge = [], 0
    for choice in reversed(choices):
        actions.append(int(choice[charge]))
        charge = to[actions[-1], charge]
    return float(value[0]), actions


def main() -> None:
    from building_energy_storage_simulation import BuildingSimulation

    simulation = BuildingSimulation()
    content = provenance(("numpy", "building-energy-storage-simulation"))
    for weeks in ("training", "held_out"):
        returns = [plan(simulation, start)[0] for start in starts(weeks)]
        content[weeks] = {"episodes": len(returns), "optimum": float(np.mean(returns))}
        print(weeks, content[weeks], flush=True)
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
