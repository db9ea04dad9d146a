"""What an op is: one small class with its schema, type rule, numpy reference, gradient and, for elementwise ops, its
scalar expression. The ops themselves are in `ir/ops/`; `ir/ops/__init__.py` lists them in one table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from ir import dims, dtypes
from ir.dims import Dim
from ir.dtypes import DType
from ir.graph import Attrs, Constraint, Graph, Node, Value
from ir.types import TensorType

Arrays = Sequence[np.ndarray]
Array = np.ndarray


class TypeRuleError(ValueError):
    """Operands or attributes that an op does not take; the message is in the user's words."""


class Meet:
    """Collects the dims that a type rule needs to be equal and cannot prove equal."""

    def __init__(self) -> None:
        self.constraints: list[Constraint] = []

    def same(self, a: Dim, b: Dim, what: str) -> Dim:
        """`a` and `b` must be equal. Returns the more specific one; raises TypeRuleError where they cannot be."""
        if a == b:
            return a
        if isinstance(a, int) and isinstance(b, int):
            raise TypeRuleError(f"{what}: sizes {a} and {b} differ")
        self.constraints.append(Constraint(a, b, False, what))
        return _more_specific(a, b)

    def broadcast(self, a: Dim, b: Dim, what: str) -> Dim:
        """`a` and `b` must be equal or one of them 1, as in numpy."""
        if a == b or b == 1:
            return a
        if a == 1:
            return b
        if isinstance(a, int) and isinstance(b, int):
            raise TypeRuleError(f"{what}: sizes {a} and {b} do not broadcast")
        self.constraints.append(Constraint(a, b, True, what))
        return _more_specific(a, b)

    def broadcast_shapes(self, shapes: Sequence[tuple[Dim, ...]], what: str) -> tuple[Dim, ...]:
        """The numpy broadcast of several shapes."""
        if all(s == shapes[0] for s in shapes):  # the usual case, and this is a hot path of building and verifying
            return shapes[0] if shapes else ()
        out: tuple[Dim, ...] = ()
        for shape in shapes:
            n = max(len(out), len(shape))
            a, b = (1,) * (n - len(out)) + out, (1,) * (n - len(shape)) + shape
            out = tuple(self.broadcast(x, y, what) for x, y in zip(a, b, strict=True))
        return out


def _more_specific(a: Dim, b: Dim) -> Dim:
    return b if isinstance(b, int) or (isinstance(a, dims.SymDim) and isinstance(b, dims.DimExpr)) else a


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "bool": lambda v: isinstance(v, bool),
    "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "float": lambda v: isinstance(v, float),
    "str": lambda v: isinstance(v, str),
    "dtype": lambda v: isinstance(v, DType),
    "dim": dims.is_dim,
    "graph": lambda v: isinstance(v, Graph),
    "ints": lambda v: isinstance(v, tuple) and all(isinstance(x, int) and not isinstance(x, bool) for x in v),
    "bools": lambda v: isinstance(v, tuple) and all(isinstance(x, bool) for x in v),
    "strs": lambda v: isinstance(v, tuple) and all(isinstance(x, str) for x in v),
    "dims": lambda v: isinstance(v, tuple) and all(dims.is_dim(x) for x in v),
    "pairs": lambda v: isinstance(v, tuple)
    and all(isinstance(p, tuple) and len(p) == 2 and all(dims.is_dim(x) for x in p) for p in v),
    "number": lambda v: isinstance(v, (bool, int, float)),
    "numbers": lambda v: isinstance(v, tuple) and all(isinstance(x, (bool, int, float)) for x in v),
}


