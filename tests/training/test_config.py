import json

import pytest

from tfmem.errors import InvalidInput
from tfmem.networks import LSTMConfig
from tfmem.training import PRESETS, TrainConfig, make_config


@pytest.mark.parametrize("core", ["scan_ntm", "lstm", "none"])
@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_json_round_trip(preset, core):
    overrides = {"core": core, "env_kwargs": {"length": 10}, "seed": 3}
    config = make_config("tests/RememberFirst-v0", preset=preset, overrides=overrides)
    assert TrainConfig.from_dict(json.loads(config.to_json())) == config


def test_overrides():
    assert make_config("CartPole-v1", overrides={"core": "lstm", "core.units": 5}).core == LSTMConfig(units=5)
    assert make_config("CartPole-v1", overrides={"core.slots": 5}).core.slots == 5
    assert make_config("CartPole-v1", overrides={"gamma": 1}).gamma == 1.0


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"gama": 0.5}, "there is no field gama; nearest: gamma"),
        ({"gamma": "high"}, "gamma must be a number, not 'high'"),
        ({"gamma": 1.5}, "gamma must be in"),
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"learning_rate": 0}, "learning_rate must be a finite number above 0"),
        ({"learning_rate": float("inf")}, "learning_rate must be a finite number above 0"),
        ({"seed": 2**32}, r"seed must be between 0 and 2\*\*32"),
        ({"seed": True}, "seed must be a whole number, not True"),
        ({"core.slots": True}, "core.slots must be a whole number, not True"),
        ({"env_kwargs": "abc"}, "env_kwargs must be an object such as"),
        ({"pretrained": 5}, "pretrained must be a text or null, not 5"),
        ({"batch_size": 10**8}, "batch_size must be at most replay_capacity / sequence_length"),
        ({"hidden": 10**8}, "hidden must be at least 1 and at most 65536"),
        ({"core.slots": 10**8}, "core.slots must be at least 2 and at most 65536"),
        ({"core.kind": "lstm"}, "core.kind is set by core alone, as core=lstm"),
        ({"env_steps": 4000}, "env_steps must be above 5000, where learning starts"),
        ({"env_id": "Other-v0"}, "env_id is given by itself"),
        ({"core": 5}, "core must be one of scan_ntm, lstm, none"),
        ({"core": None}, "core must be one of scan_ntm, lstm, none"),
        ({"core": True, "core.slots": 4}, "core must be one of scan_ntm, lstm, none"),
        ({"core.read_heads": "forward"}, "heads must be a list such as .*, not 'forward'"),
        ({"core.read_heads": 5}, "heads must be a list such as"),
        ({"core.read_heads": [1]}, "heads must be a list such as"),
        ({"action_grid": 8}, r"action_grid must be a list of whole numbers such as \[8, 8\], not 8"),
        ({"action_grid": [8.0, 8.0]}, "action_grid must be a list of whole numbers"),
        ({"action_grid": [True, 2]}, "action_grid must be a list of whole numbers"),
        ({"attention_window": 1}, "attention_window must be 0, or at least 2"),
        ({"sequence_length": 1}, "sequence_length must be at least 2"),
        ({"burn_in": 51, "sequence_length": 52}, "burn_in must be between 0 and sequence_length - 2 = 50"),
        ({"replay_capacity": 100}, "replay_capacity must be at least"),
        ({"core": "transformer"}, "core must be one of scan_ntm, lstm, none"),
        ({"core.slots": 1}, "core.slots must be at least 2"),
        ({"core.favourite_logit": -1}, "core.favourite_logit must be a finite number of 0 or more"),
        ({"core.slotz": 8}, "there is no field core.slotz; nearest: core.slots"),
        ({"core.read_heads": ["up"]}, "core.read_heads must be one or more of stay.*rewind"),
        ({"core.write_heads": ["rewind"]}, "core.write_heads must be one or more of stay"),
        ({"core": "lstm", "core.slots": 8}, "there is no field core.slots; nearest: core.units"),
        ({"core.write_heads": ["jump"]}, r"core.write_heads .* \(and jump, with core.jumps=true\)"),
        (
            {"core.write_heads": ["forward"]},
            "core.read_heads .* write_2 being where the second of core.write_heads",
        ),
        ({"target_tau": 0}, "target_tau must be above 0 and at most 1"),
        ({"n_step": 52, "sequence_length": 52}, "n_step must be below sequence_length = 52"),
        ({"averaging": 1}, r"averaging must be in \[0, 1\)"),
        ({"td_loss": "absolute"}, "td_loss must be one of 'huber', 'squared', not 'absolute'"),
        ({"hidden_layers": 0}, "hidden_layers must be at least 1"),
        ({"attention": "loud"}, "attention"),
        (
            {"attention": "reinforce"},
            "attention must be 'soft', as it is without attention: set attention_window",
        ),
        ({"attention_entropy": 0.1}, "attention_entropy must be 0, as it is without attention"),
        ({"region_attention": "loud"}, "region_attention"),
        (
            {"region_attention": "soft", "region_attention_heads": 0},
            "region_attention_heads must be at least 1",
        ),
        (
            {"region_attention_entropy": 0.1},
            "region_attention_entropy must be 0, as it is without attention over regions",
        ),
        (
            {"region_attention": "gumbel", "region_attention_entropy": float("nan")},
            "region_attention_entropy must be a finite number",
        ),
        ({"hidden": 0}, "hidden must be at least 1"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_what_does_not_fit_is_named(overrides, named):
    with pytest.raises(InvalidInput, match=named):
        make_config("CartPole-v1", overrides=overrides)
