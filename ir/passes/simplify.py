"""Local rewrites that are exact: the same bits in float arithmetic (NaN, infinities and the sign of zero included; only
the payload of a NaN is nobody's business). Runs early, and again where other passes leave trivial nodes behind.

Each rule takes a node with its rewritten operands and returns a value to stand for its output, or None. `RULES` lists
the rules by op. One walk over the graph applies them until none does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ir import builder as b
from ir import dims
from ir.dims import Dim
from ir.dtypes import DType
from ir.graph import Graph, Node, Value
from ir.passes.constants import constant_array, is_splat, splat
from ir.rewrite import rebuild

Rule = Callable[[Node, tuple[Value, ...]], Value | None]

_FOLD_LIMIT = 64  # elements; larger constants would burden the text form and the program for nothing
_NOT_FOLDED = ("constant", "broadcast_to")  # a broadcast constant is how a filled tensor is best written


def simplify(graph: Graph) -> Graph:
    """`graph` with the rules applied wherever they hold."""
    finished: set[Node] = set()

    def transform(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        finished.update(v.node for v in inputs if v.node is not None)
        value = _apply_rules(node, inputs) if len(node.outputs) == 1 else None
        if value is None:
            return None
        # A rule may have made a node that another rule simplifies; one that was there before is already simple.
        while value.node is not None and value.node not in finished:
            finished.add(value.node)
            value = _apply_rules(value.node, value.node.inputs) or value
        return (value,)

    return rebuild(graph, transform)


def _apply_rules(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    for rule in RULES.get(node.op.name, ()):
        value = rule(node, inputs)
        # Dims that met may be named differently after a rewrite; then the types differ, and the node stays.
        if value is not None and value.type == node.output.type:
            return value
    return _fold(node, inputs)


def _fold(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: computes a small node of constants by its reference, which is what it means."""
    name = node.op.name
    if name in _NOT_FOLDED or name.startswith("random_") or len(node.outputs) != 1:
        return None
    if any(v.node is None or v.node.op.name != "constant" for v in inputs):
        return None
    type = node.output.type
    if not isinstance(type.size, int) or type.size > _FOLD_LIMIT or not _is_concrete(node):
        return None
    known = [a for v in inputs if (a := constant_array(v)) is not None]
    if any(a.size > _FOLD_LIMIT for a in known):
        return None
    (result,) = node.op.reference(known, node.attrs)
    return b.constant(result)


def _is_concrete(node: Node) -> bool:
    """Whether no attribute depends on a symbol (bodies are not looked into)."""
    flat = [x for v in node.attrs.values() for x in (v if isinstance(v, tuple) else (v,))]
    return not any(isinstance(x, (dims.SymDim, dims.DimExpr, Graph)) for x in flat)


def _same(node: Node, x: Value) -> Value | None:
    """`x` for the output of `node`, where the types agree (a broadcast may have changed the shape)."""
    return x if x.type == node.output.type else None


