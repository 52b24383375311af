"""How well NoisyPositionOnlyCartPole can be played by whoever knows its physics.

    python benchmarks/noisy_cartpole_bound.py

A Kalman filter with the exact equations of motion, the exact noise and the exact distribution of first
states estimates positions and velocities; the action is the sign of a linear function of the estimate. The
function's gains and the filter's process noise, which stands for what linearising leaves out, are chosen by
the cross-entropy method on 300 simulated episodes a candidate; then 1,000 episodes of the environment
itself are played on seeds of their own. That is no proof of a bound, but nothing that has to learn the
physics from noisy positions is likely to do better by much.

Writes benchmarks/results/noisy_cartpole_bound.json.
"""

import json
from pathlib import Path

import numpy as np
from machine import provenance
from popgym.envs.noisy_position_only_cartpole import NoisyPositionOnlyCartPole

RESULTS = Path(__file__).parent / "results" / "noisy_cartpole_bound.json"
GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
MASS = CART + POLE
STEPS = 200
SPREAD = 0.05  # first states are uniform in ± this
OBSERVED = [0, 2]  # of position, velocity, angle, angular velocity
HIGHEST = np.array([4.8, 2 * np.deg2rad(12)])  # observations are clipped there
ITERATIONS, CANDIDATES, ELITE, EPISODES = 20, 40, 8, 300
PLAYED = 1_000


def move(state: np.ndarray, force: np.ndarray) -> np.ndarray:
    """Euler's step of CartPole-v1, `state [E, 4]`, `force [E]`."""
    x, v, angle, w = state.T
    push = (force + POLE * HALF_LENGTH * w**2 * np.sin(angle)) / MASS
    turn = (GRAVITY * np.sin(angle) - np.cos(angle) * push) / (
        HALF_LENGTH * (4 / 3 - POLE * np.cos(angle) ** 2 / MASS)
    )
    pull = push - POLE * HALF_LENGTH * turn * np.cos(angle) / MASS
    return np.stack([x + SECONDS * v, v + SECONDS * pull, angle + SECONDS * w, w + SECONDS * turn], axis=1)


def linearised() -> np.ndarray:
    """The derivative of `move` by the state at rest, `[4, 4]`."""
    h = 1e-6
    return (move(h * np.eye(4), np.zeros(4)) / h).T


MOTION = linearised()


class Filter:
    """Kalman's filter over E episodes at a time, the exact equations in its prediction."""

    def __init__(self, episodes: int, sigma: float, process: float):
        self.mean = np.zeros([episodes, 4])
        self._covariance = np.eye(4) * SPREAD**2 / 3
        self._noise = np.eye(2) * sigma**2
        self._process = np.eye(4) * process

    def observe(self, seen: np.ndarray) -> None:
        part = self._covariance[OBSERVED]
        gain = np.linalg.solve(part[:, OBSERVED] + self._noise, part).T
        self.mean = self.mean + (seen - self.mean[:, OBSERVED]) @ gain.T
        self._covariance = self._covariance - gain @ part

    def predict(self, force: np.ndarray) -> None:
        self.mean = move(self.mean, force)
        self._covariance = MOTION @ self._covariance @ MOTION.T + self._process


def simulate(sigma: float, gains: np.ndarray, process: float, seed: int) -> float:
    """The mean return of `EPISODES` episodes of the equations above."""
    rng = np.random.default_rng(seed)
    state = rng.uniform(-SPREAD, SPREAD, [EPISODES, 4])
    estimate, lasting, total = Filter(EPISODES, sigma, process), np.ones(EPISODES, bool), 0.0
    for _ in range(STEPS):
        noise = rng.normal(0, sigma, [EPISODES, 2])
        estimate.observe(np.clip(state[:, OBSERVED] + noise, -HIGHEST, HIGHEST))
        force = FORCE * np.where(estimate.mean @ gains > 0, 1, -1)
        state = move(state, force)
        estimate.predict(force)
        total += lasting.mean() / STEPS
        lasting &= (np.abs(state[:, 0]) < 2.4) & (np.abs(state[:, 2]) < np.deg2rad(12))
    return total


def play(sigma: float, gains: np.ndarray, process: float) -> float:
    """The mean return of `PLAYED` episodes of the environment itself."""
    returns = []
    for seed in range(PLAYED):
        environment = NoisyPositionOnlyCartPole(noise_sigma=sigma)
        seen, _ = environment.reset(seed=seed)
        estimate, total, over = Filter(1, sigma, process), 0.0, False
        while not over:
            estimate.observe(seen[np.newaxis])
            action = int(estimate.mean[0] @ gains > 0)
            seen, reward, terminated, truncated, _ = environment.step(action)
            estimate.predict(np.array([FORCE if action else -FORCE]))
            total, over = total + reward, terminated or truncated
        returns.append(total)
    return float(np.mean(returns))


def search(sigma: float) -> tuple[np.ndarray, float]:
    """Gains of the four estimates, and the process noise."""
    rng = np.random.default_rng(0)
    mean, spread = np.array([0.1, 0.2, 1.0, 0.3, -7.0]), np.array([0.2, 0.2, 0.5, 0.3, 3.0])
    for i in range(ITERATIONS):
        candidates = mean + spread * rng.normal(size=[CANDIDATES, 5])
        scores = [simulate(sigma, c[:4], 10 ** c[4], seed=i) for c in candidates]
        best = candidates[np.argsort(scores)[-ELITE:]]
        mean, spread = best.mean(0), best.std(0) + 1e-3
    return mean[:4], 10 ** mean[4]


def main() -> None:
    found = []
    for sigma in (0.1, 0.2, 0.3):
        gains, process = search(sigma)
        score = play(sigma, gains, process)
        found.append({"sigma": sigma, "return": score, "gains": gains.tolist(), "process_noise": process})
        print(found[-1], flush=True)
    content = {**provenance(("numpy", "gymnasium", "popgym")), "episodes": PLAYED, "found": found}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
