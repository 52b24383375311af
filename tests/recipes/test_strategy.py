"""μRTS one unit at a time: who is asked, what it may do and sees, what is paid, when games end."""

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

from tfmem.environments import load
from tfmem.errors import InvalidInput
from tfmem.recipes import strategy
from tfmem.recipes.strategy import AROUND, CELL, NEEDS, ORDERS, WAIT

pytestmark = pytest.mark.skipif(
    bool(NEEDS.missing()), reason=f"{', '.join(NEEDS.missing())} not installed: {NEEDS.install}"
)

BASE, WORKER = 1, 3  # kinds
OWNER, KIND, IN_SIGHT = 2, 3, 5  # of a cell's codes
HARVEST, ATTACK, TRAIN_WORKER = map(ORDERS.index, ("harvest", "attack", "train Worker"))
BARRACKS = ORDERS.index("build barracks")
GO = [ORDERS.index(order) for order in ORDERS if order.startswith("go to")]


def allowed(info):
    return set(np.flatnonzero(info["action_mask"]).tolist())


def codes(around):
    """The numbers of the cells `[9, 9, 6]`."""
    parts = np.split(around, np.cumsum(CELL)[:-1], axis=-1)
    return np.stack([part.argmax(axis=-1) for part in parts], axis=-1)


@pytest.fixture
def first_map(monkeypatch):
    """A worker at row 1 and column 1, the base at 2 and 2, resources in the corner and below it."""
    monkeypatch.setattr(strategy, "MAPS", strategy.MAPS[:1])


@pytest.fixture
def game(first_map):
    game = gym.make("recipes/microrts").unwrapped
    game.started = game.reset(seed=0)
    return game


def test_a_unit_is_asked_for_what_it_can_do(game):
    observation, info = game.started
    assert observation["place"].tolist() == [1, 1, 5]
    # Nobody to attack, and where the base stands nobody can go.
    assert allowed(info) == {0, HARVEST, BARRACKS, *GO[1:]}
    observation, *_, info = game.step(HARVEST)
    assert observation["place"].tolist() == [2, 2, 5]
    assert allowed(info) == {0, TRAIN_WORKER}


def test_orders_are_carried_out_and_pay(game):
    game.step(HARVEST)
    _, reward, *_ = game.step(TRAIN_WORKER)
    assert reward == 1 + 1  # as they are begun
    observation, reward, *_ = game.step(HARVEST)
    assert reward == 0
    assert observation["place"].tolist() == [2, 1, 5]  # with resources to bring home, and beside the base
    assert sum(game.step(order)[1] for order in (HARVEST, 0, 0)) == 1


def test_workers_build_barracks_which_train_for_combat(game):
    game._game.gs.getPlayer(0).setResources(20)
    info, total = game._info(), 0.0
    arms = {ORDERS.index(f"train {weapon}") for weapon in strategy.WEAPONS}
    for _ in range(60):
        if arms & allowed(info):
            break
        _, reward, *_, info = game.step(BARRACKS if BARRACKS in allowed(info) else 0)
        total += reward
    assert allowed(info) == {0, *arms}
    assert total == pytest.approx(0.2)  # for the barracks; there is one worker, and it built them once
    _, reward, *_ = game.step(min(arms))
    while reward == 0:
        _, reward, *_ = game.step(0)
    assert reward == 4


def test_who_is_told_to_go_takes_a_step_on_the_shortest_way(game):
    game.step(ORDERS.index("go to row 13, column 13"))
    observation, *_ = game.step(0)
    row, column, _ = observation["place"]
    assert (row, column) in {(1, 2), (2, 1)}


def test_who_waits_is_asked_again_after_a_while(game):
    game.step(0)
    observation, *_ = game.step(0)
    assert game._time == WAIT
    assert observation["place"].tolist() == [1, 1, 5]


def test_shows_what_is_around_the_unit(game):
    seen = codes(game.started[0]["around"])
    middle = seen[AROUND, AROUND]
    assert (middle[OWNER], middle[KIND] - 1, middle[IN_SIGHT]) == (1, WORKER, 1)
    base = seen[AROUND + 1, AROUND + 1]
    assert (base[OWNER], base[KIND] - 1) == (1, BASE)
    outside = game.started[0]["around"][: AROUND - 1]
    assert not outside.any()  # beyond the map's edge


