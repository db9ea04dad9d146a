"""Control flow: `scan` runs a body once for each step of sequences, `cond` runs one of two bodies.

Bodies are Graphs without variables: what they read stands among the operands. `scan_gradient.py` differentiates scans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from ir import builder as b
from ir import dtypes
from ir.graph import Attrs, Graph, Node, Value
from ir.opdef import Array, Arrays, Meet, Op, TypeRuleError
from ir.types import TensorType


def _check_body(name: str, body: Graph, types: Sequence[TensorType], meet: Meet) -> None:
    """Raises TypeRuleError unless the body takes operands of these types; what met inside it meets here."""
    if body.variables or body.updates:
        raise TypeRuleError(f"{name}: a body has no variables; they stand among the operands")
    expected = tuple(v.type for v in body.inputs)
    if tuple(types) != expected:
        raise TypeRuleError(
            f"{name}: the body takes {', '.join(map(str, expected))}, got {', '.join(map(str, types))}"
        )
    for node in body.nodes:
        meet.constraints.extend(node.constraints)


def _fit_body(body: Graph, types: Sequence[TensorType]) -> Graph:
    """`body` for inputs of other types: its type rules run again."""
    from ir.rewrite import assemble, retype

    if tuple(types) == tuple(v.type for v in body.inputs):
        return body
    new = {v: Value(t, None, 0, v.name) for v, t in zip(body.inputs, types, strict=True)}
    fresh = list(new.values())
    for node in body.nodes:
        new.update(zip(node.outputs, retype(node, tuple(new[v] for v in node.inputs), {}).outputs, strict=True))
    return assemble(body.name, fresh, [new[v] for v in body.outputs])


def _same_type(what: str, a: TensorType, b: TensorType, meet: Meet) -> TensorType:
    if a.dtype != b.dtype or a.rank != b.rank:
        raise TypeRuleError(f"{what}: {a} and {b} must have one type")
    return TensorType(a.dtype, tuple(meet.same(d, e, what) for d, e in zip(a.shape, b.shape, strict=True)))


class Scan(Op):
    """`scan(*sequences, *states, *constants)` runs `body(*elements, *states, *constants)`, which gives outputs of this
    step and new states, for each element along the first axis of the sequences, backwards if `reverse`.

    Gives the outputs stacked along a new first axis (each at the place of its element), then the final states.
    `length` is the size of the first axis. States keep their types.
    """

    name = "scan"
    schema: ClassVar[Mapping[str, str]] = {
        "body": "graph", "n_seq": "int", "n_state": "int", "length": "dim", "reverse": "bool",
    }  # fmt: skip

    def _inner_types(self, types: Sequence[TensorType], n_seq: int) -> list[TensorType]:
        return [TensorType(t.dtype, t.shape[1:]) for t in types[:n_seq]] + list(types[n_seq:])

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        body: Graph = attrs["body"]
        n_seq, n_state, length = attrs["n_seq"], attrs["n_state"], attrs["length"]
        n_out = len(body.outputs) - n_state
        if min(n_seq, n_state, n_out) < 0 or len(types) < n_seq + n_state:
            raise TypeRuleError(f"scan: {n_seq} sequences and {n_state} states do not fit {len(types)} operands")
        for t in types[:n_seq]:
            if t.rank < 1:
                raise TypeRuleError("scan: a sequence needs an axis of steps, got a scalar")
            meet.same(t.shape[0], length, "scan: steps of sequences")
        _check_body(self.name, body, self._inner_types(types, n_seq), meet)
        states = types[n_seq : n_seq + n_state]
        for i, (old, new) in enumerate(zip(states, body.outputs[n_out:], strict=True)):
            _same_type(f"scan: state {i} before and after a step", old, new.type, meet)
        stacked = tuple(TensorType(v.type.dtype, (length, *v.shape)) for v in body.outputs[:n_out])
        return (*stacked, *states)

    def adapt(self, attrs: Attrs, inputs: Sequence[Value]) -> Attrs:
        types = self._inner_types([v.type for v in inputs], attrs["n_seq"])
        return attrs.updated(body=_fit_body(attrs["body"], types))

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        from ir.interpreter import run

        body: Graph = attrs["body"]
        n_seq, n_state, length = attrs["n_seq"], attrs["n_state"], attrs["length"]
        n_out = len(body.outputs) - n_state
        states, constants = list(inputs[n_seq : n_seq + n_state]), inputs[n_seq + n_state :]
        outputs = [np.empty((length, *v.type.bind({})), v.type.dtype.numpy) for v in body.outputs[:n_out]]
        for t in reversed(range(length)) if attrs["reverse"] else range(length):
            results, _ = run(body, [*(np.asarray(x[t]) for x in inputs[:n_seq]), *states, *constants], {})
            for out, result in zip(outputs, results[:n_out], strict=True):
                out[t] = result
            states = results[n_out:]
        return (*outputs, *(np.array(s) for s in states))

    def gradient(self, node: Node, grads: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        from ir.ops.scan_gradient import scan_gradient

        return scan_gradient(node, grads)


class Cond(Op):
    """`cond(condition, *operands)` gives what `then(*operands)` gives where the bool condition holds, else what
    `otherwise(*operands)` gives, of the same types. Only one of the two runs.
    """

    name = "cond"
    schema: ClassVar[Mapping[str, str]] = {"then": "graph", "otherwise": "graph"}

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        if not types or types[0] != TensorType(dtypes.bool_, ()):
            raise TypeRuleError(f"cond: the condition must be {TensorType(dtypes.bool_, ())}, got {types[:1]}")
        then, otherwise = attrs["then"], attrs["otherwise"]
        for body in (then, otherwise):
            _check_body(self.name, body, types[1:], meet)
        if len(then.outputs) != len(otherwise.outputs):
            raise TypeRuleError("cond: both branches must give as many results")
        pairs = zip(then.outputs, otherwise.outputs, strict=True)
        return tuple(_same_type("cond: results of both branches", x.type, y.type, meet) for x, y in pairs)

    def adapt(self, attrs: Attrs, inputs: Sequence[Value]) -> Attrs:
        types = [v.type for v in inputs[1:]]
        return attrs.updated(**{name: _fit_body(attrs[name], types) for name in self.schema})

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        from ir.interpreter import run

        return tuple(run(attrs["then"] if inputs[0] else attrs["otherwise"], inputs[1:], {})[0])

    def gradient(self, node: Node, grads: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        """The derivatives of the branch taken; it runs again for that."""
        given = [g for g in grads if g is not None]
        operands = node.inputs[1:]
        wrt = [i for i, v in enumerate(operands) if v.type.dtype.is_float]
        bodies = {name: _branch_gradient(node.attrs[name], grads, wrt) for name in self.schema}
        found = b.apply("cond", *node.inputs, *given, **bodies)
        result: list[Value | None] = [None] * len(node.inputs)
        for i, g in zip(wrt, found, strict=True):
            result[i + 1] = g
        return tuple(result)


def _branch_gradient(body: Graph, grads: Sequence[Value | None], wrt: Sequence[int]) -> Graph:
    """A body that takes operands and gradients of results and gives gradients of operands number `wrt`."""
    from ir.autodiff import gradients
    from ir.closure import close

    seeds = [None if g is None else Value(g.type, None, 0) for g in grads]
    inputs = [body.inputs[i] for i in wrt]
    found = gradients(body.outputs, inputs, seeds, stop_at_wrt=True)
    results = [b.zeros_like(v) if g is None else g for v, g in zip(inputs, found, strict=True)]
    return close("gradient", [*body.inputs, *(s for s in seeds if s is not None)], results)


OPS: tuple[Op, ...] = (Scan(), Cond())
