import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util

from tests.conftest import TINY
from tfmem.training import Interrupted, make_config, train

OFTEN = {**TINY, "checkpoint_interval": 400, "env_steps": 800}
LAYERS = {"encoder", "hidden", "hidden_1", "value", "advantage"}


def events_of(folder):
    """Everything in a run's events, by tag: the steps, and the value of each."""
    events = EventAccumulator(str(folder / "events"), size_guidance={"tensors": 0})
    events.Reload()
    return events, {
        tag: {event.step: tensor_util.make_ndarray(event.tensor_proto) for event in events.Tensors(tag)}
        for tag in events.Tags()["tensors"]
    }


def hyperparameters(events):
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    values = metadata.parse_session_start_info_plugin_data(content).hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def heads(tags, section):
    return {tag.split("/")[1] for tag in tags if tag.startswith(section + "/")}


@pytest.fixture(scope="module")
def memory_run(tmp_path_factory):
    config = make_config("tests/RememberFirst-v0", overrides=OFTEN)
    out = tmp_path_factory.mktemp("board") / "run"
    return config, out, train(config, out)


def test_the_events_of_a_run_with_an_external_memory(memory_run):
    config, out, result = memory_run
    events, found = events_of(out)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [row["env_steps"] for row in rows]
    assert list(found["greedy_return"]) == steps
    # The first evaluation is looked into, and the last.
    assert {steps[0], steps[-1]} <= set(found["entropy/read_1"]) <= set(steps)
    assert heads(found, "gradients") == LAYERS | {"scan_ntm"}
    for section in ("entropy", "slots_used", "modes"):
        assert heads(found, section) == {"read_1", "read_2", "write_1", "write_2"}
    assert heads(found, "mean_distance") == heads(found, "distance") == {"read_1", "read_2"}
    assert heads(found, "erase") == {"write_1", "write_2"}
    assert heads(found, "memory") == {"content", "read_weights", "write_weights"}
    plugins = {tag: events.SummaryMetadata(tag).plugin_data.plugin_name for tag in found}
    length = 5  # steps of an episode
    for tag, by_step in found.items():
        for value in by_step.values():
            if plugins[tag] in ("scalars", "histograms"):
                assert np.isfinite(value).all(), tag
            if plugins[tag] == "scalars":
                assert value.shape == (), tag
            elif plugins[tag] == "histograms":
                assert value.shape == (length, 3), tag
                assert 0 < value[:, 2].sum() <= 1 + 1e-6
            elif plugins[tag] == "images":
                width, height, png = value
                slots = config.core.slots
                size = {"memory/content": (config.core.width, slots)}.get(tag, (length, 2 * (slots + 1) - 1))
                assert (int(width), int(height)) == size
                assert tf.io.decode_png(png).shape == (size[1], size[0], 1)
            else:
                assert plugins[tag] == "hparams"
    assert found["final_return"] == {result.env_steps: np.float32(result.final_return)}
    assert 0 < result.time_shares["recording"] < 0.3


def test_hyperparameters_are_the_configuration(memory_run):
    config, out, _ = memory_run
    events, _ = events_of(out)
    found = hyperparameters(events)
    assert found["env_id"] == config.env_id
    assert found["learning_rate"] == config.learning_rate
    assert found["double_q"] is True
    assert found["core.slots"] == config.core.slots
    assert json.loads(found["core.read_heads"]) == list(config.core.read_heads)
    content = events.SummaryMetadata(metadata.EXPERIMENT_TAG).plugin_data.content
    experiment = metadata.parse_experiment_plugin_data(content)
    assert {info.name for info in experiment.hparam_infos} == set(found)
    assert set(dataclasses.asdict(config)) - {"core"} <= set(found)
    assert [info.name.tag for info in experiment.metric_infos] == ["final_return"]


@pytest.mark.parametrize(
    ("overrides", "layers", "attends"),
    [
        ({"core": "lstm", "core.units": 8, "attention_window": 3}, {"lstm", "recent_attention"}, True),
        ({"core": "none"}, set(), False),
    ],
)
def test_the_events_of_runs_without_an_external_memory(tmp_path, overrides, layers, attends):
    values = {k: v for k, v in OFTEN.items() if not k.startswith("core.")} | overrides
    train(make_config("tests/RememberFirst-v0", overrides=values), tmp_path / "run")
    events, found = events_of(tmp_path / "run")
    assert heads(found, "gradients") == LAYERS | layers
    norms = [list(by_step.values()) for tag, by_step in found.items() if tag.startswith("gradients/")]
    assert np.isfinite(norms).all()
    for section in ("entropy", "mean_distance", "distance", "memory"):
        assert heads(found, section) == ({"attention"} if attends else set())
    for section in ("slots_used", "modes", "erase"):
        assert not heads(found, section)
    if attends:
        values = list(found["entropy/attention"].values())
        assert all(0 <= value <= np.log(3) for value in values)
        width, height, _ = next(iter(found["memory/attention"].values()))
        assert (int(width), int(height)) == (5, 3)
        assert next(iter(found["distance/attention"].values())).shape == (5, 3)
    assert hyperparameters(events)["core.kind"] == overrides["core"]


def test_a_resumed_run_goes_on_in_the_same_folder(tmp_path):
    values = {k: v for k, v in OFTEN.items() if not k.startswith("core.")}
    config = make_config("tests/RememberFirst-v0", overrides=values | {"core": "none", "attention_window": 3})

    def interrupt(status):
        if status.env_steps > 600:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        train(config, tmp_path / "run", watch=interrupt)
    _, before = events_of(tmp_path / "run")
    assert list(before["memory/attention"]) == list(before["greedy_return"]) == list(before["loss"])
    assert "final_return" not in before
    result = train(config, tmp_path / "run", resume=True)
    events, found = events_of(tmp_path / "run")
    assert set(found) == {*before, "final_return"}
    for tag in ("greedy_return", "memory/attention", "gradients/hidden"):
        assert list(found[tag]) == [*before[tag], result.env_steps]
    assert hyperparameters(events)["env_id"] == config.env_id
