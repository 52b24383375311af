"""What `explain` gives and traces hold: the same in this process, of an export, and behind `tfmem serve`."""

import asyncio
import json
import signal

import numpy as np
import pytest
import tensorflow as tf

from tests.export.policies import SUIT, policy_of
from tests.serving.test_server import start
from tfmem.environments import load
from tfmem.export import MANIFEST_PATH, export_policy, load_policy
from tfmem.inspection import evidence, trace
from tfmem.networks import NetworkConfig, ScanNTMConfig
from tfmem.serving import AsyncPolicyClient, PolicyClient

MIXED = NetworkConfig(core=ScanNTMConfig(slots=6, width=4), attention_window=4, embedding=8, hidden=8)


class Twice(tf.Module):
    """Counts, and shows twice the count to whoever asks for an explanation."""

    _INPUTS = (
        tf.TensorSpec([None], tf.int64, "observation"),
        tf.TensorSpec([None], tf.bool, "is_first"),
        tf.TensorSpec([None], tf.float32, "count"),
    )

    @tf.function(input_signature=_INPUTS)
    def step(self, observation, is_first, count):
        count = tf.where(is_first, 5.0, count) + 1.0
        q_values = tf.stack([count, tf.cast(observation, tf.float32)], axis=1)
        return {"action": tf.argmax(q_values, 1, tf.int32), "q_values": q_values, "count": count}

    @tf.function(input_signature=_INPUTS)
    def explain(self, observation, is_first, count):
        outputs = self.step(observation, is_first, count)
        return {**outputs, "twice": 2.0 * outputs["count"]}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32, "batch")])
    def initial_state(self, batch):
        return {"count": 5.0 + 0.0 * tf.cast(batch, tf.float32)}


def save_twice(path):
    module = Twice()
    signatures = {name: getattr(module, name) for name in ("step", "explain", "initial_state")}
    tf.saved_model.save(module, str(path), signatures=signatures)
    manifest = {
        "observation": {"observation": {"dtype": "int64", "shape": []}},
        "state": {"count": {"dtype": "float32", "shape": []}},
    }
    (path / MANIFEST_PATH).parent.mkdir(exist_ok=True)
    (path / MANIFEST_PATH).write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def policy():
    return policy_of(SUIT, MIXED, initial_memory=0.3)


@pytest.fixture(scope="module")
def base(policy, tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    export_policy(policy, base / "mixed", batch_sizes=(1, 32))
    save_twice(base / "twice" / "1")
    return base


@pytest.fixture(scope="module")
def urls(base):
    process = start(base, "--rest-port", "0", "--grpc-port", "0")
    words = process.stdout.readline().split()
    assert words[:1] == ["ready"], process.stderr.read()
    yield [words[2], words[4]]
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


def named(episode):
    """Every array of a trace by name."""
    arrays = {}
    for field, value in vars(episode).items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        arrays |= {f"{field} {name}": part for name, part in parts if part is not None}
    return {name: part for name, part in arrays.items() if isinstance(part, np.ndarray)}


def test_a_trace_and_its_evidence_are_the_same_in_process_of_an_export_and_behind_a_server(
    policy, base, urls
):
    def play(policy):
        environment = load("tests/RememberFirst-v0", env_kwargs={"length": 20})
        episode = trace(policy, environment, seed=3, gamma=0.9)
        effects = evidence(episode, policy, environment, seed=3)
        return named(episode), {name: (effect.rate, effect.total_reward) for name, effect in effects.items()}

    expected, expected_effects = play(policy)
    assert expected["state memory"].shape == (20, 6, 4)
    found = [play(load_policy(base / "mixed" / "1"))]
    for url in urls:
        with PolicyClient(url, "mixed") as client:
            found.append(play(client.pinned()))
    for arrays, effects in found:
        assert set(arrays) == set(expected)
        for part in expected:
            assert arrays[part].dtype == expected[part].dtype, part
            np.testing.assert_allclose(arrays[part], expected[part], rtol=1e-5, atol=1e-6, err_msg=part)
        assert effects == expected_effects


def explain_twice(policy):
    """Two steps of `Twice` by `explain`, with the state that the first gave."""
    first = policy.explain([1, 9], [True, False], policy.initial_state(2))
    return policy.explain([1, 9], [False, False], first[2])


def check_twice(action, q_values, state, explained):
    np.testing.assert_array_equal(action, [0, 1])
    np.testing.assert_array_equal(q_values, [[7, 1], [7, 9]])
    assert (set(state), set(explained)) == ({"count"}, {"twice"})
    np.testing.assert_array_equal(state["count"], [7, 7])
    np.testing.assert_array_equal(explained["twice"], [14, 14])


def test_what_only_explain_gives_comes_beside_the_state(base, urls):
    check_twice(*explain_twice(load_policy(base / "twice" / "1")))
    for url in urls:
        with PolicyClient(url, "twice") as client:
            check_twice(*explain_twice(client.pinned()))


def test_the_asyncio_client_explains_too(urls):
    async def explain(url):
        async with AsyncPolicyClient(url, "twice") as client:
            policy = await client.pinned()
            first = await policy.explain([1, 9], [True, False], await policy.initial_state(2))
            return await policy.explain([1, 9], [False, False], first[2])

    for url in urls:
        check_twice(*asyncio.run(explain(url)))
