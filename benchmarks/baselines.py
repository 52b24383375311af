"""Baselines of the scoreboard that `tfmem train` does not run: one cell, printed as JSON.

    python benchmarks/baselines.py tf_agents popgym-RepeatPreviousEasy-v0 --steps 50000 --seed 0
    python benchmarks/baselines.py recurrent_ppo popgym-RepeatPreviousEasy-v0 --steps 50000 --seed 0
    python benchmarks/baselines.py tianshou popgym-RepeatPreviousEasy-v0 --steps 50000 --seed 0

- `tf_agents`: TF-Agents' `DqnAgent` with `QRnnNetwork`, an LSTM, its own driver and replay (stock.py), with
  what the preset sets and it can take.
- `recurrent_ppo`: sb3-contrib's RecurrentPPO with its defaults, 16 environments.
- `tianshou`: tianshou's double DQN with its recurrent network, two layers of LSTM, set as in the library's
  own recurrent example, but for traces of 16 frames in place of 4: as far as RepeatPreviousEasy asks back,
  though not Autoencode, whose traces of 104 frames would take it hours.

PyTorch does not belong in the environment of tfmem: make one for the last two with

    python -m venv .venv-peers
    .venv-peers/bin/pip install torch==2.13.0 sb3-contrib==2.9.2 tianshou==2.0.1 popgym==1.0.7

A cell has up to 20 evaluations of 64 greedy episodes on the way and one of 100 in the end, on environment
seeds that training does not use.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import popgym  # noqa: F401  registers its environments

EVALUATIONS = 20
CURVE_EPISODES, CURVE_SEED = 64, 1_000_000
FINAL_EPISODES, FINAL_SEED = 100, 2_000_000
ENVS = 16

# From observations [E, ...], whether each is its episode's first, and a state to actions [E] and the next
# state.
Policy = Callable[[Any, np.ndarray, Any], tuple[np.ndarray, Any]]


def flat(env_id: str) -> gym.Env:
    """The environment with its observation as one vector, choices one-hot."""
    return gym.wrappers.FlattenObservation(gym.make(env_id))


def mean_return(env_id: str, policy: Policy, episodes: int, seed: int) -> float:
    environments = gym.vector.SyncVectorEnv([lambda: flat(env_id) for _ in range(episodes)])
    observation, _ = environments.reset(seed=seed)
    total, running, first, state = np.zeros(episodes), np.ones(episodes, bool), np.ones(episodes, bool), None
    while running.any():
        action, state = policy(observation, first, state)
        observation, reward, terminated, truncated, _ = environments.step(action)
        total += np.where(running, reward, 0.0)
        running &= ~(terminated | truncated)
        first = np.zeros(episodes, bool)
    environments.close()
    return float(total.mean())


def recurrent_ppo(arguments: argparse.Namespace) -> dict:
    import torch
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.env_util import make_vec_env

    torch.set_num_threads(1)
    environments = make_vec_env(lambda: flat(arguments.env_id), n_envs=ENVS, seed=arguments.seed)
    model = RecurrentPPO("MlpLstmPolicy", environments, seed=arguments.seed, device="cpu")

    def policy(observation, first, state):
        return model.predict(observation, state=state, episode_start=first, deterministic=True)

    curve, spent, start = [], 0.0, time.monotonic()
    rollout = model.n_steps * ENVS
    while model.num_timesteps < arguments.steps:
        # Whole rollouts, so that steps in all are those asked for, or up to one rollout more.
        share = arguments.steps * (len(curve) + 1) / EVALUATIONS - model.num_timesteps
        model.learn(max(rollout, math.ceil(share / rollout) * rollout), reset_num_timesteps=not curve)
        spent += time.monotonic() - start
        found = mean_return(arguments.env_id, policy, CURVE_EPISODES, CURVE_SEED)
        curve.append([model.num_timesteps, found, round(spent, 1)])
        start = time.monotonic()
    final = mean_return(arguments.env_id, policy, FINAL_EPISODES, FINAL_SEED)
    config = {"gamma": model.gamma, "defaults of": "sb3_contrib.RecurrentPPO", "n_envs": ENVS}
    return {"env_steps": model.num_timesteps, "return": final, "curve": curve, "config": config}


def tf_agents(arguments: argparse.Namespace) -> dict:
    import tfmem.quiet  # noqa: F401  # isort: skip  (before anything that imports TensorFlow)
    import tensorflow as tf
    from stock import StockDqn

    from tfmem._keras import keras
    from tfmem.environments import load
    from tfmem.training import evaluate, make_config

    keras.utils.set_random_seed(arguments.seed)
    overrides = {"core": "lstm", "env_steps": arguments.steps}
    config = make_config(arguments.env_id, preset=arguments.preset, overrides=overrides)
    observed = {"previous_action": config.previous_action, "previous_reward": config.previous_reward}
    environment = load(arguments.env_id, num_envs=config.num_envs, seed=arguments.seed, **observed)
    system = StockDqn(environment, config)
    step = tf.function(system.agent.policy.action)

    class Greedy:
        """The stock policy, as evaluation asks for it."""

        def initial_state(self, batch_size):
            return system.agent.policy.get_initial_state(batch_size)

        def step(self, observation, is_first, state):
            from tf_agents.trajectories import time_step as ts

            size = len(is_first)
            step_type = np.where(is_first, ts.StepType.FIRST, ts.StepType.MID).astype(np.int32)
            nothing = tf.zeros([size])
            observed = tf.nest.map_structure(tf.constant, observation)
            result = step(ts.TimeStep(tf.constant(step_type), nothing, nothing, observed), state)
            return result.action.numpy(), None, result.state

    def greedy_return(episodes, seed):
        environment = load(arguments.env_id, num_envs=episodes, **observed)
        found = evaluate(Greedy(), environment, episodes=episodes, seed=seed).mean_return
        environment.close()
        return found

    curve, spent, start = [], 0.0, time.monotonic()
    for i in range(EVALUATIONS):
        while system.steps < arguments.steps * (i + 1) / EVALUATIONS:
            system.collect()
            if system.steps >= config.first_update:
                for _ in range(config.updates):
                    system.update()
        spent += time.monotonic() - start
        curve.append([system.steps, greedy_return(CURVE_EPISODES, CURVE_SEED), round(spent, 1)])
        start = time.monotonic()
    final = greedy_return(FINAL_EPISODES, FINAL_SEED)
    return {
        "env_steps": system.steps,
        "return": final,
        "curve": curve,
        "config": json.loads(config.to_json()),
    }


def tianshou(arguments: argparse.Namespace) -> dict:
    import torch
    from tianshou.algorithm.modelfree.dqn import DQN, DiscreteQLearningPolicy
    from tianshou.algorithm.optim import AdamOptimizerFactory
    from tianshou.data import Batch, Collector, VectorReplayBuffer
    from tianshou.env import DummyVectorEnv
    from tianshou.utils.net.common import Recurrent
    from tianshou.utils.torch_utils import policy_within_training_step, torch_train_mode

    settings = {
        "gamma": 0.95,
        "n_step": 4,
        "target_update_freq": 320,
        "lr": 1e-3,
        "buffer": 20_000,
        "stack_num": 16,
        "batch": 128,
        "epsilon": 0.1,
        "collect": 160,
        "updates_per_step": 0.1,
        "n_envs": ENVS,
    }
    torch.set_num_threads(1)
    torch.manual_seed(arguments.seed)
    np.random.seed(arguments.seed)
    environments = DummyVectorEnv([lambda: flat(arguments.env_id) for _ in range(ENVS)])
    environments.seed(arguments.seed)
    space, actions = (getattr(flat(arguments.env_id), f"{kind}_space") for kind in ("observation", "action"))
    network = Recurrent(layer_num=2, state_shape=space.shape, action_shape=actions.n)
    answering = DiscreteQLearningPolicy(
        model=network, action_space=actions, observation_space=space, eps_training=settings["epsilon"]
    )
    learner = DQN(
        policy=answering,
        optim=AdamOptimizerFactory(lr=settings["lr"]),
        gamma=settings["gamma"],
        n_step_return_horizon=settings["n_step"],
        target_update_freq=settings["target_update_freq"],
    )
    replay = VectorReplayBuffer(
        settings["buffer"], buffer_num=ENVS, stack_num=settings["stack_num"], ignore_obs_next=True
    )
    collector = Collector(learner, environments, replay, exploration_noise=True)
    collector.reset()

    def policy(observation, first, state):
        with torch.no_grad(), torch_train_mode(learner, False):
            result = answering(Batch(obs=observation, info={}), state)
        return result.act, result.state

    curve, spent, start, steps, updates = [], 0.0, time.monotonic(), 0, 0
    for i in range(EVALUATIONS):
        with policy_within_training_step(answering):
            while steps < arguments.steps * (i + 1) / EVALUATIONS:
                with torch_train_mode(learner, False):
                    steps += collector.collect(n_step=settings["collect"]).n_collected_steps
                with torch_train_mode(learner):
                    while updates < settings["updates_per_step"] * steps:
                        learner.update(replay, settings["batch"])
                        updates += 1
        spent += time.monotonic() - start
        curve.append(
            [steps, mean_return(arguments.env_id, policy, CURVE_EPISODES, CURVE_SEED), round(spent, 1)]
        )
        start = time.monotonic()
    final = mean_return(arguments.env_id, policy, FINAL_EPISODES, FINAL_SEED)
    config = {**settings, "settings of": "tianshou's recurrent example, with longer traces"}
    return {"env_steps": steps, "return": final, "curve": curve, "config": config}


SYSTEMS = {"recurrent_ppo": recurrent_ppo, "tf_agents": tf_agents, "tianshou": tianshou}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("system", choices=SYSTEMS)
    parser.add_argument("env_id")
    parser.add_argument("--preset", default="recall")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    result = SYSTEMS[arguments.system](arguments)
    print(
        json.dumps(
            {
                "system": arguments.system,
                "seed": arguments.seed,
                "best_evaluation": max(point[1] for point in result["curve"]),
                "wall_s": result["curve"][-1][2],
                **result,
            }
        )
    )


if __name__ == "__main__":
    main()
