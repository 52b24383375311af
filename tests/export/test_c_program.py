"""An export in a C program, through the loader that TF Serving has; no Python in the process."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from tests.export.policies import SMALL, SUIT, policy_of
from tfmem.export import export_policy, read_manifest

STEPS = 100


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here: neither gcc nor cc")
    tensorflow = Path(tf.__file__).parent
    program = tmp_path_factory.mktemp("c") / "run_policy"
    subprocess.run(
        [
            *(compiler, "-O1", "-Wall", "-Werror", str(Path(__file__).with_name("run_policy.c"))),
            *("-o", str(program), f"-I{tf.sysconfig.get_include()}", f"-L{tensorflow}"),
            *("-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"),
            f"-Wl,-rpath,{tensorflow}",
        ],
        check=True,
    )
    return program


def describe(version: Path) -> str:
    """The tensors' names in the form that run_policy.c reads, from the signature."""
    proto = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    step = proto.meta_graphs[0].signature_def["step"]
    inputs = {key: info.name.split(":") for key, info in step.inputs.items()}
    outputs = {key: info.name.split(":") for key, info in step.outputs.items()}
    lines = [f"{key} {inputs[key][0]}" for key in ("observation", "is_first")]
    lines.append(f"action {' '.join(outputs['action'])}")
    for key in read_manifest(version)["state"]:
        dims = [dim.size for dim in step.inputs[key].tensor_shape.dim][1:]
        shape = " ".join(map(str, [len(dims), *dims]))
        lines.append(f"state {inputs[key][0]} {' '.join(outputs[key])} {shape}")
    return "\n".join(lines) + "\n"


def play(policy, observations, is_first):
    """Actions and Q-values of the policy in Python, its state carried from step to step."""
    state, actions, q_values = policy.initial_state(1), [], []
    for observation, first in zip(observations, is_first, strict=True):
        action, values, state = policy.step(np.array([observation]), [first], state)
        actions.append(int(action[0]))
        q_values.append(values[0])
    return actions, np.stack(q_values)


def test_a_c_program_acts_as_the_policy_does(program, tmp_path):
    rng = np.random.default_rng(0)
    observations = rng.integers(0, 4, STEPS)
    is_first = rng.random(STEPS) < 0.1
    is_first[0] = True
    policy = policy_of(SUIT, SMALL)
    (bias,) = (v for v in policy.network.variables if "advantage/bias" in v.name)
    # Each action is then the best one now and then.
    bias.assign_sub(play(policy, observations, is_first)[1].mean(axis=0))
    expected, _ = play(policy, observations, is_first)
    # The memory and its resets are to be seen in many of the actions.
    for other in (np.ones(STEPS, bool), np.arange(STEPS) == 0):
        assert np.not_equal(expected, play(policy, observations, other)[0]).mean() > 0.1

    path = export_policy(policy, tmp_path / "p", batch_sizes=(1,)).path
    (tmp_path / "description").write_text(describe(path))
    process = subprocess.run(
        [str(program), str(path), str(tmp_path / "description")],
        input="\n".join(f"{o} {int(f)}" for o, f in zip(observations, is_first, strict=True)),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert [int(line) for line in process.stdout.split()] == expected
