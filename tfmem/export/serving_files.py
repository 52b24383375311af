"""TF Serving's configuration for an exported policy, as files."""

import os
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from tfmem.export.manifest import read_manifest
from tfmem.export.warmup import BATCH_SIZES

# A version and the one before it, so that an episode begun on the old one can end on it.
VERSIONS_KEPT = 2

BATCHING = """\
# For --enable_batching --batching_parameters_file, and shared by every model of the server.
# Longest wait for others to fill a batch; a lone client pays it at every step.
batch_timeout_micros {{ value: 500 }}
# As many as the server has cores for the model.
num_batch_threads {{ value: 4 }}
# Full batches that wait; beyond them a request is refused, which keeps the wait short.
max_enqueued_batches {{ value: 64 }}
max_batch_size {{ value: {largest} }}
# The sizes that the export is warmed up for.
{sizes}
"""

MONITORING = """\
# For --monitoring_config_file.
prometheus_config { enable: true path: "/monitoring/prometheus/metrics" }
"""


def write_serving_files(
    version_folder: str | os.PathLike[str],
    out_dir: str | os.PathLike[str],
    *,
    base_path: str | None = None,
) -> None:
    """Writes `models.config`, `batching.config` and `monitoring.config` for TF Serving.

    The label `stable` is put on the exported version; move it by writing the files again from another and
    letting the server reload them. Files of these names in `out_dir` are replaced.

    Args:
      version_folder: an export, `BASE/NAME/VERSION`.
      out_dir: the folder to write to; made if there is none.
      base_path: the model's folder as the server sees it, `/models/NAME` by default.

    Raises:
      InvalidInput: when `version_folder` holds no export.

    Example:
      >>> write_serving_files("saved_models/repeat_previous/1", "serving/config")
    """
    manifest = read_manifest(Path(version_folder))
    # An export from before batch sizes were noted takes any.
    batch_sizes = manifest.get("batch_sizes", BATCH_SIZES)
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add(
        name=manifest["name"],
        base_path=base_path or f"/models/{manifest['name']}",
        model_platform="tensorflow",
        version_labels={"stable": manifest["version"]},
    )
    model.model_version_policy.latest.num_versions = VERSIONS_KEPT
    sizes = "\n".join(f"allowed_batch_sizes: {size}" for size in batch_sizes)
    files = {
        "models.config": "# For --model_config_file.\n" + text_format.MessageToString(config),
        "batching.config": BATCHING.format(largest=batch_sizes[-1], sizes=sizes),
        "monitoring.config": MONITORING,
    }
    out = Path(out_dir)
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (out / name).write_text(text)
