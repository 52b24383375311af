"""Policies as SavedModels for TF Serving: named signatures, a manifest, and a check of every export."""

from tfmem import _keras  # noqa: F401  before TF-Agents and TensorFlow Probability
from tfmem.export.export import Export, ExportMismatch, export_policy
from tfmem.export.loaded_policy import LoadedPolicy, load_policy
from tfmem.export.manifest import MANIFEST_PATH, read_manifest

__all__ = [
    "MANIFEST_PATH",
    "Export",
    "ExportMismatch",
    "LoadedPolicy",
    "export_policy",
    "load_policy",
    "read_manifest",
]
