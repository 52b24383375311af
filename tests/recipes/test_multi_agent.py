"""Foraging by one controller and by a policy for each player: who acts, who sees what, who is paid."""

import gymnasium as gym
import numpy as np
import pytest

import tfmem.recipes  # noqa: F401  registers them
from tfmem.environments import load
from tfmem.errors import InvalidInput
from tfmem.training import make_config, train

pytest.importorskip("lbforaging")

NOTHING, NORTH, SOUTH, WEST, EAST, LOAD = range(6)
NUMBERS = 53  # that a player sees
EMPTY = np.zeros([8, 8], np.int32)


def arrange(game, positions, levels, food):
    """Puts players and food `{cell: level}` where they are told."""
    game = game.unwrapped
    game.field = EMPTY.copy()
    for cell, level in food.items():
        game.field[cell] = level
    game._food_spawned = game.field.sum()
    for player, position, level in zip(game.players, positions, levels, strict=True):
        player.position, player.level = position, level
    game._gen_valid_moves()


@pytest.fixture
def game():
    game = gym.make("recipes/foraging")
    game.reset(seed=0)
    return game


def positions(game):
    return [player.position for player in game.unwrapped.players]


def test_each_player_gets_its_own_action(game):
    arrange(game, [(2, 2), (5, 5)], [1, 1], {(7, 0): 1})
    game.step(np.array([NORTH, EAST]))
    assert positions(game) == [(1, 2), (5, 6)]


def seen(food=None, others=None, *, own):
    """A view: maps of 5 by 5 cells around the player, `{(rows below, columns right): level}`, and `own`."""
    cells = np.zeros([2, 5, 5], int)
    for layer, things in zip(cells, (food or {}, others or {}), strict=True):
        for (row, column), level in things.items():
            layer[2 + row, 2 + column] = level
    return [*cells.ravel(), *own]


def test_the_views_are_joined_in_the_order_of_the_players(game):
    arrange(game, [(2, 3), (4, 4)], [1, 2], {(1, 4): 2, (6, 2): 3, (7, 7): 1})
    views, *_ = game.step(np.array([NOTHING, NOTHING]))
    assert views[:NUMBERS].tolist() == seen({(-1, 1): 2}, {(2, 1): 2}, own=[2, 2, 1])
    assert views[NUMBERS:].tolist() == seen({(2, -2): 3}, {(-2, -1): 1}, own=[2, 2, 2])
    assert game.observation_space.contains(views)


def test_a_view_at_an_edge_tells_how_near_it_is_and_nothing_from_further_away(game):
    arrange(game, [(0, 1), (0, 4)], [1, 2], {(1, 0): 1, (7, 7): 1})
    views, *_ = game.step(np.array([NOTHING, NOTHING]))
    assert views[:NUMBERS].tolist() == seen({(1, -1): 1}, own=[0, 1, 1])
    assert views[NUMBERS:].tolist() == seen(own=[0, 2, 2])
    assert game.observation_space.contains(views)


def test_the_reward_is_the_sum_of_the_players_and_all_food_pays_one(game):
    arrange(game, [(2, 2), (2, 4)], [1, 2], {(2, 3): 3, (6, 6): 1})
    _, nothing, *_ = game.step(np.array([LOAD, NOTHING]))  # a level of 1 does not lift 3
    _, reward, terminated, *_ = game.step(np.array([LOAD, LOAD]))
    assert nothing == 0
    assert reward == pytest.approx(3 / 4)
    assert not terminated
    arrange(game, [(6, 5), (2, 4)], [1, 2], {(6, 6): 1})
    _, reward, terminated, *_ = game.step(np.array([LOAD, NORTH]))
    assert reward == pytest.approx(1)
    assert terminated


def test_one_choice_of_36_is_an_action_of_each():
    environment = load("recipes/foraging", num_envs=2, seed=0)
    environment.reset()
    assert environment.action_spec().maximum == 35
    games = environment._environment.envs
    for one in games:
        arrange(one, [(2, 2), (5, 5)], [1, 1], {(7, 0): 1})
    environment.step(np.array([6 * SOUTH + WEST, 6 * NOTHING + EAST]))
    assert [positions(one) for one in games] == [[(3, 2), (5, 4)], [(2, 2), (5, 6)]]


def test_every_player_is_an_environment_of_its_own():
    players = load("recipes/foraging-shared", num_envs=4, seed=0)
    players.reset()
    assert players.batch_size == 4
    assert players.action_spec().maximum == 5
    games = players._environment.env.envs
    for one in games:
        arrange(one, [(2, 2), (2, 4)], [1, 2], {(2, 3): 3, (6, 6): 1})
    after = players.step(np.array([LOAD, LOAD, NORTH, SOUTH]))
    assert [positions(one) for one in games] == [[(2, 2), (2, 4)], [(1, 2), (3, 4)]]
    assert after.reward.tolist() == [0.75, 0.75, 0, 0]  # the team's, for each
    first, second = after.observation[:2].tolist()
    assert first == seen(others={(0, 2): 2}, own=[2, 2, 1])  # and the food is gone
    assert second == seen(others={(0, -2): 1}, own=[2, 2, 2])


def test_players_of_a_game_end_together_and_games_apart():
    players = load("recipes/foraging-shared", num_envs=4, seed=0)
    players.reset()
    first = players._environment.env.envs[0]
    arrange(first, [(6, 5), (2, 4)], [1, 2], {(6, 6): 1})
    over = players.step(np.array([LOAD, NOTHING, NOTHING, NOTHING]))
    assert over.is_last().tolist() == [True, True, False, False]
    after = players.step(np.zeros(4, int))
    assert after.is_first().tolist() == [True, True, False, False]
    assert after.reward.tolist() == [0, 0, 0, 0]


def test_games_are_whole_and_their_seed_is_their_first_players():
    four, two = (load("recipes/foraging-shared", num_envs=n, seed=seed) for n, seed in ((3, 4), (1, 6)))
    assert (four.batch_size, two.batch_size) == (4, 2)
    np.testing.assert_array_equal(four.reset().observation[2:], two.reset().observation)


def test_training_asks_for_whole_games(tmp_path):
    config = make_config("recipes/foraging-shared", overrides={"num_envs": 5})
    with pytest.raises(InvalidInput, match="num_envs must be 6, to fill the last game, not 5"):
        train(config, tmp_path / "run")
