"""What each episode of a trial in the Dark Room returns, from the first to the last.

Published figures are of episodes that follow many with the same goal, so the last one's is to be compared.

    python benchmarks/dark_room.py runs/dark-room-9 --goals held_out
"""

import argparse
import json
from pathlib import Path

import numpy as np

from tfmem.environments import GymnasiumEnvironment, load
from tfmem.recipes import RECIPES
from tfmem.training import load_run

TRIALS = 50  # side by side


def rewards(policy, environment: GymnasiumEnvironment, seed: int, ablate_memory: bool) -> np.ndarray:
    """The rewards of a trial in every environment, `[steps, TRIALS]`."""
    environment.seed(seed)
    time_step, state, found = environment.reset(), policy.initial_state(TRIALS), []
    while not time_step.is_last().any():
        is_first = time_step.is_first() | ablate_memory
        action, _, state = policy.step(time_step.observation, is_first, state)
        time_step = environment.step(np.asarray(action))
        found.append(time_step.reward)
    return np.stack(found)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("run", type=Path)
    options.add_argument("--goals", help="all, training or held_out; by default as in training")
    options.add_argument("--episodes", type=int, help="of a trial; by default as in training")
    options.add_argument("--trials", type=int, default=500, help="a multiple of 50")
    options.add_argument("--seed", type=int, default=0, help="of the first trial")
    options.add_argument("--best", action="store_true", help="the policy of the run's best evaluation")
    options.add_argument("--ablate-memory", action="store_true")
    given = options.parse_args()
    run = load_run(given.run, best=given.best)
    asked = {"goals": given.goals, "episodes": given.episodes}
    kwargs = {
        **RECIPES[run.config.env_id].kwargs,
        **run.config.env_kwargs,
        **{name: value for name, value in asked.items() if value is not None},
    }
    environment = load(
        run.config.env_id,
        num_envs=TRIALS,
        env_kwargs=kwargs,
        previous_action=run.config.previous_action,
        previous_reward=run.config.previous_reward,
    )
    played = [
        rewards(run.policy, environment, seed, given.ablate_memory)
        for seed in range(given.seed, given.seed + given.trials, TRIALS)
    ]
    by_episode = np.concatenate(played, axis=1).reshape([kwargs["episodes"], kwargs["steps"], given.trials])
    returns = by_episode.sum(axis=1)
    means = [round(float(mean), 2) for mean in returns.mean(axis=1)]
    print(json.dumps({"episodes": means, "mean": round(float(np.mean(means)), 2), "last": means[-1]}))


if __name__ == "__main__":
    main()
