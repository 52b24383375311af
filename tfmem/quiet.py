"""Import this before TensorFlow to keep its start-up messages off the terminal.

TensorFlow's libraries write some of them to file descriptor 2 before any log level is read, so during its
import that descriptor points elsewhere. Python's own errors are not affected.
"""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def _silenced_descriptor(descriptor: int) -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(descriptor)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Whoever needs what cannot be imported here says so when importing it.
with _silenced_descriptor(2), contextlib.suppress(Exception):
    import tf_agents.environments
    import tf_agents.networks  # noqa: F401
