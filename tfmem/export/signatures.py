"""The signatures of an exported policy, as concrete functions over its variables."""

from typing import Any

import tensorflow as tf

from tfmem.agents import MemoryPolicy
from tfmem.errors import require
from tfmem.serving import wire


class ExportedPolicy(tf.Module):
    """What is saved: a policy's variables and the functions over them, and nothing of Keras or TF-Agents.

    | signature | in | out |
    | --- | --- | --- |
    | `serving_default` | observation | action (with fresh memory) |
    | `step` | observation, is_first, state by name | action, q_values, next state by the same names |
    | `explain` | as `step` | as `step`, and what `MemoryPolicy.explain` shows beside the state |
    | `initial_state` | batch `[B]`, only its size counts | state |

    All inputs and outputs are batch-leading with any batch size. A policy without memory has no state, and
    no `initial_state`.

    Args:
      policy: the policy to export.
      observation_spec: nest of specs of its observation.
    """

    def __init__(self, policy: MemoryPolicy, observation_spec: Any):
        super().__init__(name="exported_policy")
        self._variables = [*policy.network.variables, policy.reward_scale]
        self._policy = policy.step
        self._explained = policy.explain
        self._fresh = policy.initial_state
        self._observation_spec = observation_spec
        self._observation = wire.flatten_observation(observation_spec)
        self._state = dict(policy.network.state_spec or {})
        for name in self._state:
            require(wire.is_state(name), "a state's name", name, "none of the wire's own names")

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """The signatures by name."""
        observation = {name: _batched(spec, name) for name, spec in self._observation.items()}
        state = {name: _batched(spec, name) for name, spec in self._state.items()}
        is_first = {wire.IS_FIRST: tf.TensorSpec([None], tf.bool, wire.IS_FIRST)}
        step = {**observation, **is_first, **state}
        signatures = {
            "serving_default": tf.function(self._act).get_concrete_function(**observation),
            "step": tf.function(self._step).get_concrete_function(**step),
            "explain": tf.function(self._explain).get_concrete_function(**step),
        }
        if state:
            batch = tf.TensorSpec([None], tf.int32, wire.BATCH)
            signatures["initial_state"] = tf.function(self._initial_state).get_concrete_function(
                **{wire.BATCH: batch}
            )
        return signatures

    def _step(self, **inputs):
        action, q_values, state = self._policy(*self._arguments(inputs))
        return {wire.ACTION: action, wire.Q_VALUES: q_values, **state}

    def _explain(self, **inputs):
        action, q_values, state, explained = self._explained(*self._arguments(inputs))
        return {wire.ACTION: action, wire.Q_VALUES: q_values, **state, **explained}

    def _arguments(self, inputs: dict[str, tf.Tensor]):
        state = {name: inputs[name] for name in self._state}
        return self._nest(inputs), inputs[wire.IS_FIRST], state

    def _act(self, **inputs):
        observation = self._nest(inputs)
        size = tf.shape(tf.nest.flatten(observation)[0])[0]
        action, _, _ = self._policy(observation, tf.ones([size], tf.bool), self._fresh(size))
        return {wire.ACTION: action}

    def _initial_state(self, **inputs):
        return self._fresh(tf.shape(inputs[wire.BATCH])[0])

    def _nest(self, inputs: dict[str, tf.Tensor]):
        parts = [inputs[name] for name in self._observation]
        return tf.nest.pack_sequence_as(self._observation_spec, parts)


def _batched(spec: tf.TensorSpec, name: str) -> tf.TensorSpec:
    return tf.TensorSpec([None, *spec.shape], spec.dtype, name)