def test_the_enemy_is_seen_when_near_only(game):
    state = game._game.gs
    (enemy,) = [u for u in state.getUnits() if u.getPlayer() == 1 and u.getType().ID == WORKER]
    assert not (codes(game._view())[..., OWNER] == 2).any()
    enemy.setX(4)
    enemy.setY(4)
    game._begin_frame()
    seen = codes(game._view())[..., OWNER] == 2
    assert np.argwhere(seen).tolist() == [[4 + AROUND, 4 + AROUND]]


def test_an_enemy_among_what_is_around_can_be_attacked(game):
    state = game._game.gs
    (enemy,) = [u for u in state.getUnits() if u.getPlayer() == 1 and u.getType().ID == WORKER]
    enemy.setX(2)
    enemy.setY(1)
    game._begin_frame()
    assert ATTACK in allowed(game._info())
    game.step(ATTACK)
    _, reward, *_ = game.step(0)
    assert reward == 1


def test_an_enemy_that_only_another_unit_has_around_it_cannot_be_attacked(game):
    state = game._game.gs
    mine, enemy = (u for u in state.getUnits() if u.getType().ID == WORKER)
    mine.setX(2 + AROUND)
    enemy.setX(3 + AROUND)
    enemy.setY(2)
    game._begin_frame()
    assert ATTACK in allowed(game._info())
    mine.setX(1)
    game._begin_frame()
    assert ATTACK not in allowed(game._info())


def test_a_player_that_waits_loses(game):
    total, ended = 0.0, False
    while not ended:
        observation, reward, ended, cut, info = game.step(0)
        total += reward
        assert not cut
    assert total == -10
    assert not any(part.any() for part in observation.values())
    assert not allowed(info)


def test_long_games_are_cut(game, monkeypatch):
    monkeypatch.setattr(strategy, "FRAMES", 2 * WAIT)
    ends = [game.step(0)[2:4] for _ in range(4)]
    assert ends == [(False, False)] * 3 + [(False, True)]


def test_an_order_that_cannot_be_carried_out_is_refused_in_one_line(game):
    with pytest.raises(InvalidInput, match=r"^action must be one of \[0, .*\], not 2$"):
        game.step(ATTACK)


def test_sixteen_games_in_one_process_are_the_same_as_each_alone():
    def played(num_envs, seed):
        environment = load("recipes/microrts", num_envs=num_envs, action_mask=True, seed=seed)
        time_step, places = environment.reset(), []
        for _ in range(60):
            places.append(time_step.observation["observation"]["place"])
            # Always the last order: the same in every game.
            last = time_step.observation["action_mask"].shape[1] - 1
            time_step = environment.step(last - time_step.observation["action_mask"][:, ::-1].argmax(axis=1))
        return np.stack(places, axis=1)

    together = played(16, seed=100)
    for i in (0, 7, 15):
        np.testing.assert_array_equal(played(1, seed=100 + i)[0], together[i])
    assert len(np.unique(together, axis=0)) > 1


def test_prints_nothing_and_leaves_the_old_gym_alone():
    code = (
        "import sys, gymnasium; from tfmem.recipes import strategy\n"
        "gymnasium.make('recipes/microrts').reset(seed=0)\n"
        "strategy._java('java.lang.System').out.println('said by Java')\n"
        "assert 'gym' not in sys.modules"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout == ""
    assert "said by Java" in process.stderr


def test_javas_garbage_collector_is_not_set_off_by_pythons():
    code = (
        "import gc, gymnasium; from tfmem.recipes import strategy\n"
        "before = list(gc.callbacks)\n"
        "gymnasium.make('recipes/microrts').reset(seed=0)\n"
        "assert gc.callbacks == before"
    )
    subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)


def test_says_that_java_is_missing(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InvalidInput, match=r"^needs java: .*a Java runtime$"):
        gym.make("recipes/microrts")
