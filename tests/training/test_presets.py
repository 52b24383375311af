import dataclasses
import math

import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tfmem.environments import Probe
from tfmem.errors import InvalidInput
from tfmem.networks import LSTMConfig, ScanNTMConfig
from tfmem.training import make_config
from tfmem.training.presets import PRESETS


def test_an_unknown_preset_is_named():
    with pytest.raises(InvalidInput, match="preset must be one of"):
        make_config("CartPole-v1", preset="magic")


@pytest.mark.parametrize(("env_id", "squeezed"), [("CartPole-v1", True), ("tests/RememberFirst-v0", False)])
def test_the_control_preset_squeezes_values_where_most_steps_are_rewarded(env_id, squeezed):
    assert make_config(env_id, preset="control").value_rescaling == squeezed


def test_the_control_preset_takes_another_core():
    config = make_config("CartPole-v1", preset="control")
    assert (config.core, config.previous_action, config.stored_state) == (LSTMConfig(), True, True)
    slots = make_config("CartPole-v1", preset="control", overrides={"core": "scan_ntm", "core.slots": 8})
    assert slots.core == ScanNTMConfig(slots=8)
    assert make_config("CartPole-v1", preset="control", overrides={"core.units": 8}).core.units == 8


def test_the_recall_preset_fits_windows_and_memory_to_the_episodes():
    config = make_config("tests/RememberFirst-v0", overrides={"env_kwargs": {"length": 9}})
    assert (config.sequence_length, config.core.slots, config.collect_steps) == (11, 10, 5)
    assert (config.network.hidden_layers, config.core.jumps) == (2, False)
    lstm = make_config("tests/RememberFirst-v0", overrides={"core": "lstm", "sequence_length": 7})
    assert (lstm.sequence_length, lstm.core) == (7, LSTMConfig())


def test_the_recall_preset_leaves_room_where_a_better_policy_may_play_longer():
    # Random play of MineSweeperHard hits a mine within four frames; a game without a mistake has 55.
    config = make_config("popgym-MineSweeperHard-v0")
    assert (config.sequence_length, config.core.slots) == (65, 64)


def test_the_recall_preset_shows_the_previous_action_where_the_environment_asks_for_it():
    # Battleship says whether the last shot has hit, and not where it went.
    assert make_config("popgym-BattleshipEasy-v0").previous_action
    assert not make_config("popgym-RepeatPreviousEasy-v0").previous_action
    assert not make_config("popgym-BattleshipEasy-v0", overrides={"previous_action": False}).previous_action


def test_the_recall_preset_keeps_what_each_action_found_where_the_environment_asks_for_it():
    assert make_config("popgym-BattleshipEasy-v0").action_slots == 8
    assert make_config("popgym-RepeatPreviousEasy-v0").action_slots == 0
    # Another core is compared as it is, and slots cannot be addressed by an action that is not seen.
    for other in ({"core": "lstm"}, {"core": "none"}, {"previous_action": False}):
        assert make_config("popgym-BattleshipEasy-v0", overrides=other).action_slots == 0
    wider = {"core": {"kind": "scan_ntm", "slots": 70}}
    assert make_config("popgym-BattleshipEasy-v0", overrides=wider).action_slots == 8
    chosen = make_config("popgym-BattleshipEasy-v0", overrides={"core": "lstm", "action_slots": 4})
    assert (chosen.core, chosen.action_slots) == (LSTMConfig(), 4)


def test_the_recall_preset_tallies_where_one_component_may_ask_about_another():
    assert make_config("popgym-CountRecallEasy-v0").tallies == 32
    assert make_config("popgym-CountRecallEasy-v0", overrides={"core": "lstm"}).tallies == 0  # as it is
    chosen = make_config("popgym-CountRecallEasy-v0", overrides={"core": "lstm", "tallies": 4})
    assert (chosen.core, chosen.tallies) == (LSTMConfig(), 4)


@pytest.mark.parametrize(
    ("components", "frames", "needs_previous_action", "tallies"),
    [
        (1, 50, False, 0),
        (2, 50, False, 32),
        (4, 50, False, 32),
        (5, 50, False, 0),  # a picture, or a table
        (2, 1024, False, 0),  # episodes without an end in sight: sums without a bound
        (2, 50, True, 0),  # what was found is kept by action
    ],
)
def test_the_recall_preset_tallies_a_few_components_of_episodes_that_end(
    components, frames, needs_previous_action, tallies
):
    found = Probe(
        frames=frames,
        lengths_vary=False,
        needs_previous_action=needs_previous_action,
        action_grid=(),
        rewards_dense=False,
        observation_spec=tensor_spec.BoundedTensorSpec([components], tf.int64, 0, 3),
    )
    assert PRESETS["recall"].by_probe(found)["tallies"] == tallies


def test_the_recall_preset_shows_what_neighbours_found_where_actions_are_a_grid():
    battleship = "popgym-BattleshipEasy-v0"
    assert make_config(battleship).action_grid == (8, 8)
    assert make_config(battleship, overrides={"core": "lstm", "action_slots": 4}).action_grid == (8, 8)
    assert make_config(battleship, overrides={"action_grid": [64]}).action_grid == (64,)
    assert make_config("popgym-ConcentrationEasy-v0").action_grid == ()
    assert make_config("tests/EverySpace-v0", overrides={"action_slots": 4}).action_grid == (2, 3)
    # A grid of slots goes with the slots.
    for other in ({"core": "lstm"}, {"previous_action": False}, {"action_slots": 0}):
        assert make_config(battleship, overrides=other).action_grid == ()


def test_a_core_as_a_dict_is_the_preset_s_where_it_says_nothing_else():
    by_name, as_dict = (
        make_config("popgym-RepeatPreviousEasy-v0", overrides={"core": core})
        for core in ("scan_ntm", {"kind": "scan_ntm", "width": 4})
    )
    assert as_dict.core == dataclasses.replace(by_name.core, width=4)


@pytest.mark.parametrize(("length", "starts_from"), [(500, (False, 0)), (3_000, (True, 128))])
def test_the_recall_preset_stores_states_of_episodes_that_no_window_holds(length, starts_from):
    config = make_config("tests/RememberFirst-v0", overrides={"env_kwargs": {"length": length}})
    assert (config.stored_state, config.burn_in) == starts_from


@pytest.mark.parametrize(("length", "logit"), [(9, 5.0), (299, 1 + math.log(300))])
def test_the_recall_preset_lets_heads_stray_less_in_long_episodes(length, logit):
    config = make_config("tests/RememberFirst-v0", overrides={"env_kwargs": {"length": length}})
    assert config.core.favourite_logit == pytest.approx(logit)


@pytest.mark.parametrize(("length", "windows", "updates"), [(9, 16, 4), (100, 8, 8), (500, 4, 16)])
def test_the_recall_preset_updates_from_fewer_windows_of_long_episodes(length, windows, updates):
    config = make_config("tests/RememberFirst-v0", overrides={"env_kwargs": {"length": length}})
    assert (config.batch_size, config.updates) == (windows, updates)