def _operand(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: identity and stop_gradient (derivatives are taken before the passes) return their operand."""
    return inputs[0]


def _unchanged(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: reshaping, casting, broadcasting or summing to the operand's own type moves and changes nothing."""
    return _same(node, inputs[0])


# Arithmetic


def _add_zero(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: x + -0.0 is x for every x. Not so x + 0.0, which turns -0.0 into 0.0; for integers zero has no sign."""
    zero = -0.0 if node.output.type.dtype.is_float else 0
    x, y = inputs
    if is_splat(y, zero):
        return _same(node, x)
    return _same(node, y) if is_splat(x, zero) else None


def _add_neg(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: x + (-y) is how IEEE 754 defines x - y."""
    x, y = inputs
    if _made_by(y, "neg") is not None:
        return b.sub(x, _inner(y))
    return b.sub(y, _inner(x)) if _made_by(x, "neg") is not None else None


def _sub_zero(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: x - 0.0 is x for every x, -0.0 included (x - -0.0 is not)."""
    zero = 0.0 if node.output.type.dtype.is_float else 0
    return _same(node, inputs[0]) if is_splat(inputs[1], zero) else None


def _sub_neg(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: x - (-y) is x + y, since negation only flips the sign."""
    return b.add(inputs[0], _inner(inputs[1])) if _made_by(inputs[1], "neg") is not None else None


def _mul_one(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: 1 * x is x for every x."""
    x, y = inputs
    if _is_one(y):
        return _same(node, x)
    return _same(node, y) if _is_one(x) else None


def _mul_zero(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact for integers only: 0.0 * x is NaN for NaN and infinities, and -0.0 for negative x."""
    type = node.output.type
    if not type.dtype.is_integer or not any(is_splat(v, 0) for v in inputs):
        return None
    return b.full(type.shape, 0, type.dtype)


def _div_one(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: x / 1 is x for every x; for integers so is x // 1."""
    if node.op.name == "floordiv" and not node.output.type.dtype.is_integer:
        return None
    return _same(node, inputs[0]) if _is_one(inputs[1]) else None


def _small_power(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: x ** 1 is x, and x ** 2 is x * x, NaN and infinities included; IEEE 754 rounds the product correctly,
    which is the best that a pow can do."""
    x, exponent = inputs
    if x.type != node.output.type:
        return None
    known = splat(exponent)
    if known == 1:
        return x
    return b.unary("square", x) if known == 2 else None


def _is_one(v: Value) -> bool:
    return not v.type.dtype.is_bool and is_splat(v, 1)


def _twice(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: neg and logical_not undo themselves bit by bit."""
    return _inner(inputs[0]) if _made_by(inputs[0], node.op.name) is not None else None


# Shapes


def _transposes(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: two transposes move elements as one does; a transpose that keeps the order of the axes moves nothing."""
    perm = node.attrs["perm"]
    inner = _made_by(inputs[0], "transpose")
    if inner is not None:
        first = inner.attrs["perm"]
        return b.transpose(inner.inputs[0], tuple(first[p] for p in perm))
    return inputs[0] if perm == tuple(range(len(perm))) else None


def _chain(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: a reshape of a reshape, or a broadcast of a broadcast, puts each element where the last one alone does."""
    inner = _made_by(inputs[0], node.op.name)
    return b.apply1(node.op.name, inner.inputs[0], shape=node.attrs["shape"]) if inner is not None else None


def _cast_back(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: casting to a type that holds every value of the first one, and back, returns each value."""
    inner = _made_by(inputs[0], "cast")
    if inner is None:
        return None
    (x,) = inner.inputs
    return _same(node, x) if _holds_all(inner.output.type.dtype, x.type.dtype) else None


def _holds_all(wide: DType, narrow: DType) -> bool:
    if narrow.is_bool or wide.kind == narrow.kind:
        return wide.itemsize >= narrow.itemsize
    return bool(np.can_cast(narrow.numpy, wide.numpy, "safe")) and wide.itemsize > narrow.itemsize


def _known_sum_to(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: where each axis of the target is 1, missing, or equal to the operand's, the axes to sum are known now
    (an axis that turns out to have size 1 is summed over its one element)."""
    (x,), target = inputs, node.output.shape
    lead = x.rank - len(target)
    axes = list(range(lead))
    for axis, (old, new) in enumerate(zip(x.shape[lead:], target, strict=True), start=lead):
        if old == new:
            continue
        if new != 1:
            return None
        axes.append(axis)
    return b.reshape(b.reduce_sum(x, axes), target)


def _no_axes(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: reducing over no axes leaves each element alone."""
    return inputs[0] if node.attrs["axes"] == () else None


def _pad_nothing(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: no elements are added."""
    return inputs[0] if all(p == (0, 0) for p in node.attrs["pads"]) else None


def _slice_all(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: every element is taken, in order."""
    attrs = node.attrs
    whole: tuple[Dim, ...] = inputs[0].shape
    takes_all = attrs["starts"] == (0,) * len(whole) and attrs["stops"] == whole and set(attrs["steps"]) <= {1}
    return inputs[0] if takes_all else None


def _concatenate_one(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: there is nothing to join."""
    return inputs[0] if len(inputs) == 1 else None


def _select_known(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Exact: select copies elements of one branch, whichever where both are the same; so does broadcasting it."""
    condition, x, y = inputs
    known = splat(condition)
    if known is None and x is not y:
        return None
    return b.broadcast_to(y if known is not None and not known else x, node.output.shape)


def _made_by(v: Value, op: str) -> Node | None:
    return v.node if v.node is not None and v.node.op.name == op else None


def _inner(v: Value) -> Value:
    """The operand of the node that makes `v`."""
    assert v.node is not None
    return v.node.inputs[0]


_REDUCTIONS = ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min", "reduce_prod", "reduce_any", "reduce_all")

RULES: Mapping[str, tuple[Rule, ...]] = {
    "identity": (_operand,),
    "stop_gradient": (_operand,),
    "add": (_add_zero, _add_neg),
    "sub": (_sub_zero, _sub_neg),
    "mul": (_mul_one, _mul_zero),
    "div": (_div_one,),
    "floordiv": (_div_one,),
    "pow": (_small_power,),
    "neg": (_twice,),
    "logical_not": (_twice,),
    "transpose": (_transposes,),
    "reshape": (_unchanged, _chain),
    "broadcast_to": (_unchanged, _chain),
    "cast": (_unchanged, _cast_back),
    "sum_to": (_unchanged, _known_sum_to),
    "pad": (_pad_nothing,),
    "slice": (_slice_all,),
    "concatenate": (_concatenate_one,),
    "select": (_select_known,),
    **{op: (_no_axes,) for op in _REDUCTIONS},
}
