"""Atari's recipes: what is black, what is left out, and that one game and many show the same."""

import gymnasium as gym
import numpy as np
import pytest

import tfmem.recipes  # noqa: F401  registers
from tfmem.environments import load


@pytest.fixture
def environment():
    return gym.make("recipes/breakout")


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


def test_breakout_draws_the_game_with_what_a_black_frame_hides():
    environment = gym.make("recipes/breakout", render_mode="rgb_array")
    environment.reset(seed=0)
    picture = environment.render()
    assert picture.shape == (80, 80, 3)
    assert picture.dtype == np.uint8
    game = environment.unwrapped.game
    np.testing.assert_array_equal(picture[::8, ::8].any(-1), game.state().any(-1))


def pong_frames(vectorization, steps=40):
    """Frames `[steps, 4, 84, 84]` of four games in which nothing is done."""
    environment = load("recipes/pong", num_envs=4, vectorization=vectorization, seed=0)
    time_step, shown = environment.reset(), []
    for _ in range(steps):
        assert time_step.observation.shape == (4, 84, 84, 1)
        shown.append(time_step.observation[..., 0])
        time_step = environment.step(np.zeros(4, np.int32))
    environment.close()
    return np.stack(shown)


def test_pong_by_its_vector_environment_shows_what_single_games_show():
    """Their games start differently, but court, paddles and score stand where they stand, as bright."""
    one, many = pong_frames("sync"), pong_frames("vector_entry_point")
    for frames in (one, many):
        black = ~frames.any((2, 3))
        assert 0.35 < black.mean() < 0.65  # 160 frames: 4 standard deviations are .16
        assert not np.array_equal(black[:, 0], black[:, 1])
    brightness = [np.median(frames[frames.any((2, 3))], axis=0) for frames in (one, many)]
    assert np.abs(brightness[0].astype(int) - brightness[1]).mean() < 2
