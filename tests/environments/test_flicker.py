"""The scoreboard's Breakout without trail and with black frames."""

import gymnasium as gym
import numpy as np
import pytest


@pytest.fixture
def environment():
    return gym.make("flicker:Breakout-v0")


def frames(environment, seed, count):
    environment.action_space.seed(0)
    frame, _ = environment.reset(seed=seed)
    shown = [frame]
    while len(shown) < count:
        frame, _, terminated, truncated, _ = environment.step(environment.action_space.sample())
        shown.append(frame)
        if terminated or truncated:
            shown.append(environment.reset()[0])
    return np.stack(shown[:count])


def test_half_of_the_frames_are_black_and_a_seed_repeats_them(environment):
    shown = frames(environment, 3, 2000)
    assert shown.shape == (2000, 10, 10, 3)
    assert environment.observation_space.contains(shown[0])
    black = 1 - shown.any((1, 2, 3)).mean()
    assert abs(black - 0.5) < 0.05  # 4 standard deviations are .045
    np.testing.assert_array_equal(frames(environment, 3, 100), shown[:100])


def test_what_is_seen_is_paddle_ball_and_bricks_but_not_the_trail(environment):
    """The game's own state has four channels; the third is the trail."""
    environment.reset(seed=0)
    game = environment.unwrapped.game
    assert game.env.channels == {"paddle": 0, "ball": 1, "trail": 2, "brick": 3}
    for _ in range(20):
        frame, *_ = environment.step(0)
        if frame.any():
            np.testing.assert_array_equal(frame, game.state()[..., [0, 1, 3]])


def test_an_environment_that_was_given_no_seed_starts(environment):
    assert environment.reset()[0].shape == (10, 10, 3)
