"""Helpers without a subject of their own: custom objects, serialisation by name, lists, stored functions.

Everything else in `kgraph` may import this module; it imports nothing of `kgraph` but the progress bar.
"""

from __future__ import annotations

import binascii
import codecs
import inspect
import marshal
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kgraph.utils.progbar import Progbar

__all__ = [
    "CustomObjectScope",
    "Progbar",
    "check_for_unexpected_keys",
    "custom_object_scope",
    "deserialize_keras_object",
    "func_dump",
    "func_load",
    "get_custom_objects",
    "has_arg",
    "is_all_none",
    "object_list_uid",
    "serialize_keras_object",
    "slice_arrays",
    "to_list",
    "transpose_shape",
    "unique_by_identity",
    "unpack_singleton",
]

# Users change this dictionary through `get_custom_objects()`; that is its published interface.
_CUSTOM_OBJECTS: dict[str, Any] = {}


# Custom objects


class CustomObjectScope:
    """Make custom classes and functions known by name inside a `with` block.

    Each positional argument is a dictionary from names to objects. Leaving the block restores what was known before.
    """

    def __init__(self, *args: Mapping[str, Any]) -> None:
        self.custom_objects = args
        self.backup: dict[str, Any] = {}

    def __enter__(self) -> CustomObjectScope:
        self.backup = dict(_CUSTOM_OBJECTS)
        for objects in self.custom_objects:
            _CUSTOM_OBJECTS.update(objects)
        return self

    def __exit__(self, *args: Any, **kwargs: Any) -> None:
        _CUSTOM_OBJECTS.clear()
        _CUSTOM_OBJECTS.update(self.backup)


def custom_object_scope(*args: Mapping[str, Any]) -> CustomObjectScope:
    """A `CustomObjectScope` over the given dictionaries, for use in a `with` statement."""
    return CustomObjectScope(*args)


def get_custom_objects() -> dict[str, Any]:
    """The dictionary of globally known custom objects; changing it registers or removes objects."""
    return _CUSTOM_OBJECTS


# Objects by name


def serialize_keras_object(instance: Any) -> Any:
    """What stands for `instance` in a config: a dictionary for configurable objects, a name for functions.

    Raises ValueError for an object that has neither `get_config` nor `__name__`.
    """
    if instance is None:
        return None
    if hasattr(instance, "get_config"):
        return {"class_name": instance.__class__.__name__, "config": instance.get_config()}
    if hasattr(instance, "__name__"):
        return instance.__name__
    raise ValueError("Cannot serialize", instance)


def _find_object(
    name: str, custom_objects: Mapping[str, Any] | None, module_objects: Mapping[str, Any] | None
) -> Any | None:
    """The object called `name`: the caller's custom objects first, then the global ones, then the module's own."""
    for objects in (custom_objects, _CUSTOM_OBJECTS, module_objects):
        if objects and name in objects:
            return objects[name]
    return None


def deserialize_keras_object(
    identifier: Any,
    module_objects: Mapping[str, Any] | None = None,
    custom_objects: Mapping[str, Any] | None = None,
    printable_module_name: str = "object",
) -> Any:
    """The object that `identifier` stands for.

    `identifier` is a dictionary `{"class_name": ..., "config": ...}`, which builds an instance, or a name, which finds
    a function or class. `module_objects` holds what the calling module offers by name. Raises ValueError, naming
    `printable_module_name`, where the name is unknown or the identifier is neither.
    """
    if isinstance(identifier, str):
        found = _find_object(identifier, custom_objects, module_objects)
        if found is None:
            raise ValueError(f"Unknown {printable_module_name}:{identifier}")
        return found
    if not isinstance(identifier, dict):
        raise ValueError(f"Could not interpret serialized {printable_module_name}: {identifier}")
    if "class_name" not in identifier or "config" not in identifier:
        raise ValueError(f"Improper config format: {identifier}")
    class_name, config = identifier["class_name"], identifier["config"]
    cls = _find_object(class_name, custom_objects, module_objects)
    if cls is None:
        raise ValueError(f"Unknown {printable_module_name}: {class_name}")
    custom_objects = custom_objects or {}
    if hasattr(cls, "from_config") and has_arg(cls.from_config, "custom_objects"):
        return cls.from_config(config, custom_objects={**_CUSTOM_OBJECTS, **custom_objects})
    with CustomObjectScope(custom_objects):
        return cls.from_config(config) if hasattr(cls, "from_config") else cls(**config)


