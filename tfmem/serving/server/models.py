"""The models that a server answers for, kept as their configuration and their folders say."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import grpc
import tensorflow as tf
from google.protobuf import message

from tfmem.errors import InvalidInput
from tfmem.serving.server.model_config import ModelConfig, ModelServerConfig, versions_in, wanted_versions
from tfmem.serving.server.request_error import RequestError
from tfmem.serving.server.servable import Batching, Servable

_log = logging.getLogger(__name__)

_Loaded = dict[str, dict[int, Servable]]
_Labels = dict[str, dict[str, int]]


@dataclass(frozen=True)
class VersionStatus:
    """Where a version is in its life, in TF Serving's words.

    Attributes:
      state: LOADING, AVAILABLE, or END once it has been unloaded or could not be loaded.
      error: why it could not be loaded; empty otherwise.
    """

    state: Literal["LOADING", "AVAILABLE", "END"]
    error: str = ""


class Models:
    """Loads and unloads versions.

    A new version is loaded and warmed up before an old one goes, so there is always one that answers; a
    request that has found its version is answered by it, though it be unloaded meanwhile.

    Args:
      source: what is to be served, asked at each `refresh`; raises `InvalidInput` where it makes no sense.
      batching: for all models.
    """

    def __init__(self, source: Callable[[], ModelServerConfig], *, batching: Batching):
        self._source = source
        self._batching = batching
        self._loaded: _Loaded = {}
        self._labels: _Labels = {}
        self._statuses: dict[str, dict[int, VersionStatus]] = {}
        self._failed: dict[Path, float] = {}  # newest file at the time
        self._changing = asyncio.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")

    async def refresh(self) -> None:
        """Brings the models in line with the source.

        Raises:
          InvalidInput: when the source makes no sense; nothing changes then.
        """
        async with self._changing:
            loaded, labels = await self._load_wanted(self._source())
            # Better an old version than none.
            self._serve({name: new or self._loaded.get(name, {}) for name, new in loaded.items()}, labels)

    async def replace(self, config: ModelServerConfig) -> None:
        """Serves `config` and nothing else from now on.

        Raises:
          InvalidInput: when a model has no version that can be loaded, or a label is for a version that is
            not; what was served before goes on then.
        """
        async with self._changing:
            try:
                loaded, labels = await self._load_wanted(config)
                for name, versions in loaded.items():
                    if not versions:
                        raise InvalidInput(f"model {name!r} has no version that can be loaded")
            except InvalidInput:
                self._statuses = {name: self._statuses[name] for name in self._loaded}
                raise
            self._serve(loaded, labels)
            self._source = lambda: config

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """A loaded version: by number, by label, or the newest.

        Raises:
          RequestError: when there is none.
        """
        versions = self._loaded.get(name, {})
        if label is not None and versions:
            if label not in self._labels[name]:
                raise _not_found(f"Unrecognized servable version label: {label}")
            version = self._labels[name][label]
        if version is None and versions:
            version = max(versions)
        if version not in versions:
            raise _servable_not_found(name, version)
        return versions[version]

    def statuses(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> dict[int, VersionStatus]:
        """The states of a model's versions, or of one of them, newest first.

        Raises:
          RequestError: when there is no such model or version.
        """
        known = self._statuses.get(name, {})
        if label is not None:
            version = self.find(name, label=label).version
        if version is not None:
            known = {number: status for number, status in known.items() if number == version}
        if not known:
            raise _servable_not_found(name, version)
        return dict(sorted(known.items(), reverse=True))

    def available(self) -> dict[str, list[int]]:
        """The loaded versions of every model."""
        return {name: sorted(versions) for name, versions in self._loaded.items()}

    async def _load_wanted(self, config: ModelServerConfig) -> tuple[_Loaded, _Labels]:
        models = list(config.model_config_list.config)
        loaded = {model.name: await self._versions(model) for model in models}
        labels = {model.name: dict(model.version_labels) for model in models}
        for name, of_model in labels.items():
            for label, version in of_model.items():
                if version not in loaded[name]:
                    raise InvalidInput(
                        f"model {name!r}: label {label!r} is for version {version}, which is not loaded"
                    )
        return loaded, labels

    def _serve(self, loaded: _Loaded, labels: _Labels) -> None:
        for name, versions in self._loaded.items():
            for gone in versions.keys() - loaded.get(name, {}).keys():
                self._statuses[name][gone] = VersionStatus("END")
                _log.info("unloaded", extra={"model": name, "version": gone})
        self._loaded, self._labels = loaded, labels

    async def _versions(self, model: ModelConfig) -> dict[int, Servable]:
        """The wanted versions of a model, those loaded that are not loaded yet."""
        folders = versions_in(Path(model.base_path))
        statuses = self._statuses.setdefault(model.name, {})
        before = self._loaded.get(model.name, {})
        loaded = {}
        for version in sorted(wanted_versions(model, set(folders))):
            servable = before.get(version)
            if servable is None or servable.path != folders[version]:
                servable = await self._load(model.name, folders[version], statuses)
            if servable:
                loaded[version] = servable
        return loaded

    async def _load(self, name: str, path: Path, statuses: dict[int, VersionStatus]) -> Servable | None:
        try:
            newest = max(file.stat().st_mtime for file in path.rglob("*"))
        except (OSError, ValueError):  # removed meanwhile
            return None
        if self._failed.get(path) == newest:
            return None
        version = int(path.name)
        statuses[version] = VersionStatus("LOADING")
        try:
            loop = asyncio.get_running_loop()
            servable = await loop.run_in_executor(
                self._loader, lambda: Servable(path, batching=self._batching)
            )
        except (OSError, ValueError, RequestError, tf.errors.OpError, message.DecodeError) as error:
            reason = str(error).splitlines()[0]
            statuses[version] = VersionStatus("END", reason)
            self._failed[path] = newest
            _log.error("cannot be loaded", extra={"model": name, "version": version, "reason": reason})
            return None
        statuses[version] = VersionStatus("AVAILABLE")
        _log.info("loaded", extra={"model": name, "version": version})
        return servable


def _not_found(text: str) -> RequestError:
    return RequestError(grpc.StatusCode.NOT_FOUND, text)


def _servable_not_found(name: str, version: int | None) -> RequestError:
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return _not_found(f"Servable not found for request: {wanted}")
