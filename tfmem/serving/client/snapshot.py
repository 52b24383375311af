"""A session's memory, to be kept and resumed elsewhere."""

import io
import json
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfmem.errors import InvalidInput
from tfmem.serving.client.errors import NOT_FOUND, VersionGone

_ABOUT = "about"
_STATE = "state/"
# What NumPy, zipfile and json say of bytes that are not theirs.
_FOREIGN = (AttributeError, EOFError, KeyError, OSError, TypeError, ValueError, zipfile.BadZipFile)


@dataclass(frozen=True)
class Snapshot:
    """A memory and where it belongs. As bytes it is an .npz of plain arrays and one line of JSON.

    Attributes:
      model: the model's name.
      version: the version that the memory is of.
      fingerprint: of the state's specs.
      is_first: whether the next observation is an episode's first.
      state: the parts of the memory, without a batch axis.
    """

    model: str
    version: int
    fingerprint: str
    is_first: bool
    state: dict[str, np.ndarray]

    def to_bytes(self) -> bytes:
        """The snapshot as the bytes of an .npz."""
        about = {key: value for key, value in vars(self).items() if key != "state"}
        arrays: dict[str, Any] = {f"{_STATE}{name}": array for name, array in self.state.items()}
        arrays[_ABOUT] = np.asarray(json.dumps(about).encode())
        file = io.BytesIO()
        np.savez(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Snapshot":
        """Reads what `to_bytes` wrote.

        Raises:
          InvalidInput: when `data` is something else, or damaged.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                names = [name.removeprefix(_STATE) for name in file.files if name.startswith(_STATE)]
                state = {name: file[f"{_STATE}{name}"] for name in names}
                return cls(**json.loads(file[_ABOUT].item()), state=state)
        # Whatever NumPy, zipfile and json say of bytes that are not theirs.
        except _FOREIGN as error:
            raise InvalidInput(
                "this is no snapshot, or a damaged one: give what a session's save() returned"
            ) from error

    def gone(self) -> VersionGone:
        """The error of a server that no longer has the version."""
        return VersionGone(
            f"the snapshot is of version {self.version} of {self.model!r}, which is no longer served:"
            " start a new session",
            NOT_FOUND,
        )
