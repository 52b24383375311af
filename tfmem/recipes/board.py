"""Board games: OpenSpiel's Connect Four [Lanctot et al., 2019], played blindfold.

A player who is blindfold hears which column the opponent chose, and has to keep the board in mind. The
published game shows it whole. The opponent chooses at random among the columns that are not full, and who
begins is a toss. A win pays 1, a loss −1, a draw 0. The infos' `action_mask` tells which columns are not
full, as a player whose move is refused would learn.

The bar is not random play, which gets 0, but stacking: one column until the opponent plays there, then
another one. That takes no memory but the own last column, and gets .88 (5,000 games).
"""

from typing import Any, Literal

import gymnasium as gym
import numpy as np

from tfmem.errors import require
from tfmem.recipes.recipe import Needs, Recipe

NEEDS = Needs(("pyspiel",), "pip install 'tfmem[board]'")

ROWS, COLUMNS = 6, 7
# The reply where there is none: the agent begins, or has ended the game.
NONE = COLUMNS

CELL = 16  # pixels
# The agent's discs, the opponent's, no disc; and the board around them.
COLOURS = np.array([[250, 210, 60], [215, 60, 50], [245, 245, 245]], np.uint8)
BOARD = np.array([40, 80, 160], np.uint8)


class ConnectFour(gym.Env):
    """Connect Four against an opponent that plays at random.

    Actions are the columns, from 0. An observation is the opponent's last column, or `NONE`; or the board.

    Args:
      observation: `"reply"`, or `"board"`, `[6, 7, 2]` of 0 and 1: the agent's discs and the opponent's, the
        top row first.
      render_mode: `"rgb_array"` draws the board, whatever is observed.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012  Gymnasium has it as an instance's

    def __init__(self, observation: Literal["reply", "board"] = "reply", render_mode: str | None = None):
        NEEDS.check()
        import pyspiel

        require(observation in ("reply", "board"), "observation", observation, "'reply' or 'board'")
        self._game = pyspiel.load_game("connect_four")
        self._shows_board = observation == "board"
        self.render_mode = render_mode
        self.action_space = gym.spaces.Discrete(COLUMNS)
        self.observation_space = (
            gym.spaces.Box(0, 1, (ROWS, COLUMNS, 2), np.uint8)
            if self._shows_board
            else gym.spaces.Discrete(COLUMNS + 1)
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._state = self._game.new_initial_state()
        self._agent = int(self.np_random.integers(2))
        self._reply = self._opponent_plays() if self._agent == 1 else NONE
        return self._observation(), self._info()

    def step(self, action):
        allowed = self._state.legal_actions()
        require(action in allowed, "column", int(action), f"one of {allowed}; action_mask=true keeps to them")
        self._state.apply_action(int(action))
        self._reply = NONE if self._state.is_terminal() else self._opponent_plays()
        reward = self._state.player_return(self._agent)
        return self._observation(), reward, self._state.is_terminal(), False, self._info()

    def render(self) -> Any:
        """The board, `[96, 112, 3]` bytes."""
        cells = COLOURS[self._planes().argmax(axis=-1)].repeat(CELL, axis=0).repeat(CELL, axis=1)
        across = np.linspace(-1, 1, CELL)
        disc = np.tile(np.hypot(across[:, None], across) < 0.85, (ROWS, COLUMNS))
        return np.where(disc[..., None], cells, BOARD)

    def _opponent_plays(self) -> int:
        column = int(self.np_random.choice(self._state.legal_actions()))
        self._state.apply_action(column)
        return column

    def _planes(self) -> np.ndarray:
        """`[6, 7, 3]` of 0 and 1: where discs of the agent are, of the opponent, and none; top row first."""
        planes = np.reshape(self._state.observation_tensor(0), [3, ROWS, COLUMNS])
        return np.moveaxis(planes[[self._agent, 1 - self._agent, 2], ::-1], 0, -1)

    def _observation(self):
        return self._planes()[..., :2].astype(np.uint8) if self._shows_board else self._reply

    def _info(self) -> dict[str, Any]:
        return {"action_mask": np.array(self._state.legal_actions_mask(self._agent), np.int8)}


RECIPES = (
    Recipe(
        name="connect-four",
        domain="board games",
        remembers="the board, of which only the opponent's last column is told",
        needs=NEEDS,
        entry_point="tfmem.recipes.board:ConnectFour",
        preset="fast",
        settings={"env_steps": 2_000_000, "action_mask": True},
    ),
)
