"""How many games of μRTS a trained policy wins, draws and loses.

A game's last reward tells: it holds 10 for a win and −10 for a loss. One that is cut after 2,000 frames is
a draw.

    python benchmarks/microrts_wins.py runs/microrts
    python benchmarks/microrts_wins.py runs/microrts --ablate-memory
    python benchmarks/microrts_wins.py --random 0
"""

import argparse
import json
from pathlib import Path

import numpy as np

from tfmem.environments import GymnasiumEnvironment, load
from tfmem.training import load_run
from tfmem.training.environment import load_environment

ENV_ID = "recipes/microrts"
# Orders that are carried out as a game ends pay as well: at most one for each unit.
DECISIVE = 5.0


def play(act, environment: GymnasiumEnvironment, seed: int) -> dict:
    """A game in every environment, from seeds `seed` and on; `act(time_step)` chooses for all of them."""
    games = environment.batch_size
    environment.seed(seed)
    time_step = environment.reset()
    returns, last, steps = np.zeros(games), np.zeros(games), np.zeros(games, int)
    ended, cut = np.zeros(games, bool), np.zeros(games, bool)
    while not ended.all():
        time_step = environment.step(act(time_step))
        running = ~ended
        returns += np.where(running, time_step.reward, 0.0)
        steps += running
        last = np.where(running, time_step.reward, last)
        ends = running & time_step.is_last()
        cut |= ends & (time_step.discount > 0)
        ended |= ends
    wins = ~cut & (last > DECISIVE)
    return {
        "games": games,
        "wins": int(wins.sum()),
        "draws": int(cut.sum()),
        "losses": int((~cut & ~wins).sum()),
        "return": round(float(returns.mean()), 2),
        "orders": round(float(steps.mean()), 1),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("run", type=Path, nargs="?")
    options.add_argument("--random", type=int, metavar="SEED", help="random orders in place of a run")
    options.add_argument("--games", type=int, default=48, help="at a time, on maps drawn by their seeds")
    options.add_argument("--seed", type=int, default=0, help="of the first game")
    options.add_argument("--ablate-memory", action="store_true")
    given = options.parse_args()
    if (given.run is None) == (given.random is None):
        options.error("give a run, or --random SEED")
    if given.run is None:
        draws = np.random.default_rng(given.random)

        def random(time_step):
            mask = time_step.observation["action_mask"]
            # Where a game has ended there is nothing to choose from.
            return np.argmax(draws.random(mask.shape) * mask, axis=1)

        result = play(random, load(ENV_ID, num_envs=given.games, action_mask=True), given.seed)
    else:
        run = load_run(given.run)
        state = run.policy.initial_state(given.games)

        def greedy(time_step):
            nonlocal state
            is_first = time_step.is_first() | given.ablate_memory
            action, _, state = run.policy.step(time_step.observation, is_first, state)
            return np.asarray(action)

        result = play(greedy, load_environment(run.config, given.games), given.seed)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
