"""Keras 2, whichever of TensorFlow and tfmem a program imports first. Each case is a process of its own."""

import os
import subprocess
import sys

import pytest


def run(code, **environment):
    inherited = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**inherited, **environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


@pytest.mark.parametrize(
    "code", ["import tfmem.layers", "import tensorflow; import tfmem.layers"], ids=["first", "second"]
)
def test_works_before_and_after_tensorflow(code):
    assert run(code).returncode == 0


def test_says_what_to_do_when_keras_3_is_already_in_use():
    process = run("import tensorflow as tf; tf.keras.layers.Dense; import tfmem.layers")
    assert process.returncode != 0
    message = process.stderr.strip().splitlines()[-1]
    assert "import tfmem first, or set TF_USE_LEGACY_KERAS=1" in message


def test_says_what_to_do_when_the_environment_asks_for_keras_3():
    process = run("import tfmem.layers", TF_USE_LEGACY_KERAS="0")
    assert process.returncode != 0
    assert "TF_USE_LEGACY_KERAS is '0'; unset it" in process.stderr.strip().splitlines()[-1]


def test_the_package_and_the_client_import_no_tensorflow():
    code = "import sys, tfmem, tfmem.serving; print('tensorflow' in sys.modules)"
    assert run(code).stdout.strip() == "False"
