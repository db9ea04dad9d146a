"""Weights of layers in HDF5 groups, laid out as Keras 2 does.

A group lists its layers in the attribute `layer_names`; below it, each layer has a group that lists its weights in
`weight_names`, and one dataset per weight. `saving.py` puts whole models around this.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from kgraph import backend as K
from kgraph.engine.hdf5_guard import Reader
from kgraph.engine.preprocess_weights import preprocess_weights_for_loading

KERAS_VERSION = "2.2.4"  # the version whose layout is written
HDF5_OBJECT_HEADER_LIMIT = 64512  # bytes of one attribute


# Attributes


def save_attributes_to_hdf5_group(group: Any, name: str, data: Sequence[Any]) -> None:
    """Write a list of texts (bytes) as attribute `name` of an HDF5 group; a long list as `name0`, `name1`, ...

    Raises RuntimeError where a single text is longer than an attribute may be.
    """
    items = [x.encode("utf-8") if isinstance(x, str) else x for x in data]
    too_long = [x for x in items if len(x) > HDF5_OBJECT_HEADER_LIMIT]
    if too_long:
        raise RuntimeError(
            "The following attributes cannot be saved to HDF5 file because they are larger than "
            f"{HDF5_OBJECT_HEADER_LIMIT} bytes: {', '.join(map(str, too_long))}"
        )
    array = np.asarray(items)
    per_chunk = HDF5_OBJECT_HEADER_LIMIT // max(array.itemsize, 1)
    if len(items) <= per_chunk:
        group.attrs[name] = array
        return
    for i, chunk in enumerate(np.array_split(array, -(-len(items) // per_chunk))):
        group.attrs[f"{name}{i}"] = chunk


def load_attributes_from_hdf5_group(group: Any, name: str) -> list[str]:
    """The list of texts that `save_attributes_to_hdf5_group` wrote."""
    return Reader(group).texts(group, name)


# Saving


def weight_names(variables: Sequence[Any]) -> list[str]:
    """A name for each variable, unique among them."""
    names: list[str] = []
    for i, variable in enumerate(variables):
        base = str(getattr(variable, "name", "") or f"param_{i}")
        name, number = base, 1
        while name in names:
            name = f"{base}_{number}"
            number += 1
        names.append(name)
    return names


def save_variables(group: Any, variables: Sequence[Any]) -> None:
    """Write the values of variables into a group that lists them."""
    names = weight_names(variables)
    save_attributes_to_hdf5_group(group, "weight_names", names)
    for name, value in zip(names, K.batch_get_value(variables), strict=True):
        group.create_dataset(name, data=np.asarray(value))


def save_weights_to_hdf5_group(f: Any, layers: Sequence[Any]) -> None:
    """Write the weights of `layers` into the HDF5 group `f`."""
    save_attributes_to_hdf5_group(f, "layer_names", [layer.name for layer in layers])
    f.attrs["backend"] = K.backend().encode("utf-8")
    f.attrs["keras_version"] = KERAS_VERSION.encode("utf-8")
    for layer in layers:
        save_variables(f.create_group(layer.name), layer.weights)


# Loading


def load_weights_from_hdf5_group(f: Any, layers: Sequence[Any], reshape: bool = False) -> None:
    """Load weights layer by layer, in order; layers without weights are passed over.

    Raises ValueError for another number of layers or weights, or another shape, and changes nothing then.
    """
    stored = StoredWeights(Reader(f), f)
    layers = [layer for layer in layers if layer.weights]
    names = [name for name in stored.layer_names if stored.names(name)]
    if len(names) != len(layers):
        raise ValueError(
            f"You are trying to load a weight file containing {len(names)} layers into a model with {len(layers)} "
            "layers."
        )
    pairs: list[tuple[Any, Any]] = []
    for k, (name, layer) in enumerate(zip(names, layers, strict=True)):
        variables, values = layer.weights, stored.values(name, layer, reshape)
        if len(values) != len(variables):
            raise ValueError(
                f'Layer #{k} (named "{layer.name}" in the current model) was found to correspond to layer {name} in '
                f"the save file. However the new layer {layer.name} expects {len(variables)} weights, but the saved "
                f"weights have {len(values)} elements."
            )
        for variable, value in zip(variables, values, strict=True):
            _check_shape(k, layer, variable, value)
            pairs.append((variable, value))
    K.batch_set_value(pairs)


def load_weights_from_hdf5_group_by_name(
    f: Any, layers: Sequence[Any], skip_mismatch: bool = False, reshape: bool = False
) -> None:
    """Load weights into the layers of the same name; others stay as they are.

    Where a layer's weights differ in number or shape, it raises ValueError and changes nothing, or with `skip_mismatch`
    warns and passes them over.
    """
    stored = StoredWeights(Reader(f), f)
    by_name: dict[str, list[Any]] = {}
    for layer in layers:
        by_name.setdefault(layer.name, []).append(layer)
    pairs: list[tuple[Any, Any]] = []
    for k, name in enumerate(stored.layer_names):
        for layer in by_name.get(name, []):
            variables, values = layer.weights, stored.values(name, layer, reshape)
            if len(values) != len(variables):
                if not skip_mismatch:
                    raise ValueError(
                        f'Layer #{k} (named "{layer.name}") expects {len(variables)} weight(s), but the saved weights '
                        f"have {len(values)} element(s)."
                    )
                _warn_skipped(layer, "number of weights", len(variables), len(values))
                continue
            for variable, value in zip(variables, values, strict=True):
                if skip_mismatch and K.int_shape(variable) != value.shape:
                    _warn_skipped(layer, "shape", K.int_shape(variable), value.shape)
                    continue
                _check_shape(k, layer, variable, value)
                pairs.append((variable, value))
    K.batch_set_value(pairs)


class StoredWeights:
    """The weights in an HDF5 group, by layer."""

    def __init__(self, reader: Reader, group: Any) -> None:
        self._reader = reader
        self._group = group
        self._version = reader.text(group, "keras_version") or "1"
        self._backend = reader.text(group, "backend")
        self.layer_names = reader.texts(group, "layer_names")

    def _layer(self, name: str) -> Any:
        found = self._reader.group(self._group, name)
        if found is None:
            raise ValueError(f"The weight file lists a layer '{name}' that it does not hold.")
        return found

    def names(self, layer_name: str) -> list[str]:
        """The names of the weights that the file holds for a layer."""
        return self._reader.texts(self._layer(layer_name), "weight_names")

    def values(self, layer_name: str, layer: Any, reshape: bool = False) -> list[np.ndarray]:
        """The file's weights of `layer_name`, in the form that `layer` takes."""
        group = self._layer(layer_name)
        values = [self._reader.array(group, name) for name in self.names(layer_name)]
        return preprocess_weights_for_loading(layer, values, self._version, self._backend, reshape)

    def elements(self) -> int:
        """How many numbers the file holds, as declared; nothing is read."""
        count = 0
        for layer_name in self.layer_names:
            group = self._layer(layer_name)
            count += sum(int(self._reader.dataset(group, name).size) for name in self.names(layer_name))
        return count


def _check_shape(k: int, layer: Any, variable: Any, value: np.ndarray) -> None:
    if K.int_shape(variable) != value.shape:
        raise ValueError(
            f'Layer #{k} (named "{layer.name}"), weight {variable.name} has shape {K.int_shape(variable)}, but the '
            f"saved weight has shape {value.shape}."
        )


def _warn_skipped(layer: Any, what: str, expected: Any, found: Any) -> None:
    warnings.warn(
        f"Skipping loading of weights for layer {layer.name} due to mismatch in {what} ({expected} vs {found}).",
        stacklevel=5,
    )
