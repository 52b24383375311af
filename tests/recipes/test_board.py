"""Blindfold Connect Four beside OpenSpiel's own states: what is told, what is paid, who plays."""

import numpy as np
import pytest

from tfmem.environments import load
from tfmem.errors import InvalidInput
from tfmem.recipes.board import BOARD, CELL, COLOURS, COLUMNS, NONE, ROWS, ConnectFour

pyspiel = pytest.importorskip("pyspiel")

DRAW = "436014551150160155104632660465204242223333"


class Scripted:
    """In place of a generator: who begins, then the opponent's columns."""

    def __init__(self, agent, columns=()):
        self._agent, self._columns = agent, iter(columns)

    def integers(self, _):
        return self._agent

    def choice(self, allowed):
        column = next(self._columns)
        assert column in allowed
        return column


def replay(columns, agent, **kwargs):
    """The game of these columns with the agent as player 0 or 1: observations, masks, rewards, ends."""
    columns = [int(column) for column in columns]
    environment = ConnectFour(**kwargs)
    environment.np_random = Scripted(agent, columns[1 - agent :: 2])
    observation, info = environment.reset()
    steps = [(observation, info["action_mask"], 0.0, False)]
    for column in columns[agent::2]:
        observation, reward, ended, _, info = environment.step(column)
        steps.append((observation, info["action_mask"], reward, ended))
    return tuple(zip(*steps, strict=True))


def random_game(seed):
    """Columns of a random game, and OpenSpiel's states in it, the first and the last included."""
    rng, state = np.random.default_rng(seed), pyspiel.load_game("connect_four").new_initial_state()
    states = [state.clone()]
    while not state.is_terminal():
        state.apply_action(int(rng.choice(state.legal_actions())))
        states.append(state.clone())
    return state.history(), states


def seen_by(agent, states):
    """Those where it is the agent's turn, and the last."""
    own = [state for state in states if state.current_player() == agent]
    return [*own, states[-1]]


@pytest.mark.parametrize("agent", [0, 1])
@pytest.mark.parametrize("seed", range(20))
def test_shows_the_opponents_columns_and_nothing_else(seed, agent):
    columns, states = random_game(seed)
    replies = columns[1 - agent :: 2]
    begins, ends = [NONE] * (agent == 0), [NONE] * ((len(columns) - 1) % 2 == agent)
    assert list(replay(columns, agent)[0]) == [*begins, *replies, *ends]
    assert list(replay(columns, agent)[1][-1]) == [0] * COLUMNS
    for mask, state in zip(replay(columns, agent)[1], seen_by(agent, states), strict=True):
        assert np.flatnonzero(mask).tolist() == state.legal_actions()


@pytest.mark.parametrize("agent", [0, 1])
def test_can_show_the_board(agent):
    columns, states = random_game(0)
    boards = replay(columns, agent, observation="board")[0]
    for board, state in zip(boards, seen_by(agent, states), strict=True):
        drawn = np.array([list(row) for row in str(state).split()])
        np.testing.assert_array_equal(board[..., 0], drawn == "xo"[agent])
        np.testing.assert_array_equal(board[..., 1], drawn == "ox"[agent])


@pytest.mark.parametrize(("columns", "pays"), [("0101010", 1), ("01010161", -1), (DRAW, 0)])
def test_a_win_pays_1_and_a_loss_as_much_less(columns, pays):
    for agent, reward in [(0, pays), (1, -pays)]:
        _, _, rewards, ends = replay(columns, agent)
        assert list(rewards) == [0] * (len(rewards) - 1) + [reward]
        assert list(ends) == [False] * (len(ends) - 1) + [True]


def test_the_opponent_is_uniform_and_each_begins_half_of_the_games():
    environment = ConnectFour()
    first = [environment.reset(seed=0)[0]] + [environment.reset()[0] for _ in range(2_999)]
    counts = np.bincount(first, minlength=COLUMNS + 1)
    expected = np.append(np.full(COLUMNS, 3_000 / 14), 1_500)
    assert (np.abs(counts - expected) < 4 * np.sqrt(expected)).all()


def test_a_full_column_is_refused_in_one_line():
    with pytest.raises(InvalidInput, match=r"^column must be one of \[0, 1, 2, 4, 5, 6\]; .*, not 3$"):
        replay("3333333", agent=0)


def test_an_observation_it_does_not_have_is_refused():
    with pytest.raises(InvalidInput, match="observation must be 'reply' or 'board'"):
        load("recipes/connect-four", env_kwargs={"observation": "all"})


def test_draws_the_board():
    environment = ConnectFour(render_mode="rgb_array")
    environment.np_random = Scripted(agent=1, columns=[0, 6])
    environment.reset()
    environment.step(0)
    picture = environment.render()
    assert (picture.shape, picture.dtype) == ((ROWS * CELL, COLUMNS * CELL, 3), np.uint8)
    agent, opponent, empty = COLOURS
    centres = picture[CELL // 2 :: CELL, CELL // 2 :: CELL]
    expected = np.tile(empty, (ROWS, COLUMNS, 1))
    expected[-1, 0], expected[-2, 0], expected[-1, 6] = opponent, agent, opponent
    np.testing.assert_array_equal(centres, expected)
    np.testing.assert_array_equal(picture[0, 0], BOARD)
