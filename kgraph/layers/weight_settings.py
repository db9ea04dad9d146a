"""How a weight of a layer starts, what is penalised and how it is constrained: kept, used and written to configs in one
way by all layers. The settings of a kind of weight, such as "kernel", are the layer's attributes `kernel_initializer`,
`kernel_regularizer` and `kernel_constraint`.
"""

from __future__ import annotations

from typing import Any

from kgraph import constraints, initializers, regularizers


def keep(layer: Any, kind: str, initializer: Any, regularizer: Any, constraint: Any) -> None:
    """Makes the settings, objects or names of them, attributes of the layer."""
    setattr(layer, f"{kind}_initializer", initializers.get(initializer))
    setattr(layer, f"{kind}_regularizer", regularizers.get(regularizer))
    setattr(layer, f"{kind}_constraint", constraints.get(constraint))


def add(layer: Any, kind: str, shape: tuple[Any, ...], name: str | None = None, **more: Any) -> Any:
    """A new weight of the layer with the settings of its kind, called `name` (by default as its kind). `more` are other
    arguments of `add_weight`, or an `initializer` instead of the kind's."""
    return layer.add_weight(
        name=name or kind,
        shape=shape,
        regularizer=getattr(layer, f"{kind}_regularizer"),
        constraint=getattr(layer, f"{kind}_constraint"),
        **{"initializer": getattr(layer, f"{kind}_initializer"), **more},
    )


def config(layer: Any, *kinds: str, activity: bool = True) -> dict[str, Any]:
    """The settings of some kinds of weights in a config, in Keras' order; with `activity` also the regularizer of the
    layer's output. A kind may have just an initializer."""
    found = {f"{kind}_initializer": initializers.serialize(getattr(layer, f"{kind}_initializer")) for kind in kinds}
    if hasattr(layer, "unit_forget_bias"):
        found["unit_forget_bias"] = layer.unit_forget_bias
    full = [kind for kind in kinds if hasattr(layer, f"{kind}_regularizer")]
    found |= {f"{kind}_regularizer": regularizers.serialize(getattr(layer, f"{kind}_regularizer")) for kind in full}
    if activity:
        found["activity_regularizer"] = regularizers.serialize(layer.activity_regularizer)
    found |= {f"{kind}_constraint": constraints.serialize(getattr(layer, f"{kind}_constraint")) for kind in full}
    return found