class Op:
    """An operation of the IR. Subclasses are stateless; one instance each stands in `ir.ops.OPS`.

    `schema` maps attribute names to kinds (see `_KINDS`). `no_gradient` is the reason why an op has no derivative
    (then gradients stop there silently, as in TensorFlow for integers and comparisons). `host` says that it runs in
    numpy between two parts of a program (`ops/host.py`).
    """

    name: ClassVar[str]
    schema: ClassVar[Mapping[str, str]] = {}
    no_gradient: ClassVar[str | None] = None
    host: ClassVar[bool] = False

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        """The type rule: output types from input types. Raises TypeRuleError."""
        raise TypeError(f"op {self.name} has no type rule")

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        """The meaning of the op in numpy. Dims in `attrs` are bound to ints. Must not change its inputs."""
        raise TypeError(f"op {self.name} has no reference")

    def gradient(self, node: Node, grads: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        """Gradients of the inputs given those of the outputs (None: zero). The default goes through `decompose`."""
        from ir.autodiff import gradient_by_decomposition

        return gradient_by_decomposition(node, grads)

    def decompose(self, inputs: tuple[Value, ...], attrs: Attrs) -> tuple[Value, ...] | None:
        """The same computation in simpler ops, or None where the op is primitive."""
        return None

    def adapt(self, attrs: Attrs, inputs: Sequence[Value]) -> Attrs:
        """`attrs` for operands whose types may have changed; ops with bodies fit these to the operands."""
        return attrs

    def check_attrs(self, attrs: Attrs) -> None:
        """Raises TypeRuleError unless the attributes are exactly those of the schema, each of its kind."""
        if attrs.keys() != self.schema.keys():
            raise TypeRuleError(f"{self.name} takes attributes {sorted(self.schema)}, got {sorted(attrs)}")
        for key, kind in self.schema.items():
            if not _KINDS[kind](attrs[key]):
                raise TypeRuleError(f"{self.name}: attribute {key} must be {kind}, got {attrs[key]!r}")

    def __repr__(self) -> str:
        return f"<op {self.name}>"


class Elementwise(Op):
    """An op that works element by element with numpy broadcasting. All operands have one dtype unless a subclass says
    otherwise; there is no implicit promotion.

    `scalar` is the expression for one element over {0}, {1}, ... in the function names of `codegen/scalar.py`; it
    serves the CPU and the GPU. float16 is stored as half and computed in float32.
    """

    arity: ClassVar[int]
    scalar: ClassVar[str]
    result: ClassVar[DType | None] = None  # None: the operands' dtype
    accepts: ClassVar[str] = "biuf"  # kinds of operand dtypes

    def infer(self, types: tuple[TensorType, ...], attrs: Attrs, meet: Meet) -> tuple[TensorType, ...]:
        self.check_operands(types)
        shape = meet.broadcast_shapes([t.shape for t in types], self.name)
        return (TensorType(self.result or types[-1].dtype, shape),)

    def check_operands(self, types: tuple[TensorType, ...]) -> None:
        if len(types) != self.arity:
            raise TypeRuleError(f"{self.name} takes {self.arity} operands, got {len(types)}")
        if any(t.dtype is not types[0].dtype and t.dtype != types[0].dtype for t in types):
            raise TypeRuleError(
                f"{self.name}: operands have different dtypes {', '.join(t.dtype.name for t in types)}; "
                "cast one of them (K.cast), there is no implicit promotion"
            )
        if types[0].dtype.kind not in self.accepts:
            raise TypeRuleError(f"{self.name} does not take {types[0].dtype.name}")

    def expression(self, attrs: Attrs, dtypes: tuple[DType, ...]) -> str:
        """The scalar expression for these attributes and operand dtypes."""
        return self.scalar

    def compute(self, *arrays: Array, attrs: Attrs) -> Array:
        """The numpy meaning, computed in the operands' dtype (float32 for float16)."""
        raise TypeError(f"op {self.name} has no reference")

    def reference(self, inputs: Arrays, attrs: Attrs) -> tuple[Array, ...]:
        wide = [a.astype(np.float32) if a.dtype == np.float16 else a for a in inputs]
        dtype = self.result.numpy if self.result else inputs[-1].dtype
        with np.errstate(all="ignore"):
            return (np.asarray(self.compute(*wide, attrs=attrs)).astype(dtype, copy=False),)


def infer(op: Op, inputs: Sequence[Value], attrs: Attrs) -> tuple[tuple[TensorType, ...], tuple[Constraint, ...]]:
    """Checks the attributes and runs the type rule. The one place where nodes get their types."""
    op.check_attrs(attrs)
    meet = Meet()
    types = op.infer(tuple(v.type for v in inputs), attrs, meet)
    return types, tuple(meet.constraints)


def normalize_axis(axis: int, rank: int, what: str) -> int:
    """`axis` counted from the front. Raises TypeRuleError if there is no such axis."""
    if not -rank <= axis < rank:
        raise TypeRuleError(f"{what}: axis {axis} is out of range for a tensor of rank {rank}")
    return axis % rank


bool_ = dtypes.bool_
