"""Figures of episodes."""

import sys

import numpy as np
import pytest
from matplotlib import image
from tf_agents.specs import tensor_spec

from tests.export.policies import SMALL, SUIT, policy_of
from tfmem.agents import MemoryPolicy
from tfmem.environments import load
from tfmem.errors import InvalidInput
from tfmem.inspection import draw, trace
from tfmem.networks import MemoryQNetwork, NetworkConfig, NoCoreConfig


@pytest.fixture(scope="module")
def episode():
    return trace(policy_of(SUIT, SMALL), load("tests/RememberFirst-v0"), seed=0, gamma=0.9)


def test_an_svg_has_a_panel_for_each_head(episode, tmp_path):
    draw(episode, tmp_path / "made" / "episode.svg", title="An episode")
    text = (tmp_path / "made" / "episode.svg").read_text()
    for label in ("An episode", "observation", "action", "write head 2", "read head 7", "TD error", "step"):
        assert f"<!-- {label} -->" in text
    assert "attention" not in text
    assert "read head 8" not in text


def test_a_png_shows_the_weights(episode, tmp_path):
    draw(episode, tmp_path / "a.png")
    pixels = image.imread(tmp_path / "a.png")
    assert pixels.shape[1] == 8 * 130
    episode.state["read_weights"][:, 0] = np.eye(6)[0]
    draw(episode, tmp_path / "b.png")
    assert not np.array_equal(image.imread(tmp_path / "b.png"), pixels)


def test_attention_and_observations_of_every_kind(tmp_path):
    environment = load("tests/EverySpace-v0")
    network = MemoryQNetwork(
        tensor_spec.from_spec(environment.observation_spec()),
        tensor_spec.from_spec(environment.action_spec()),
        NetworkConfig(core=NoCoreConfig(), attention_window=4, embedding=8, hidden=8),
    )
    network.create_variables()
    draw(trace(MemoryPolicy(network), environment, seed=0, gamma=0.9), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    for label in ("pair_0", "pair_1 2", "speed 1", "switches 3", "attention"):
        assert f"<!-- {label}" in text
    assert "image" not in "".join(line for line in text.splitlines() if "<!--" in line)  # too many numbers


def test_bad_input_is_one_line(episode, tmp_path, monkeypatch):
    with pytest.raises(InvalidInput, match=r"path must be a file that ends in \.png, \.svg"):
        draw(episode, tmp_path / "a.bmp")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InvalidInput, match=r"pip install 'tfmem\[report\]'"):
        draw(episode, tmp_path / "a.png")
