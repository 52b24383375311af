import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import tensor_spec

from tests.export.policies import SMALL, SUIT, policy_of
from tfmem.agents import MemoryPolicy
from tfmem.errors import InvalidInput
from tfmem.export import ExportMismatch, export_policy, lint, load_policy, read_manifest
from tfmem.networks import LSTMConfig, NetworkConfig, NoCoreConfig

IMAGE = tensor_spec.BoundedTensorSpec([8, 8, 1], tf.uint8, 0, 255)
LSTM = NetworkConfig(core=LSTMConfig(units=8), embedding=8, hidden=8, attention_window=3)


def stored(path):
    """How many numbers of each type an export stores."""
    checkpoint = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    numbers = {}
    for name, dtype in checkpoint.get_variable_to_dtype_map().items():
        size = int(np.prod(checkpoint.get_variable_to_shape_map()[name]))
        numbers[dtype] = numbers.get(dtype, 0) + size
    return numbers


@pytest.mark.parametrize(
    ("spec", "config"),
    [(SUIT, SMALL), ({"camera": IMAGE, "speed": tf.TensorSpec([2], tf.float32)}, LSTM)],
    ids=["scan_ntm", "lstm, attention and an image"],
)
def test_weights_take_half_the_bytes_and_clients_see_no_difference(spec, config, tmp_path):
    network = policy_of(spec, config, initial_memory=0.7).network
    before = [variable.numpy() for variable in network.variables]
    policy = MemoryPolicy(network, tf.Variable(10.0), value_rescaling=True)
    full = export_policy(policy, tmp_path / "p", batch_sizes=(1,))
    half = export_policy(policy, tmp_path / "p", batch_sizes=(1,), precision="float16", min_agreement=0.9)
    for variable, value in zip(network.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)
    assert {variable.dtype for variable in policy_of(SUIT, SMALL).network.variables} == {tf.float32}
    assert (full.agreement, half.fingerprint) == (None, full.fingerprint)
    assert half.agreement.agreement >= 0.9
    assert 1e-6 < half.agreement.worst_q_difference < 0.1
    assert read_manifest(full.path)["precision"] == {"weights": "float32"}
    assert read_manifest(half.path)["precision"] == {
        "weights": "float16",
        "agreement": half.agreement.agreement,
        "worst_q_difference": half.agreement.worst_q_difference,
    }
    assert lint(half.path) == []

    weights = sum(variable.shape.num_elements() for variable in network.variables)
    assert stored(full.path)[tf.float32] == weights + 1  # and the reward's scale
    assert stored(half.path)[tf.float16] == weights
    assert stored(half.path)[tf.float32] == 1
    own, other = (tf.saved_model.load(str(each.path)).signatures for each in (full, half))
    assert sorted(own) == sorted(other)
    for name, signature in own.items():
        assert other[name].structured_input_signature == signature.structured_input_signature
        assert other[name].structured_outputs == signature.structured_outputs


@pytest.fixture
def close():
    """A policy without memory whose two best actions, the second better, float16 does not tell apart."""
    policy = policy_of(SUIT, NetworkConfig(core=NoCoreConfig()))
    for variable in policy.network.variables:
        variable.assign(tf.zeros_like(variable))
    (bias,) = (variable for variable in policy.network.variables if "advantage/bias" in variable.name)
    bias.assign([1000.3, 1000.4, 0.0])  # 1000.5 is the nearest to both
    return policy


def test_a_policy_that_acts_otherwise_when_rounded_is_refused_and_leaves_nothing(close, tmp_path):
    with pytest.raises(ExportMismatch, match=r"original in 0\.0% of 1000 steps.*min_agreement") as raised:
        export_policy(close, tmp_path / "p", precision="float16")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("p/*"))


def test_it_is_exported_where_that_is_allowed(close, tmp_path):
    made = export_policy(close, tmp_path / "p", batch_sizes=(1,), precision="float16", min_agreement=0)
    assert made.agreement.agreement == 0
    action, _, _ = load_policy(made.path).step([1], [True], {})
    assert action == [0]


def test_weights_that_float16_cannot_hold_are_refused(close, tmp_path):
    for variable in close.network.variables:
        variable.assign(tf.fill(variable.shape, 1e5))
    with pytest.raises(ExportMismatch, match="Q-values that are no numbers; take a higher precision"):
        export_policy(close, tmp_path / "p", precision="float16", min_agreement=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "precision must be float32 or float16, not 'int8'"),
        ({"min_agreement": 1.5}, "min_agreement must be a share from 0 to 1, not 1.5"),
    ],
)
def test_bad_options_are_one_line(options, message, close, tmp_path):
    with pytest.raises(InvalidInput, match=f"^{message}$"):
        export_policy(close, tmp_path / "p", **options)
