"""Policies as SavedModels for TF Serving: signatures, warm-up, a manifest, and checks of every export."""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.export.agreement import Agreement, ExportMismatch
from tfmem.export.export import Export, ExportRefused, export_policy
from tfmem.export.lint import Finding, lint
from tfmem.export.litert import LiteRTExport, export_litert
from tfmem.export.loaded_policy import LoadedPolicy, load_policy
from tfmem.export.manifest import MANIFEST_PATH, read_manifest
from tfmem.export.serving_files import write_serving_files
from tfmem.export.warmup import BATCH_SIZES, WARMUP_PATH

__all__ = [
    "BATCH_SIZES",
    "MANIFEST_PATH",
    "WARMUP_PATH",
    "Agreement",
    "Export",
    "ExportMismatch",
    "ExportRefused",
    "Finding",
    "LiteRTExport",
    "LoadedPolicy",
    "export_litert",
    "export_policy",
    "lint",
    "load_policy",
    "read_manifest",
    "write_serving_files",
]
