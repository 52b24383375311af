"""Every recipe: made, seeded, trained for a few seconds, exported, served, played."""

import contextlib
import json

import gymnasium as gym
import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner

from tests.serving.test_server import start
from tfmem.cli import main
from tfmem.environments import load
from tfmem.errors import InvalidInput
from tfmem.recipes import RECIPES, Needs
from tfmem.training import make_config, train

STEPS = 150


def _recipe(env_id):
    missing = RECIPES[env_id].needs.missing()
    reason = f"{', '.join(missing)} not installed: {RECIPES[env_id].needs.install}"
    return pytest.param(env_id, marks=pytest.mark.skipif(bool(missing), reason=reason))


every_recipe = pytest.mark.parametrize("env_id", [_recipe(env_id) for env_id in RECIPES])


def run(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def played(config, seed):
    """Observations, rewards and ends of a random game, its actions the allowed ones."""
    environment = load(
        config.env_id, env_kwargs=config.env_kwargs, action_mask=config.action_mask, num_envs=2, seed=seed
    )
    rng = np.random.default_rng(0)
    with contextlib.closing(environment):
        time_step, shown = environment.reset(), []
        for _ in range(STEPS):
            shown.append(time_step)
            lot = rng.random([2, environment.action_spec().maximum + 1])
            if config.action_mask:
                lot *= time_step.observation["action_mask"]
            time_step = environment.step(lot.argmax(axis=1))
        spec = environment.observation_spec()
    tf.nest.map_structure(lambda part, s: s.check_array(part[0]), shown[-1].observation, spec)
    return tf.nest.map_structure(lambda *steps: np.stack(steps), *shown)


@every_recipe
def test_a_seed_gives_the_same_game_and_another_one_another(env_id):
    config = make_config(env_id)
    first, again, other = played(config, 5), played(config, 5), played(config, 6)
    tf.nest.map_structure(np.testing.assert_array_equal, first, again)
    same = [np.array_equal(a, b) for a, b in zip(*map(tf.nest.flatten, (first, other)), strict=True)]
    assert not all(same)
    assert np.isfinite(first.reward).all()


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("models")


@every_recipe
def test_trains_and_exports(env_id, base):
    """Only that it runs, a few dozen updates: what recipes learn is in docs/recipes.md."""
    config = make_config(
        env_id,
        overrides={
            **{"env_steps": 600, "learning_starts": 200, "sequence_length": 9, "burn_in": 0, "num_envs": 4},
            **{"batch_size": 2, "collect_steps": 20, "updates": 2, "embedding": 8, "hidden": 8},
            **{"replay_capacity": 1_000, "checkpoint_interval": 600, "eval_episodes": 1, "core": "lstm"},
            **{"core.units": 8},
        },
    )
    name = env_id.partition("/")[2]
    train(config, base.parent / f"{name}-run")
    assert run("export", base.parent / f"{name}-run", base / name, "--json")["version"] == 1


def test_each_is_served_and_played(base):
    names = sorted(path.name for path in base.iterdir())
    if not names:
        pytest.skip("no recipe was trained before")
    process = start(base, "--rest-port", "0", "--grpc-port", "0")
    try:
        ready = process.stdout.readline().split()
        assert ready[:1] == ["ready"], process.stderr.read()
        for name in names:
            options = ("--env", f"recipes/{name}", "--episodes", 1, "--json")
            assert np.isfinite(run("play", name, "--server", ready[2], *options)["mean_return"])
    finally:
        process.terminate()
        assert process.wait(timeout=30) == 0


def test_the_command_lists_them_with_what_they_need():
    told = run("recipes", "--json")
    assert list(told) == list(RECIPES)
    for env_id, parts in told.items():
        assert all(parts[name] for name in ("domain", "remembers", "preset", "install"))
        # A preset may play the environment, to see how long episodes are.
        assert parts["missing"] or make_config(env_id).env_id == env_id


def test_without_what_it_needs_it_says_how_to_install_it():
    needs = Needs(("json", "no_such_module"), "pip install 'tfmem[some]'")
    assert needs.missing() == ("no_such_module",)
    with pytest.raises(InvalidInput, match=r"needs no_such_module: pip install 'tfmem\[some\]'"):
        needs.check()
    needs = Needs(("json",), "install Java", programs=("no-such-program",))
    with pytest.raises(InvalidInput, match=r"^needs no-such-program: install Java$"):
        needs.check()


def test_presets_can_be_exchanged_and_settings_overridden():
    config = make_config("recipes/memory-s7", preset="fast", overrides={"env_steps": 30_000})
    assert config.sequence_length == make_config("CartPole-v1", preset="fast").sequence_length
    assert config.env_steps == 30_000


def test_recipes_are_gymnasium_environments():
    assert all(env_id in gym.registry for env_id in RECIPES)
