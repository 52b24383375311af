"""The models that a server answers for, kept as their configuration and their folders say."""

import asyncio
import logging
from collections.abc import Callable, Collection
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


@dataclass(frozen=True)
class _Failure:
    """A version that could not be loaded, until something in its folder changes."""

    path: Path
    newest: float
    reason: str


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
        self._loading: tuple[str, int] | None = None
        self._failed: dict[tuple[str, int], _Failure] = {}
        self._unloaded: set[tuple[str, int]] = set()
        self._changing = asyncio.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")

    async def start(self) -> None:
        """Loads what the source asks for.

        Raises:
          InvalidInput: when the source makes no sense, or a model has no version that can be loaded.
        """
        await self.refresh()
        self._require_versions(self._loaded)

    async def refresh(self) -> None:
        """Brings the models in line with the source.

        Raises:
          InvalidInput: when the source makes no sense; nothing changes then.
        """
        async with self._changing:
            config = self._source()
            loaded = await self._load_wanted(config)
            # Better an old version than none.
            self._serve({name: new or self._loaded.get(name, {}) for name, new in loaded.items()}, config)

    async def replace(self, config: ModelServerConfig) -> None:
        """Serves `config` and nothing else from now on.

        Raises:
          InvalidInput: when a model has no version that can be loaded, or a label is for a version that is
            not; what was served before goes on then.
        """
        async with self._changing:
            loaded = await self._load_wanted(config)
            self._require_versions(loaded)
            self._serve(loaded, config)
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
        if name not in self._loaded:
            raise _servable_not_found(name, version)
        if label is not None:
            version = self.find(name, label=label).version
        known = self._statuses(name)
        if version is not None:
            known = {number: status for number, status in known.items() if number == version}
        if not known:
            raise _servable_not_found(name, version)
        return dict(sorted(known.items(), reverse=True))

    def available(self) -> dict[str, list[int]]:
        """The loaded versions of every model."""
        return {name: sorted(versions) for name, versions in self._loaded.items()}

    def _require_versions(self, loaded: _Loaded) -> None:
        for name, versions in loaded.items():
            if not versions:
                reasons = [failure.reason for (of, _), failure in self._failed.items() if of == name]
                reason = reasons[-1] if reasons else "there is none of those that are asked for"
                raise InvalidInput(f"model {name!r} has no version that can be loaded: {reason}")

    def _statuses(self, name: str) -> dict[int, VersionStatus]:
        ended = {number: VersionStatus("END") for of, number in self._unloaded if of == name}
        failed = {
            number: VersionStatus("END", failure.reason)
            for (of, number), failure in self._failed.items()
            if of == name
        }
        loading = {}
        if self._loading and self._loading[0] == name:
            loading[self._loading[1]] = VersionStatus("LOADING")
        available = {number: VersionStatus("AVAILABLE") for number in self._loaded[name]}
        return {**ended, **failed, **loading, **available}

    async def _load_wanted(self, config: ModelServerConfig) -> _Loaded:
        """All wanted versions, loaded; nothing is loaded where a label could not be for a loaded one."""
        models = list(config.model_config_list.config)
        wanted = {model.name: self._loadable(model) for model in models}
        for model in models:
            _check_labels(model, wanted[model.name])
        loaded = {
            name: {version: await self._load(name, path) for version, path in paths.items()}
            for name, paths in wanted.items()
        }
        found = {
            name: {version: servable for version, servable in versions.items() if servable}
            for name, versions in loaded.items()
        }
        for model in models:
            _check_labels(model, found[model.name])
        return found

    def _serve(self, loaded: _Loaded, config: ModelServerConfig) -> None:
        models = config.model_config_list.config
        for name, versions in self._loaded.items():
            for gone in versions.keys() - loaded.get(name, {}).keys():
                self._unloaded.add((name, gone))
                _log.info("unloaded", extra={"model": name, "version": gone})
        self._loaded = loaded
        self._labels = {model.name: dict(model.version_labels) for model in models}
        # What is told of versions is told of served models alone.
        self._unloaded = {key for key in self._unloaded if key[0] in loaded}
        self._failed = {key: failure for key, failure in self._failed.items() if key[0] in loaded}

    def _loadable(self, model: ModelConfig) -> dict[int, Path]:
        """The folders of the wanted versions, but for those that could not be loaded as they are now."""
        folders = versions_in(Path(model.base_path))
        wanted = {version: folders[version] for version in sorted(wanted_versions(model, set(folders)))}
        return {
            version: path
            for version, path in wanted.items()
            if not self._has_failed(self._failed.get((model.name, version)), path)
        }

    @staticmethod
    def _has_failed(failure: _Failure | None, path: Path) -> bool:
        return failure is not None and failure.path == path and failure.newest == _newest(path)

    async def _load(self, name: str, path: Path) -> Servable | None:
        """The version in a folder, as it is served already or newly loaded; None where it cannot be."""
        version = int(path.name)
        served = self._loaded.get(name, {}).get(version)
        if served is not None and served.path == path:
            return served
        newest = _newest(path)
        self._loading = (name, version)
        try:
            loop = asyncio.get_running_loop()
            servable = await loop.run_in_executor(
                self._loader, lambda: Servable(path, batching=self._batching)
            )
        except (OSError, ValueError, RequestError, tf.errors.OpError, message.DecodeError) as error:
            reason = str(error).splitlines()[0]
            self._failed[name, version] = _Failure(path, newest, reason)
            _log.error("cannot be loaded", extra={"model": name, "version": version, "reason": reason})
            return None
        finally:
            self._loading = None
        self._failed.pop((name, version), None)
        _log.info("loaded", extra={"model": name, "version": version})
        return servable


def _check_labels(model: ModelConfig, versions: Collection[int]) -> None:
    for label, version in model.version_labels.items():
        if version not in versions:
            raise InvalidInput(
                f"model {model.name!r}: label {label!r} is for version {version}, which is not loaded"
            )


def _newest(path: Path) -> float:
    """When a version's files last changed; 0 where they are being removed."""
    try:
        return max(file.stat().st_mtime for file in path.rglob("*"))
    except (OSError, ValueError):
        return 0.0


def _not_found(text: str) -> RequestError:
    return RequestError(grpc.StatusCode.NOT_FOUND, text)


def _servable_not_found(name: str, version: int | None) -> RequestError:
    wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
    return _not_found(f"Servable not found for request: {wanted}")
