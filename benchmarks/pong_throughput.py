"""How fast Pong is learned from, beside stable-baselines3's DQN: steps and frames in a second.

    python -m venv .venv-peers
    .venv-peers/bin/pip install torch==2.13.0 stable-baselines3==2.9.2 ale-py==0.12.1 opencv-python-headless
    python benchmarks/pong_throughput.py

Both play and learn from ALE's Pong on all cores, in turns, each round in its own process, compiling and
evaluating not counted. Ours is the recipe: 16 games in ALE's own vector environment, an LSTM. Theirs has what
is usual for Atari: `AtariWrapper`, the last four frames in place of a memory, 32 of them after every fourth
step. A frame counts as learned from each time that an update's gradient passes through it. Medians of the
rounds go to benchmarks/results/pong_throughput.json.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.resolve()
RESULTS = ROOT / "benchmarks" / "results" / "pong_throughput.json"
ROUNDS = 3
LEARNING_STARTS = 300
SYSTEMS = ("tfmem", "stable-baselines3")
NOT_TRAINING = ("compiling", "evaluating", "recording", "saving")


def ours(steps: int) -> dict[str, float]:
    import tfmem.quiet  # isort: skip
    import tfmem.xla  # noqa: F401  # isort: skip
    from tfmem.training import make_config, train

    config = make_config(
        "recipes/pong",
        overrides={
            **{"env_steps": steps, "learning_starts": LEARNING_STARTS, "checkpoint_interval": steps},
            "eval_episodes": 1,
        },
    )
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, Path(folder) / "run")
    seconds = result.wall_s * (1 - sum(result.time_shares[name] for name in NOT_TRAINING))
    frames = config.batch_size * (config.sequence_length - config.burn_in) * result.updates
    return {
        "steps_per_s": result.env_steps / seconds,
        "updates_per_s": result.updates / seconds,
        "frames_learned_per_s": frames / seconds,
    }


def theirs(steps: int) -> dict[str, float]:
    import ale_py
    import gymnasium as gym
    from stable_baselines3 import DQN
    from stable_baselines3.common.atari_wrappers import AtariWrapper
    from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

    gym.register_envs(ale_py)
    games = DummyVecEnv([lambda: AtariWrapper(gym.make("ALE/Pong-v5", frameskip=1))])
    batch, every = 32, 4
    agent = DQN(
        "CnnPolicy",
        VecFrameStack(games, 4),
        **{"buffer_size": 20_000, "learning_starts": LEARNING_STARTS, "batch_size": batch},
        **{"train_freq": every, "gradient_steps": 1, "target_update_interval": 1_000, "learning_rate": 1e-4},
    )
    agent.learn(LEARNING_STARTS + 100)
    started, updates = time.perf_counter(), agent._n_updates
    agent.learn(steps, reset_num_timesteps=False)
    seconds = time.perf_counter() - started
    updates = agent._n_updates - updates
    return {
        "steps_per_s": steps / seconds,
        "updates_per_s": updates / seconds,
        "frames_learned_per_s": updates * batch / seconds,
    }


def measured(system: str, python: Path, steps: int) -> dict[str, float]:
    command = [str(python), __file__, "--system", system, "--steps", str(steps)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--peers", type=Path, default=ROOT / ".venv-peers", help="the peer's environment")
    options.add_argument("--steps", type=int, default=4_000, help="of a round")
    options.add_argument("--system", choices=SYSTEMS, help="one round of this one, in this process")
    given = options.parse_args()
    if given.system:
        print(json.dumps((ours if given.system == "tfmem" else theirs)(given.steps)))
        return
    from machine import provenance

    pythons = {"tfmem": Path(sys.executable), "stable-baselines3": given.peers / "bin" / "python"}
    rounds: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
    for turn in range(ROUNDS):
        for system in SYSTEMS:
            rounds[system].append(measured(system, pythons[system], given.steps))
            print(turn, system, rounds[system][-1], file=sys.stderr, flush=True)
    medians = {
        system: {name: round(statistics.median(one[name] for one in found), 1) for name in found[0]}
        for system, found in rounds.items()
    }
    content = {**provenance(), "steps": given.steps, "medians": medians, "rounds": rounds}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(medians, indent=1))


if __name__ == "__main__":
    main()