def has_arg(fn: Callable[..., Any], name: str, accept_all: bool = False) -> bool:
    """Whether `fn` takes the keyword argument `name`; with `accept_all`, `**kwargs` counts as taking it."""
    parameters = inspect.signature(fn).parameters
    if name in parameters:
        return parameters[name].kind in (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return accept_all and any(p.kind == inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def check_for_unexpected_keys(name: str, input_dict: Mapping[str, Any], expected_values: Sequence[str]) -> None:
    """Raise ValueError where the dictionary that the user gave as `name` has a key not among `expected_values`."""
    for key in input_dict:
        if key not in expected_values:
            raise ValueError(
                f'Unknown entry in {name} dictionary: "{key}". Only expected the following keys: {expected_values}'
            )


# Lists and arrays


def to_list(x: Any, allow_tuple: bool = False) -> list[Any]:
    """`x` itself if it is a list, else a list that holds it; with `allow_tuple` a tuple becomes a list of its items."""
    if isinstance(x, list):
        return x
    if allow_tuple and isinstance(x, tuple):
        return list(x)
    return [x]


def unpack_singleton(x: Any) -> Any:
    """The only item of a list or tuple of length one, else the list or tuple."""
    return x[0] if len(x) == 1 else x


def object_list_uid(object_list: Any) -> str:
    """A text that identifies these objects, by identity and order, while they live."""
    return ", ".join(str(abs(id(x))) for x in to_list(object_list))


def is_all_none(iterable_or_element: Any) -> bool:
    """Whether the element, or every item of the list or tuple, is None."""
    return all(x is None for x in to_list(iterable_or_element, allow_tuple=True))


def slice_arrays(arrays: Any, start: Any = None, stop: int | None = None) -> Any:
    """Rows of one array or of each array in a list.

    `start` and `stop` are row numbers, or `start` is a list or array of row numbers. An entry None stays None;
    `arrays=None` gives `[None]`.
    """
    if arrays is None:
        return [None]
    if isinstance(arrays, list):
        return [None if x is None else _rows(x, start, stop) for x in arrays]
    return _rows(arrays, start, stop)


def _rows(array: Any, start: Any, stop: int | None) -> Any:
    if not hasattr(start, "__len__"):
        return array[start:stop]
    if hasattr(start, "tolist") and not isinstance(array, np.ndarray):
        start = start.tolist()  # arrays backed by a file may take plain lists only
    return array[start]


def unique_by_identity(objects: Iterable[Any]) -> list[Any]:
    """The objects in order, each once, compared by identity (tensors may compare elementwise)."""
    return list({id(x): x for x in objects}.values())


def transpose_shape(shape: Any, target_format: str, spatial_axes: Sequence[int]) -> Any:
    """A shape given channels last, as `target_format` orders it.

    `spatial_axes` are the positions of the spatial sizes in `shape`; what comes before them stays in front.
    Returns a list for a list, else a tuple.
    """
    if target_format == "channels_last":
        return shape
    if target_format != "channels_first":
        raise ValueError(
            f'The `data_format` argument must be one of "channels_first", "channels_last". Received: {target_format}'
        )
    sizes = (*shape[: spatial_axes[0]], shape[-1], *(shape[axis] for axis in spatial_axes))
    return list(sizes) if isinstance(shape, list) else sizes


# Functions stored in configs


def func_dump(func: Callable[..., Any]) -> tuple[str, tuple[Any, ...] | None, tuple[Any, ...] | None]:
    """A Python function as `(bytecode in base64, argument defaults, values closed over)`."""
    code = codecs.encode(marshal.dumps(func.__code__), "base64").decode("ascii")
    cells = func.__closure__
    return code, func.__defaults__, tuple(cell.cell_contents for cell in cells) if cells else None


def func_load(
    code: Any,
    defaults: tuple[Any, ...] | None = None,
    closure: tuple[Any, ...] | None = None,
    globs: dict[str, Any] | None = None,
) -> Callable[..., Any]:
    """The function that `func_dump` described, with `globs` as its global names.

    `code` may be the whole triple. Bytecode runs whatever its author wrote and belongs to one Python version: never
    pass what came from a file that you do not trust.
    """
    if isinstance(code, (tuple, list)):
        code, defaults, closure = code
    if isinstance(defaults, list):
        defaults = tuple(defaults)
    try:
        raw = codecs.decode(code.encode("ascii"), "base64")
    except (UnicodeEncodeError, binascii.Error):
        raw = code.encode("raw_unicode_escape")  # how early Keras 2 wrote it
    try:
        loaded = marshal.loads(raw)
    except (ValueError, EOFError, TypeError) as error:
        raise ValueError(
            "The stored function cannot be read: its bytecode was written by another version of Python."
        ) from error
    if not isinstance(loaded, types.CodeType):
        raise ValueError(f"Expected the bytecode of a function, got {type(loaded).__name__}.")
    cells = tuple(_as_cell(value) for value in closure) if closure else None
    names = {"np": np} if globs is None else globs
    return types.FunctionType(loaded, names, name=loaded.co_name, argdefs=defaults, closure=cells)


def _as_cell(value: Any) -> types.CellType:
    return value if isinstance(value, types.CellType) else types.CellType(value)
