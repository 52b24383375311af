"""A policy whose weights take half as many bytes."""

import tensorflow as tf

from tfmem._keras import keras
from tfmem.agents import MemoryPolicy
from tfmem.export.agreement import Agreement, compare
from tfmem.export.manifest import describe_specs
from tfmem.export.signatures import ExportedPolicy
from tfmem.serving import wire

PRECISIONS = ("float32", "float16")


class _HalfWeights(keras.mixed_precision.Policy):
    """Keras' mixed precision the other way round: variables in float16, computations in float32."""

    variable_dtype = "float16"
    compute_dtype = "float32"

    def __init__(self):
        super().__init__("float32")


def with_half_weights(policy: MemoryPolicy, *, min_agreement: float) -> tuple[MemoryPolicy, Agreement]:
    """A copy of a policy that holds its weights in float16 and computes with them in float32.

    Observations, memory and Q-values stay as they are, so its clients need not change.

    Args:
      policy: the original, which shares no weight with the copy.
      min_agreement: the least share of steps in which the copy must act as the original does.

    Returns:
      The copy, and how close it is.

    Raises:
      ExportMismatch: when they agree less often.
    """
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(_HalfWeights())
    try:
        network = policy.network.copy()
        network.create_variables()
    finally:
        keras.mixed_precision.set_global_policy(before)
    for half, weight in zip(network.variables, policy.network.variables, strict=True):
        half.assign(tf.cast(weight, half.dtype))
    copy = policy.over(network)
    observation_spec = network.input_tensor_spec
    original_step, step = (
        ExportedPolicy(each, observation_spec).signatures()["step"] for each in (policy, copy)
    )
    agreement = compare(
        original_step,
        step,
        observation=describe_specs(wire.flatten_observation(observation_spec)),
        state=describe_specs(network.state_spec or {}),
        what="the policy in float16",
        min_agreement=min_agreement,
    )
    return copy, agreement
