"""Which models and versions to serve: TF Serving's `models.config`, or a folder of models."""

from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelServerConfig

from tfmem.errors import InvalidInput


def discover(base: Path, *, keep: int) -> ModelServerConfig:
    """The newest `keep` versions of every model in `base`, a folder of `NAME/VERSION/saved_model.pb`.

    Raises:
      InvalidInput: when there is none.
    """
    versions = (path.parent for path in base.glob("*/*/saved_model.pb"))
    names = {version.parent.name for version in versions if version.name.isdecimal()}
    if not names:
        raise InvalidInput(
            f"{base} holds no models: it must have folders NAME/VERSION/ with a saved_model.pb"
        )
    config = ModelServerConfig()
    for name in sorted(names):
        model = config.model_config_list.config.add(
            name=name, base_path=str((base / name).resolve()), model_platform="tensorflow"
        )
        model.model_version_policy.latest.num_versions = keep
    return config


def read_config(path: Path) -> ModelServerConfig:
    """Reads `models.config`, a text proto.

    Raises:
      InvalidInput: when it cannot be read or does not make sense; names what is wrong.
    """
    try:
        config = text_format.Parse(path.read_text(), ModelServerConfig())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not a model_config_list in text form: {error}") from error
    check_config(config)
    return config


def check_config(config: ModelServerConfig) -> None:
    """Raises `InvalidInput` where a configuration cannot be meant."""
    if config.WhichOneof("config") != "model_config_list":
        raise InvalidInput("the configuration of models must have a model_config_list")
    names: set[str] = set()
    for model in config.model_config_list.config:
        if not model.name or model.name in names:
            raise InvalidInput(f"each model needs a name of its own, which {model.name!r} is not")
        names.add(model.name)
        if not Path(model.base_path).is_absolute():
            raise InvalidInput(f"model {model.name!r}: base_path must be absolute, not {model.base_path!r}")
        if model.model_platform not in ("", "tensorflow"):
            raise InvalidInput(
                f"model {model.name!r}: model_platform must be 'tensorflow', not {model.model_platform!r}"
            )


def wanted_versions(model: ModelConfig, available: set[int]) -> set[int]:
    """The versions that a model's policy asks for among those that there are; by default the newest one."""
    policy = model.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return available
    if kind == "specific":
        return available & set(policy.specific.versions)
    count = policy.latest.num_versions or 1
    return set(sorted(available)[-count:])


def versions_in(base: Path) -> dict[int, Path]:
    """The version folders of a model that hold a SavedModel, by number.

    Raises:
      InvalidInput: when `base` is no path that can be read.
    """
    try:
        found = [path.parent for path in base.glob("*/saved_model.pb")]
    except (OSError, ValueError) as error:
        raise InvalidInput(f"base_path {str(base)!r} cannot be read: {error}") from error
    return {int(path.name): path for path in found if path.name.isdecimal()}
