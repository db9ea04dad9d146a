"""Helpers that users import from `kgraph.utils`.

The light ones are imported here; the others are looked up on first use, so that `import kgraph` reads no file formats.
"""

from __future__ import annotations

import importlib
from typing import Any

from kgraph.utils.generic_utils import (
    CustomObjectScope,
    Progbar,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    serialize_keras_object,
)
from kgraph.utils.np_utils import normalize, to_categorical

__all__ = [
    "CustomObjectScope",
    "Progbar",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "normalize",
    "serialize_keras_object",
    "to_categorical",
]

# Public name -> (module that defines it, its name there).
_LAZY = {
    "GeneratorEnqueuer": ("kgraph.utils.data_utils", "GeneratorEnqueuer"),
    "HDF5Matrix": ("kgraph.utils.io_utils", "HDF5Matrix"),
    "OrderedEnqueuer": ("kgraph.utils.data_utils", "OrderedEnqueuer"),
    "Sequence": ("kgraph.utils.data_utils", "Sequence"),
    "get_file": ("kgraph.utils.data_utils", "get_file"),
    "convert_all_kernels_in_model": ("kgraph.utils.layer_utils", "convert_all_kernels_in_model"),
    "h5dict": ("kgraph.utils.io_utils", "H5Dict"),
    "get_source_inputs": ("kgraph.utils.layer_utils", "get_source_inputs"),
    "multi_gpu_model": ("kgraph.utils.multi_gpu_utils", "multi_gpu_model"),
    "plot_model": ("kgraph.utils.vis_utils", "plot_model"),
    "print_summary": ("kgraph.utils.layer_utils", "print_summary"),
}
__all__ += sorted(_LAZY)
# Modules that scripts reach as attributes, without importing them.
_LAZY_MODULES = ("conv_utils", "data_utils", "io_utils", "layer_utils", "multi_gpu_utils", "test_utils", "vis_utils")


def __getattr__(name: str) -> Any:
    if name in _LAZY_MODULES:
        return importlib.import_module(f"kgraph.utils.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _LAZY[name]
    return getattr(importlib.import_module(module), attribute)
