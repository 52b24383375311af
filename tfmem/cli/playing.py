"""`tfmem evaluate` and `tfmem play`: a policy in its environment, in this process or behind a server."""

import time
from pathlib import Path

import click

from tfmem.cli.common import JSON, parse_settings, reports_errors, show
from tfmem.cli.policies import BEST, ENV_ARGUMENTS, ENVIRONMENT, EPISODE_SEED, require_fit, stored_policy


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@ENVIRONMENT
@ENV_ARGUMENTS
@click.option("--episodes", type=click.IntRange(1), default=100, show_default=True)
@EPISODE_SEED
@BEST
@click.option("--ablate-memory", is_flag=True, help="Put the initial memory in place at every step.")
@JSON
@reports_errors
def evaluate(
    path: Path,
    env_id: str | None,
    env_arguments: tuple[str, ...],
    episodes: int,
    seed: int,
    best: bool,
    ablate_memory: bool,
    as_json: bool,
) -> None:
    """Play greedy episodes with a run, or with a version folder of an export.

    Without --env the environment is the policy's own, with the arguments it was trained with; --env-arg adds
    to them or changes them.

    Example: tfmem evaluate runs/recall --episodes 100 --ablate-memory
    """
    from tfmem.progress import working
    from tfmem.training import evaluate as evaluate_policy

    with working("loading"):
        stored = stored_policy(path, best=best)
        environment, env_id = stored.load_environment(env_id, env_arguments, num_envs=min(episodes, 50))
    with working(f"playing {episodes} episodes"):
        evaluation = evaluate_policy(
            stored.policy, environment, episodes=episodes, seed=seed, ablate_memory=ablate_memory
        )
    show(
        {
            "env": env_id,
            "episodes": episodes,
            "mean_return": evaluation.mean_return,
            "std_return": evaluation.std_return,
        },
        as_json,
    )


@click.command()
@click.argument("name")
@click.option("--server", required=True, metavar="URL", help="Such as http://127.0.0.1:8501.")
@click.option("--env", "env_id", required=True, help="Environment id.")
@ENV_ARGUMENTS
@click.option("--episodes", type=click.IntRange(1), default=20, show_default=True)
@EPISODE_SEED
@JSON
@reports_errors
def play(
    name: str,
    server: str,
    env_id: str,
    env_arguments: tuple[str, ...],
    episodes: int,
    seed: int,
    as_json: bool,
) -> None:
    """Play episodes through a server with the model NAME, its memory carried along.

    Example: tfmem play repeat_previous --server http://127.0.0.1:8501 --env popgym-RepeatPreviousEasy-v0
    """
    import numpy as np

    from tfmem.environments import load
    from tfmem.progress import working
    from tfmem.serving import PolicyClient
    from tfmem.training import evaluate as evaluate_policy

    with PolicyClient(server, name) as client:
        policy = _Timed(client.pinned())
        environment = load(
            env_id,
            env_kwargs=parse_settings(env_arguments),
            previous_action="observation_previous_action" in policy.observation,
            previous_reward="observation_previous_reward" in policy.observation,
            action_mask="observation_action_mask" in policy.observation,
        )
        require_fit(environment, policy.observation, policy.actions)
        with working(f"playing {episodes} episodes"):
            evaluation = evaluate_policy(policy, environment, episodes=episodes, seed=seed)
    p50, p99 = np.percentile(policy.latencies_ms, [50, 99])
    show(
        {
            "env": env_id,
            "episodes": episodes,
            "mean_return": evaluation.mean_return,
            "std_return": evaluation.std_return,
            "p50_ms": round(float(p50), 3),
            "p99_ms": round(float(p99), 3),
        },
        as_json,
    )


class _Timed:
    """A served policy that notes how long each step took."""

    def __init__(self, policy):
        self._policy = policy
        self.observation = policy.observation
        self.actions = policy.actions
        self.latencies_ms: list[float] = []

    def initial_state(self, batch_size: int):
        return self._policy.initial_state(batch_size)

    def step(self, observation, is_first, state):
        started = time.perf_counter()
        answer = self._policy.step(observation, is_first, state)
        self.latencies_ms.append(1e3 * (time.perf_counter() - started))
        return answer
