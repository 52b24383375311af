"""The battery: what it sees, what it saves, and that held-out weeks are held out."""

import gymnasium as gym
import numpy as np
import pytest

from tfmem.errors import InvalidInput
from tfmem.recipes import RECIPES, smart_home

pytestmark = pytest.mark.skipif(
    bool(RECIPES["recipes/battery"].needs.missing()), reason="needs building-energy-storage-simulation"
)


def make(**kwargs):
    return gym.make("recipes/battery", **kwargs)


def start_of(environment):
    return environment.unwrapped.simulation.start_index


def play(environment, actions):
    """What the steps of `actions` return."""
    return [environment.step(action) for action in actions]


def test_prices_are_shown_at_midnight_only():
    environment = make()
    seen, _ = environment.reset(seed=1)
    observed = [seen, *(step[0] for step in play(environment, [3] * smart_home.HOURS))]
    simulation, start = environment.unwrapped.simulation, start_of(environment)
    assert start % 24 == 0
    for i, seen in enumerate(observed):
        now = start + i
        assert seen["hour"] == i % 24
        prices = simulation.electricity_price[now : now + 24] / 20 if i % 24 == 0 else np.zeros(24)
        np.testing.assert_allclose(seen["prices"], prices, rtol=1e-6)
        np.testing.assert_allclose(seen["load"], simulation.electricity_load_profile[now] / 100, rtol=1e-6)
        np.testing.assert_allclose(seen["solar"], simulation.solar_generation_profile[now] / 100, rtol=1e-6)


def test_always_shows_the_prices_of_the_day_at_every_hour():
    environment = make(prices="always")
    seen, _ = environment.reset(seed=1)
    for step in play(environment, [2] * 23):
        np.testing.assert_array_equal(step[0]["prices"], seen["prices"])
    assert not np.array_equal(environment.step(2)[0]["prices"], seen["prices"])


def test_levels_charge_and_discharge_within_the_battery():
    environment = make()
    environment.reset(seed=2)
    actions = [4, 3, 2, 1, 0, 0, 4, 4, 4, 4, 4, 4]
    charges = [float(step[0]["charge"][0]) for step in play(environment, actions)]
    np.testing.assert_allclose(charges, [0.2, 0.3, 0.3, 0.2, 0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1], atol=1e-6)


def test_the_reward_is_what_is_saved():
    environment = make()
    environment.reset(seed=3)
    actions = np.random.default_rng(0).integers(5, size=smart_home.HOURS)
    steps = play(environment, actions)
    simulation, now, charge = environment.unwrapped.simulation, start_of(environment), 0.0
    for action, step in zip(actions, steps, strict=True):
        after = min(100, max(0, charge + 10 * (action - 2)))
        needed = simulation.electricity_load_profile[now] - simulation.solar_generation_profile[now]
        bought = max(0, needed + after - charge)
        cents = (max(0, needed) - bought) * simulation.electricity_price[now]
        assert step[1] == pytest.approx(cents / 1_000)
        now, charge = now + 1, after
    assert [step[2] for step in steps] == [False] * (smart_home.HOURS - 1) + [True]
    assert not any(step[3] for step in steps)


def test_doing_nothing_saves_nothing():
    environment = make()
    environment.reset(seed=4)
    assert all(step[1] == 0 for step in play(environment, [2] * smart_home.HOURS))


def test_held_out_weeks_are_whole_and_no_episode_of_training_touches_them():
    weeks = {
        kind: {(start + hour) // (24 * 7) for start in smart_home.starts(kind) for hour in range(97)}
        for kind in ("training", "held_out")
    }
    assert weeks["held_out"] == set(range(3, 52, 4))
    assert not weeks["training"] & weeks["held_out"]
    assert len(weeks["training"]) == 39
    for kind in weeks:
        environment = make(weeks=kind)
        seen = set()
        for seed in range(50):
            environment.reset(seed=seed)
            seen.add(start_of(environment))
        assert seen <= set(smart_home.starts(kind))
        assert len(seen) > 20


def profiles(simulation, start):
    """Load, sun and prices of an episode and the midnight after it, each `[97]`."""
    year = (
        simulation.electricity_load_profile,
        simulation.solar_generation_profile,
        simulation.electricity_price,
    )
    return [profile[start : start + 97] for profile in year]


def profiles_of(environment):
    return profiles(environment.unwrapped.simulation, start_of(environment))


def test_training_has_load_and_sun_of_other_training_days_of_the_season():
    from building_energy_storage_simulation import BuildingSimulation

    published = BuildingSimulation()
    environment, pairs = make(), set()
    for seed in range(500):
        environment.reset(seed=seed)
        load, solar, prices = profiles_of(environment)
        start = start_of(environment)
        np.testing.assert_array_equal(prices, published.electricity_price[start : start + 97])
        # Both are of the same days, which are those of an episode of training.
        (day,) = (
            day
            for day in smart_home.starts("training")
            if np.array_equal(load, published.electricity_load_profile[day : day + 97])
            and np.array_equal(solar, published.solar_generation_profile[day : day + 97])
        )
        pairs.add((start // 24, int(day) // 24))
    assert len(pairs) > 450
    apart = np.array([abs(start - day) for start, day in pairs])
    assert np.minimum(apart, 365 - apart).max() == 21
    assert apart.min() == 0
    assert apart.max() > 300  # December has days of January


def test_held_out_weeks_are_as_they_were():
    from building_energy_storage_simulation import BuildingSimulation

    published = BuildingSimulation()
    environment = make(weeks="held_out")
    for seed in range(20):
        environment.reset(seed=seed)
        start = start_of(environment)
        np.testing.assert_array_equal(profiles_of(environment), profiles(published, start))


def test_a_seed_gives_the_same_episode():
    first, again = make(), make()
    for seed in (5, None, 6):
        first.reset(seed=seed)
        again.reset(seed=seed)
        assert start_of(first) == start_of(again)
        np.testing.assert_array_equal(profiles_of(first), profiles_of(again))


def test_the_optimum_is_what_its_actions_save():
    from battery_bound import plan

    environment = make(weeks="held_out")
    rng = np.random.default_rng(0)
    for seed in range(3):
        environment.reset(seed=seed)
        optimum, actions = plan(environment.unwrapped.simulation, start_of(environment))
        environment.reset(seed=seed)
        assert sum(step[1] for step in play(environment, actions)) == pytest.approx(optimum)
        environment.reset(seed=seed)
        assert sum(step[1] for step in play(environment, rng.integers(5, size=96))) < optimum


def test_what_is_unknown_is_named():
    with pytest.raises(InvalidInput, match="weeks must be training or held_out, not 'all'"):
        make(weeks="all")
    with pytest.raises(InvalidInput, match="prices must be daily or always, not 'hourly'"):
        make(prices="hourly")
