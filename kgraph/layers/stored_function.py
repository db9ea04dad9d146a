"""Functions of Lambda layers in configs: written as Keras 2 writes them, bytecode and all, but never read back as code.

Bytecode could do anything, and fits only the version of Python that wrote it. A config's function is found again
instead: among the functions that this process has written into configs, or in `custom_objects`. `lambda_layer.py` calls
`dump` and `find`.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from kgraph import backend as K
from kgraph.utils.generic_utils import func_dump

Function = Callable[..., Any]

# Marshalled code: a code object starts with its type and a 4-byte count of arguments; its name is a text that follows
# the name of its file. Texts have one byte or four for their length, depending on their type.
_CODE = re.compile(rb"[c\xe3].\0\0\0", re.DOTALL)
_NAME = re.compile(rb"(?:\.py|>)(?:[zZ\xda\xfa](.)|[aAuts\xe1\xc1\xf5\xf4\xf3](.)\0\0\0)", re.DOTALL)


def dump(function: Function) -> tuple[Any, ...]:
    """What a config says about a Python function: `(bytecode in base64, argument defaults, values closed over)`."""
    stored = func_dump(function)
    K.get_session().functions[_key(stored)] = function
    return stored


def find(stored: Any, layer_name: str, custom_objects: Mapping[str, Any]) -> Function | None:
    """The function that `stored` in a layer's config stands for; None where it cannot be found.

    The user gives it in `custom_objects`, under the layer's name or the function's.
    """
    given = custom_objects.get(layer_name)
    if given is None:
        given = K.get_session().functions.get(_key(stored))
    if given is None and isinstance(stored, (list, tuple)) and stored:
        given = custom_objects.get(_function_name(stored[0]) or "")
    return given if callable(given) else None


def _key(stored: Any) -> str:
    """The same text for what `func_dump` gave and for what JSON made of it."""
    return json.dumps(stored, default=_described)


def _described(value: Any) -> Any:
    from kgraph.engine.saving import json_default

    try:
        return json_default(value)
    except TypeError:
        return repr(value)  # cannot be saved, but a model can still be copied in this process


def _function_name(code: Any) -> str | None:
    """The name that `def` gave the function of this bytecode, where that is certain; nothing is unmarshalled."""
    try:
        raw = base64.b64decode(code)
    except (TypeError, ValueError):
        return None
    found = list(_NAME.finditer(raw))
    if len(_CODE.findall(raw)) != 1 or len(found) != 1:
        return None  # functions within the function have names too
    start = found[0].end()
    length = (found[0][1] or found[0][2])[0]
    return raw[start : start + length].decode("utf-8", errors="replace")
