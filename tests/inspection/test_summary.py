"""Entropy, usage and reach, against numbers worked out by hand."""

import numpy as np
import pytest

from tests.export.policies import SUIT, policy_of
from tfmem.environments import load
from tfmem.inspection import summary, trace
from tfmem.networks import NetworkConfig, NoCoreConfig, ScanNTMConfig


def one_hot(slots, of=3):
    """Weights `[T, heads, of]` of heads that are on one slot each."""
    return np.eye(of, dtype=np.float32)[np.asarray(slots)]


def test_entropy_is_in_nats_and_of_shares():
    weights = np.array([[1, 0, 0, 0], [0.5, 0.5, 0, 0], [3, 3, 3, 3], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(summary.entropy(weights), [0, np.log(2), np.log(4), 0], atol=1e-6)
    assert summary.entropy(np.ones([5, 2, 8])).shape == (5, 2)


def test_usage_is_the_share_that_each_slot_got():
    weights = np.array([[[1, 0, 0]], [[0, 1, 0]], [[0.5, 0.5, 0]], [[0, 1, 0]]])
    np.testing.assert_allclose(summary.usage(weights), [[1.5 / 4, 2.5 / 4, 0]])


def test_write_heads_together_replace_a_share_of_each_slot():
    weights = np.array([[[0.5, 1, 0], [0.5, 0, 0]]])
    np.testing.assert_allclose(summary.written_share(weights), [[0.75, 1, 0]])


def test_provenance_fades_as_a_slot_is_written_over():
    written = np.array([[[1, 0]], [[0.25, 0.75]], [[0, 0.5]]])
    steps = [shares.copy() for shares in summary.provenance(written)]
    np.testing.assert_allclose(steps[0], [[1], [0]])
    np.testing.assert_allclose(steps[1], [[0.75, 0.25], [0, 0.75]])
    np.testing.assert_allclose(steps[2], [[0.75, 0.25, 0], [0, 0.375, 0.5]])


def test_reads_reach_back_to_when_a_slot_was_written():
    # Slots 0, 1, 2 in turn; one head reads what was just written, the other slot 0 throughout.
    written, read = one_hot([[0], [1], [2]]), one_hot([[0, 0], [1, 0], [2, 0]])
    reach = summary.read_reach(read, written)
    np.testing.assert_array_equal(reach.mean, [[0, 0], [0, 1], [0, 2]])
    np.testing.assert_array_equal(reach.likeliest, [[0, 0], [0, 1], [0, 2]])
    np.testing.assert_allclose(reach.histogram, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])


def test_a_read_of_the_initial_content_reaches_nothing():
    reach = summary.read_reach(one_hot([[2], [2]]), one_hot([[0], [1]]))
    assert np.isnan(reach.mean).all()
    np.testing.assert_array_equal(reach.likeliest, [[-1], [-1]])
    np.testing.assert_array_equal(reach.histogram, [[0, 0]])


def test_a_mean_distance_weighs_what_was_read():
    # Step 2 reads .8 of slot 0, written at step 0, and .2 of slot 1, written half each at steps 1 and 2.
    written = np.array([[[1, 0]], [[0, 1]], [[0, 0.5]]])
    read = np.array([[[1, 0]], [[1, 0]], [[0.8, 0.2]]])
    reach = summary.read_reach(read, written)
    np.testing.assert_allclose(reach.mean[2, 0], 0.8 * 2 + 0.1 * 1)
    np.testing.assert_allclose(reach.histogram[0], [1.1 / 3, 1.1 / 3, 0.8 / 3])
    assert reach.likeliest[2, 0] == 2


def test_attention_reaches_back_by_its_place_in_the_window():
    reach = summary.attention_reach(np.array([[0, 0, 1], [0, 0.25, 0.75], [0.5, 0, 0.5], [1, 0, 0]]))
    np.testing.assert_allclose(reach.mean[:, 0], [0, 0.25, 1, 2])
    np.testing.assert_array_equal(reach.likeliest[:, 0], [0, 0, 0, 2])
    np.testing.assert_allclose(reach.histogram, [[2.25 / 4, 0.25 / 4, 1.5 / 4, 0]])


@pytest.mark.parametrize("window", [0, 4])
def test_a_policys_episode(window):
    policy = policy_of(SUIT, NetworkConfig(core=ScanNTMConfig(slots=6, width=4), attention_window=window))
    episode = trace(policy, load("tests/RememberFirst-v0"), seed=0, gamma=0.9)
    found = summary.summarize(episode)
    shapes = {name: part.shape for name, part in found.entropy.items()}
    attention = {"attention": (5,)} if window else {}
    assert shapes == {"read_weights": (5, 7), "write_weights": (5, 2), **attention}
    assert {name: part.shape for name, part in found.usage.items()} == {
        "read_weights": (7, 6),
        "write_weights": (2, 6),
    }
    assert found.reads.mean.shape == (5, 7)
    assert (found.attention is not None) == bool(window)
    if window:
        np.testing.assert_allclose(found.attention.histogram.sum(), 1, rtol=1e-5)


def test_a_policy_without_memory_has_nothing_to_sum_up():
    policy = policy_of(SUIT, NetworkConfig(core=NoCoreConfig()))
    found = summary.summarize(trace(policy, load("tests/RememberFirst-v0"), seed=0, gamma=0.9))
    assert (dict(found.entropy), dict(found.usage), found.reads, found.attention) == ({}, {}, None, None)
