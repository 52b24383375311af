"""What a recipe is, and what it needs."""

import importlib.util
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfmem.errors import InvalidInput


@dataclass(frozen=True)
class Needs:
    """What has to be installed for an environment.

    Attributes:
      modules: what it imports.
      install: the command that installs them.
      programs: what it runs; how to install these is the system's matter.
    """

    modules: tuple[str, ...]
    install: str
    programs: tuple[str, ...] = ()

    def missing(self) -> tuple[str, ...]:
        """The modules and programs that are not there."""
        modules = (name for name in self.modules if importlib.util.find_spec(name) is None)
        programs = (name for name in self.programs if shutil.which(name) is None)
        return (*modules, *programs)

    def check(self) -> None:
        """Raises `InvalidInput` that names what is missing and how to install it."""
        if missing := self.missing():
            raise InvalidInput(f"needs {', '.join(missing)}: {self.install}")


@dataclass(frozen=True)
class Recipe:
    """An environment in which memory pays, and how it is trained.

    Attributes:
      name: the environment's id without `recipes/`.
      domain: the field that the task is from.
      remembers: what a policy has to remember.
      needs: what has to be installed.
      entry_point: `module:function` that makes the environment; None where many are made at once only.
      kwargs: its arguments.
      vector_entry_point: `module:function` that makes many at once, for `vectorization=vector_entry_point`.
      max_episode_steps: where episodes are cut; None where the environment does that itself.
      preset: of `tfmem train`.
      settings: fields of `tfmem.training.TrainConfig` beside the preset: the budget, and what the task's
        interface asks for.
    """

    name: str
    domain: str
    remembers: str
    needs: Needs
    preset: str
    entry_point: str | None = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    vector_entry_point: str | None = None
    max_episode_steps: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def env_id(self) -> str:
        return f"recipes/{self.name}"
