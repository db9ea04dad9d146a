"""Every op against the table of rows in `tests/op_cases`: types, references, gradients, symbolic batches.

Then what rows cannot say: errors, gradients at ties, second derivatives, shapes that depend on symbols.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from ir import builder as b
from ir import dtypes
from ir.autodiff import gradients
from ir.dims import SymDim, bind
from ir.graph import Attrs, Value
from ir.interpreter import evaluate
from ir.opdef import Elementwise, Op, TypeRuleError, infer
from ir.ops import OPS
from ir.ops.base import SingleOutput
from ir.ops.fused import MADE_LATE
from ir.types import TensorType, tensor
from tests.op_case import Case
from tests.op_cases import CASES

B = SymDim("B")
Build = Callable[[list[Value]], Sequence[Value]]

every_case = pytest.mark.parametrize("case", CASES, ids=[c.name for c in CASES])
differentiable = [
    c
    for c in CASES
    if OPS[c.op].no_gradient is None and c.differentiable != () and any(a.dtype.kind == "f" for a in c.inputs)
]


def values_like(arrays: Sequence[np.ndarray]) -> list[Value]:
    return [b.input_value(TensorType(dtypes.of(a.dtype), a.shape), f"x{i}") for i, a in enumerate(arrays)]


@every_case
def test_type_rule_agrees_with_reference(case: Case) -> None:
    op, attrs = OPS[case.op], Attrs(case.attrs)
    types, constraints = infer(op, values_like(case.inputs), attrs)
    inputs = [a.copy() for a in case.inputs]
    results = op.reference(inputs, attrs)
    assert not constraints
    assert [(r.dtype.name, r.shape) for r in results] == [(t.dtype.name, t.shape) for t in types]
    for before, after in zip(case.inputs, inputs, strict=True):
        np.testing.assert_array_equal(before, after, err_msg=f"{case.op} changes an input")
    for r in results:
        assert not any(np.shares_memory(r, a) for a in inputs), f"a result of {case.op} is a view of an input"


@pytest.mark.parametrize("case", [c for c in CASES if c.batch], ids=lambda c: c.name)
def test_symbolic_batch(case: Case) -> None:
    """With the batch axis unknown, the types are those of the concrete batch once it is bound."""
    op, attrs = OPS[case.op], Attrs(case.attrs)
    concrete = [v.type for v in values_like(case.inputs)]
    expected, _ = infer(op, values_like(case.inputs), attrs)
    sizes = {t.shape[axis] for t, axis in zip(concrete, case.batch, strict=True) if axis is not None}
    assert len(sizes) == 1, "the row's batch axes must have one size"
    env = {B: sizes.pop()}
    symbolic = [
        t if axis is None else TensorType(t.dtype, tuple(B if i == axis else d for i, d in enumerate(t.shape)))
        for t, axis in zip(concrete, case.batch, strict=True)
    ]
    types, constraints = infer(op, [b.input_value(t) for t in symbolic], attrs)
    assert [t.substitute(env) for t in types] == list(expected)
    for c in constraints:
        left, right = bind(c.left, env), bind(c.right, env)
        assert left == right or (c.broadcast and 1 in (left, right)), c


def as_float64(case: Case) -> tuple[list[np.ndarray], dict[str, Any]]:
    """The row with floats widened, so that finite differences mean something."""
    arrays = [a.astype(np.float64) if a.dtype.kind == "f" else a for a in case.inputs]
    attrs = {k: dtypes.f64 if isinstance(v, dtypes.DType) and v.is_float else v for k, v in case.attrs.items()}
    return arrays, attrs


def check_gradients(build: Build, arrays: Sequence[np.ndarray], wrt: Sequence[int], tolerance: float = 1e-5) -> None:
    """Gradients of `build` against central differences along random directions, in float64."""
    rng = np.random.default_rng(0)
    inputs = values_like(arrays)
    outputs = [v for v in build(inputs) if v.type.dtype.is_float]
    feeds = dict(zip(inputs, arrays, strict=True))
    seeds = [rng.normal(size=v.shape) for v in outputs]
    starts = values_like(seeds)
    found = gradients(outputs, [inputs[i] for i in wrt], starts)
    present = [g for g in found if g is not None]
    for g, i in zip(found, wrt, strict=True):
        assert g is None or g.type == inputs[i].type
    results = iter(evaluate(present, {**feeds, **dict(zip(starts, seeds, strict=True))}))
    grads = [np.zeros(arrays[i].shape) if g is None else next(results) for g, i in zip(found, wrt, strict=True)]

    def loss(moved: dict[Value, np.ndarray]) -> float:
        return sum(float(np.sum(s * y)) for s, y in zip(seeds, evaluate(outputs, {**feeds, **moved}), strict=True))

    for i, grad in zip(wrt, grads, strict=True):
        assert np.isfinite(grad).all(), f"gradient of input {i} is not finite: {grad}"
        for _ in range(3 if grad.size else 0):
            direction = rng.normal(size=grad.shape)
            step = 1e-6 * direction
            ahead, behind = ({inputs[i]: arrays[i] + sign * step} for sign in (1, -1))
            slope = (loss(ahead) - loss(behind)) / 2e-6
            scale = max(1.0, float(np.sum(np.abs(grad * direction))))
            assert abs(slope - float(np.sum(grad * direction))) <= tolerance * scale, f"gradient of input {i}"


def wrt_of(case: Case) -> Sequence[int]:
    floats = [i for i, a in enumerate(case.inputs) if a.dtype.kind == "f"]
    return floats if case.differentiable is None else case.differentiable


@pytest.mark.parametrize("case", differentiable, ids=lambda c: c.name)
def test_gradient(case: Case) -> None:
    arrays, attrs = as_float64(case)
    check_gradients(lambda xs: b.apply(case.op, *xs, **attrs), arrays, wrt_of(case))


SECOND = (
    "mul", "div", "pow", "tanh", "sigmoid", "softplus", "sqrt", "log", "select", "elu", "reduce_sum", "reduce_mean",
    "reduce_max", "reduce_prod", "sum_to", "reshape", "transpose", "broadcast_to", "concatenate", "slice", "unslice",
    "pad", "gather", "scatter_add", "matmul", "conv2d", "conv2d_input_grad", "conv2d_kernel_grad", "max_pool2d",
    "avg_pool2d", "batch_norm", "batch_norm_train", "softmax", "log_softmax", "softmax_crossentropy",
    "sigmoid_crossentropy",
)  # fmt: skip


def second_cases() -> list[Case]:
    """The first few rows of each op of `SECOND` with something in them; reduce_prod only where no factor is 0."""
    kept: Counter[str] = Counter()
    out = []
    for c in differentiable:
        usable = all(a.size for a in c.inputs) and not (c.op == "reduce_prod" and (c.inputs[0] == 0).any())
        if c.op in SECOND and usable and kept[c.op] < 3:
            kept[c.op] += 1
            out.append(c)
    return out


@pytest.mark.parametrize("case", second_cases(), ids=lambda c: c.name)
def test_second_derivative(case: Case) -> None:
    arrays, attrs = as_float64(case)
    wrt = wrt_of(case)

    def first(xs: list[Value]) -> list[Value]:
        outputs = [v for v in b.apply(case.op, *xs, **attrs) if v.type.dtype.is_float]
        weighted = [b.mul(v, b.constant(np.cos(np.arange(v.type.size)).reshape(v.shape))) for v in outputs]
        squares = [b.mul(v, v) for v in weighted]  # so that linear ops have second derivatives too
        return [g for g in gradients(squares, [xs[i] for i in wrt]) if g is not None]

    check_gradients(first, arrays, wrt, 1e-4)


SCALAR_FUNCTIONS: dict[str, Any] = {
    **{
        f: getattr(np, f) for f in ("exp", "log", "log1p", "expm1", "tanh", "sqrt", "absolute", "floor", "ceil", "rint")
    },
    **{f: getattr(np, f) for f in ("sin", "cos", "maximum", "minimum", "where", "isnan")},
    "sigmoid": lambda x: np.where(x > 0, 1 / (1 + np.exp(-x)), np.exp(x) / (1 + np.exp(x))) + 0 * np.tanh(x),
    "erf": lambda x: np.vectorize(math.erf, otypes=[x.dtype])(x),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "sign": lambda x: np.nan_to_num(np.sign(x)),
    "power": type(OPS["pow"]).fn,
    "floordiv": np.floor_divide,
    "floormod": np.mod,
    **{f"cast_{d.short}": (lambda x, d=d: x.astype(d.numpy)) for d in dtypes.ALL},
}


@pytest.mark.parametrize("case", [c for c in CASES if isinstance(OPS[c.op], Elementwise)], ids=lambda c: c.name)
def test_scalar_expression_means_the_reference(case: Case) -> None:
    """The text that targets compile, run by numpy; in float64, so that rounding does not hide a wrong constant."""
    op, (arrays, attrs) = OPS[case.op], as_float64(case)
    assert isinstance(op, Elementwise)
    text = op.expression(Attrs(attrs), tuple(dtypes.of(a.dtype) for a in arrays))
    names = [f"x{i}" for i in range(len(arrays))]
    with np.errstate(all="ignore"):
        result = eval(text.format(*names), {**SCALAR_FUNCTIONS, **dict(zip(names, arrays, strict=True))})
    (expected,) = op.reference(arrays, Attrs(attrs))
    np.testing.assert_allclose(np.broadcast_to(result, expected.shape), expected, rtol=1e-12, atol=1e-300)


# Rules about the table itself.


def overrides(op: Op, method: str) -> bool:
    owner = next(c for c in type(op).__mro__ if method in c.__dict__)
    return owner.__module__ not in ("ir.opdef", "ir.ops.base")


@pytest.mark.parametrize("name", sorted(OPS))
def test_op_is_complete(name: str) -> None:
    op = OPS[name]
    assert op.name == name
    assert type(op).infer is not Op.infer
    assert type(op).reference is not Op.reference
    method = "backward" if isinstance(op, SingleOutput) else "gradient"
    has_gradient = overrides(op, method) or overrides(op, "gradient") or overrides(op, "decompose")
    assert op.no_gradient is not None or has_gradient, "needs a gradient or a reason why not"
    made_by_passes = op.no_gradient == MADE_LATE  # their bodies are graphs; the tests of those passes cover them
    assert made_by_passes or any(c.op == name for c in CASES), "needs a row in tests/op_cases"


def test_rows_have_names_of_their_own() -> None:
    repeated = [n for n, count in Counter(c.name for c in CASES).items() if count > 1]
    assert not repeated


# Errors.


def t(dtype: str, *shape: Any) -> TensorType:
    return tensor(dtype, *shape)


PLAIN = {"transpose_a": False, "transpose_b": False}

ERRORS: list[tuple[str, list[TensorType], dict[str, Any], str]] = [
    ("add", [t("f32", 3), t("f64", 3)], {}, "add: operands have different dtypes float32, float64"),
    ("add", [t("f32", 3), t("f32", 4)], {}, "add: sizes 3 and 4 do not broadcast"),
    ("add", [t("bool", 3), t("bool", 3)], {}, "add does not take bool"),
    ("add", [t("f32", 3)], {}, "add takes 2 operands, got 1"),
    ("div", [t("i32", 3), t("i32", 3)], {}, "div does not take int32"),
    ("exp", [t("i32", 3)], {}, "exp does not take int32"),
    ("exp", [t("f32", 3)], {"axis": 1}, "exp takes attributes"),
    ("logical_and", [t("f32", 3), t("f32", 3)], {}, "logical_and does not take float32"),
    ("select", [t("f32", 3), t("f32", 3), t("f32", 3)], {}, "the condition must be bool, got float32"),
    ("select", [t("bool", 3), t("f32", 3), t("i32", 3)], {}, "different dtypes float32 and int32"),
    ("cast", [t("f32", 3)], {"dtype": "int32"}, "attribute dtype must be dtype"),
    ("reduce_sum", [t("f32", 3, 4)], {"axes": (2,), "keepdims": False}, "axis 2 is out of range for f32[3, 4]"),
    ("reduce_sum", [t("f32", 3, 4)], {"axes": (1, 0), "keepdims": False}, "axes must be ascending"),
    ("reduce_sum", [t("bool", 3)], {"axes": (0,), "keepdims": False}, "reduce_sum does not take bool"),
    ("reduce_any", [t("f32", 3)], {"axes": (0,), "keepdims": False}, "reduce_any does not take float32"),
    ("argmax", [t("f32", 3, 0)], {"axis": 1}, "axis 1 of f32[3, 0] is empty"),
    ("argmax", [t("f32")], {"axis": 0}, "axis 0 is out of range"),
    ("sum_to", [t("f32", 3, 4)], {"shape": (2,)}, "sizes 4 and 2 differ"),
    ("sum_to", [t("f32", 4)], {"shape": (3, 4)}, "the rank must not grow"),
    ("sum_to", [t("f32", 1)], {"shape": (3,)}, "sizes 1 and 3 differ"),
    ("broadcast_to", [t("f32", 3)], {"shape": (4,)}, "sizes 4 and 3 differ"),
    ("broadcast_to", [t("f32", 3)], {"shape": (1,)}, "sizes 1 and 3 differ"),
    ("broadcast_to", [t("f32", 3, 4)], {"shape": (4,)}, "the rank must not shrink"),
    ("reshape", [t("f32", 3, 4)], {"shape": (5,)}, "reshape of f32[3, 4] to f32[5]: numbers of elements"),
    ("reshape", [t("f32", 3, 4)], {"shape": (-1,)}, "negative size"),
    ("reshape", [t("f32", B, 4)], {"shape": (B, 3)}, "numbers of elements: sizes 4 and 3 differ"),
    ("transpose", [t("f32", 3, 4)], {"perm": (0, 0)}, "(0, 0) is not a permutation of the 2 axes"),
    ("concatenate", [], {"axis": 0}, "at least one operand"),
    ("concatenate", [t("f32", 3, 4), t("f32", 2, 5)], {"axis": 0}, "axis 1: sizes 4 and 5 differ"),
    ("concatenate", [t("f32", 3), t("i32", 3)], {"axis": 0}, "one dtype and one rank"),
    ("concatenate", [t("f32", 3)], {"axis": 1}, "axis 1 is out of range"),
    (
        "slice",
        [t("f32", 3)],
        {"starts": (0,), "stops": (4,), "steps": (1,)},
        "0:4:1 is out of bounds for axis 0 of size 3",
    ),
    ("slice", [t("f32", 3)], {"starts": (2,), "stops": (1,), "steps": (1,)}, "2:1:1 is out of bounds"),
    ("slice", [t("f32", 3)], {"starts": (3,), "stops": (-1,), "steps": (-1,)}, "out of bounds"),
    ("slice", [t("f32", B)], {"starts": (0,), "stops": (B + 1,), "steps": (1,)}, "0:B + 1:1 is out of bounds"),
    ("slice", [t("f32", 3)], {"starts": (0,), "stops": (3,), "steps": (0,)}, "step of axis 0 is 0"),
    ("slice", [t("f32", 3, 4)], {"starts": (0,), "stops": (3,), "steps": (1,)}, "for each of 2 axes"),
    ("unslice", [t("f32", 3)], {"shape": (5,), "starts": (0,), "stops": (4,), "steps": (1,)}, "sizes 3 and 4 differ"),
    ("pad", [t("f32", 3)], {"pads": ((-1, 0),), "value": 0.0}, "must not be negative"),
    ("pad", [t("f32", 3)], {"pads": (), "value": 0.0}, "needs 1 pairs, got 0"),
    ("gather", [t("f32", 3), t("f32", 2)], {"axis": 0}, "gather does not take float32 as indices"),
    ("gather", [t("f32", 3), t("i32", 2)], {"axis": 1}, "axis 1 is out of range"),
    ("scatter_add", [t("f32", 3), t("i32", 2)], {"size": 4, "axis": 0}, "sizes 3 and 2 differ"),
    ("scatter_add", [t("f32", 3), t("i32", 3, 2)], {"size": 4, "axis": 0}, "have no axes 0 to 2"),
    ("one_hot", [t("f32", 3)], {"depth": 4, "dtype": dtypes.f32}, "one_hot does not take float32 as indices"),
    ("one_hot", [t("i32", 3)], {"depth": -1, "dtype": dtypes.f32}, "depth -1 is negative"),
    ("constant", [], {"value": (1.0,), "shape": (2,), "dtype": dtypes.f32}, "1 elements do not fill shape (2,)"),
    ("constant", [], {"value": (1.5,), "shape": (), "dtype": dtypes.i32}, "1.5 is not a value of int32"),
    ("constant", [], {"value": (300,), "shape": (), "dtype": dtypes.u8}, "values 300 to 300 do not fit uint8"),
    ("iota", [], {"size": -1, "dtype": dtypes.i32}, "size -1 is negative"),
    ("sizes", [], {"dims": (3,), "dtype": dtypes.f32}, "sizes does not take float32"),
    ("matmul", [t("f32", 3, 4), t("f32", 5, 2)], PLAIN, "inner axes: sizes 4 and 5 differ"),
    ("matmul", [t("f32", 4), t("f32", 4, 2)], PLAIN, "rank 2 or more"),
    ("matmul", [t("f32", 4, 4), t("f64", 4, 2)], PLAIN, "different dtypes"),
    ("matmul", [t("f32", 2, 4, 4), t("f32", 3, 4, 2)], PLAIN, "leading axes: sizes 2 and 3"),
]


@pytest.mark.parametrize(("op", "types", "attrs", "message"), ERRORS, ids=[f"{e[0]}-{e[3][:30]}" for e in ERRORS])
def test_type_rule_refuses(op: str, types: list[TensorType], attrs: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeRuleError) as error:
        b.apply(op, *map(b.input_value, types), **attrs)
    assert message in str(error.value)


@pytest.mark.parametrize("index", [-1, 3])
def test_index_out_of_range(index: int) -> None:
    x, i = np.zeros((3, 2), np.float32), np.array([0, index], np.int32)
    with pytest.raises(IndexError, match=rf"gather: index {index} is out of range \[0, 3\)"):
        OPS["gather"].reference([x, i], Attrs({"axis": 0}))
    with pytest.raises(IndexError, match=rf"scatter_add: index {index} is out of range \[0, 3\)"):
        OPS["scatter_add"].reference([x[:2], i], Attrs({"axis": 0, "size": 3}))


# Values where rows compare like with like.

nan, inf = np.nan, np.inf
VALUES: list[tuple[str, list[Any], dict[str, Any], Any]] = [
    ("sign", [[nan, -2.0, 0.0, 3.0]], {}, [0, -1, 0, 1]),
    ("relu", [[nan, -2.0, 0.0, 3.0]], {}, [nan, 0, 0, 3]),
    ("maximum", [[nan, 1.0], [1.0, nan]], {}, [nan, nan]),
    ("minimum", [[nan, 1.0], [1.0, nan]], {}, [nan, nan]),
    ("floordiv", [[-7.0, 7.0, 1.0], [2.0, -2.0, 0.1]], {}, [-4, -4, 10]),
    ("mod", [[-7.0, 7.0], [3.0, -3.0]], {}, [2, -2]),
    ("softplus", [[-100.0, 0.0, 100.0]], {}, [np.exp(-100.0), np.log(2.0), 100]),
    ("sigmoid", [[-800.0, 0.0, 800.0]], {}, [0, 0.5, 1]),
    ("hard_sigmoid", [[-3.0, -1.0, 0.0, 1.0, 3.0]], {}, [0, 0.3, 0.5, 0.7, 1]),
    ("selu", [[-1.0, 0.0, 2.0]], {}, [-1.1113307378125625, 0, 2.101401974710961]),
    ("elu", [[-1.0, 2.0], 0.5], {}, [0.5 * np.expm1(-1), 2]),
    ("leaky_relu", [[-1.0, 2.0], 0.25], {}, [-0.25, 2]),
    ("softsign", [[-1.0, 3.0]], {}, [-0.5, 0.75]),
    ("round", [[0.5, 1.5, -0.5, 2.5]], {}, [0, 2, 0, 2]),
    ("reduce_mean", [np.zeros((0,))], {"axes": (0,), "keepdims": False}, nan),
    ("reduce_mean", [np.array([-7, 2])], {"axes": (0,), "keepdims": False}, -2),
    ("reduce_max", [np.zeros((0,))], {"axes": (0,), "keepdims": False}, -inf),
    ("reduce_prod", [np.zeros((0,))], {"axes": (0,), "keepdims": False}, 1),
    ("argmax", [[3.0, 5.0, 5.0]], {"axis": 0}, 1),
    ("one_hot", [np.array([1, 5])], {"depth": 2, "dtype": dtypes.f32}, [[0, 1], [0, 0]]),
]


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "expected"), VALUES, ids=[f"{i}-{v[0]}" for i, v in enumerate(VALUES)]
)
def test_value(op: str, inputs: list[Any], attrs: dict[str, Any], expected: Any) -> None:
    (result,) = OPS[op].reference([np.asarray(x) for x in inputs], Attrs(attrs))
    np.testing.assert_allclose(result, expected, rtol=1e-12, atol=0)


TIES: list[tuple[str, list[Any], dict[str, Any], list[Any]]] = [
    ("maximum", [[1.0, 2.0], [1.0, 3.0]], {}, [[1, 0], [0, 1]]),
    ("minimum", [[1.0, 2.0], [1.0, 3.0]], {}, [[1, 1], [0, 0]]),
    ("abs", [[-2.0, 0.0, 2.0]], {}, [[-1, 0, 1]]),
    ("sign", [[-2.0, 0.0, 2.0]], {}, [[0, 0, 0]]),
    ("relu", [[-2.0, 0.0, 2.0]], {}, [[0, 0, 1]]),
    ("leaky_relu", [[-2.0, 0.0, 2.0], 0.25], {}, [[0.25, 0.25, 1], -2.0]),
    ("elu", [[0.0, 2.0], 0.25], {}, [[0.25, 1], 0.0]),
    ("clip", [[-2.0, -1.0, 0.0, 1.0, 2.0], -1.0, 1.0], {}, [[0, 1, 1, 1, 0], 1, 1]),
    ("hard_sigmoid", [[-3.0, -2.5, 0.0, 2.5, 3.0]], {}, [[0, 0.2, 0.2, 0.2, 0]]),
    ("pow", [[-2.0, 0.0, 2.0], [2.0, 2.0, 2.0]], {}, [[-4, 0, 4], [0, 0, 4 * np.log(2)]]),
    ("reduce_max", [[1.0, 3.0, 3.0]], {"axes": (0,), "keepdims": False}, [[0, 0.5, 0.5]]),
    ("reduce_min", [[1.0, 1.0, 1.0, 3.0]], {"axes": (0,), "keepdims": True}, [[1 / 3, 1 / 3, 1 / 3, 0]]),
    ("reduce_prod", [[2.0, 0.0, 3.0]], {"axes": (0,), "keepdims": False}, [[0, 6, 0]]),
    ("reduce_prod", [[2.0, 0.0, 0.0]], {"axes": (0,), "keepdims": False}, [[0, 0, 0]]),
]


@pytest.mark.parametrize(("op", "inputs", "attrs", "expected"), TIES, ids=[f"{i}-{v[0]}" for i, v in enumerate(TIES)])
def test_gradient_at_ties(op: str, inputs: list[Any], attrs: dict[str, Any], expected: list[Any]) -> None:
    arrays = [np.asarray(x) for x in inputs]
    values = values_like(arrays)
    found = gradients(b.apply(op, *values, **attrs), values)
    assert all(g is not None for g in found)
    results = evaluate([g for g in found if g is not None], dict(zip(values, arrays, strict=True)))
    for result, e in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, e, rtol=1e-12, atol=1e-300)


def test_no_gradient_stops_silently() -> None:
    x = b.input_value(tensor("f64", 3))
    for op in ("floor", "stop_gradient", "is_nan"):
        y = b.unary(op, x)
        total = b.add(b.select(y, x, x) if y.type.dtype.is_bool else y, x)
        (g,) = gradients([total], [x])
        assert g is not None
        np.testing.assert_array_equal(evaluate([g], {x: np.array([0.5, 1.5, -2.0])})[0] > 0, True)


# Symbolic shapes.


def shape_of(op: str, *types: TensorType, **attrs: Any) -> tuple[Any, ...]:
    return b.apply1(op, *map(b.input_value, types), **attrs).shape


def test_symbolic_shapes() -> None:
    T = SymDim("T")
    assert shape_of("reshape", t("f32", B, 6), shape=(B, 2, 3)) == (B, 2, 3)
    assert shape_of("reshape", t("f32", B, T, 4), shape=(B * T, 4)) == (B * T, 4)
    assert shape_of("reshape", t("f32", B, 6), shape=(B * 6,)) == (6 * B,)
    assert shape_of("transpose", t("f32", B, T, 4), perm=(1, 0, 2)) == (T, B, 4)
    assert shape_of("concatenate", t("f32", B, 3), t("f32", T, 3), axis=0) == (B + T, 3)
    assert shape_of("concatenate", t("f32", B, 3), t("f32", B, T), axis=1) == (B, T + 3)
    assert shape_of("slice", t("f32", B, T), starts=(0, 1), stops=(B, T), steps=(1, 1)) == (B, T - 1)
    assert shape_of("slice", t("f32", T), starts=(T - 1,), stops=(-1,), steps=(-1,)) == (T,)
    assert shape_of("slice", t("f32", T), starts=(0,), stops=(T,), steps=(2,)) == ((T + 1) // 2,)
    assert shape_of("pad", t("f32", B, T), pads=((0, 0), (T, 2)), value=0.0) == (B, 2 * T + 2)
    assert shape_of("broadcast_to", t("f32", 1, T), shape=(B, T)) == (B, T)
    assert shape_of("gather", t("f32", 10, 3), t("i32", B, T), axis=0) == (B, T, 3)
    assert shape_of("scatter_add", t("f32", B, T, 3), t("i32", B, T), size=10, axis=0) == (10, 3)
    assert shape_of("one_hot", t("i32", B), depth=5, dtype=dtypes.f32) == (B, 5)
    assert shape_of("matmul", t("f32", B, T, 3), t("f32", 3, 5), **PLAIN) == (B, T, 5)
    assert shape_of("reduce_mean", t("f32", B, T), axes=(1,), keepdims=True) == (B, 1)
    assert shape_of("add", t("f32", B, 1), t("f32", T)) == (B, T)


def test_unproven_sizes_become_constraints() -> None:
    """What cannot be proved is recorded, in a form that says as much as possible."""
    N = SymDim("N")
    y = b.reshape(b.input_value(t("f32", B, 6)), (B, N, 3))
    assert y.node is not None
    (c,) = y.node.constraints
    assert {c.left, c.right} == {2, N} and not c.broadcast
    y = b.matmul(b.input_value(t("f32", B, 6)), b.input_value(t("f32", N, 2)))
    assert y.node is not None
    assert [{c.left, c.right} for c in y.node.constraints] == [{6, N}]


def test_gradient_with_symbolic_shapes() -> None:
    """Mean over an unknown batch, a bias that broadcasts, a slice of an unknown length: once sizes are fed."""
    T = SymDim("T")
    x, bias = b.input_value(tensor("f64", B, T, 2)), b.input_value(tensor("f64", 2))
    y = b.slice(b.add(x, bias), [0, 1, 0], [B, T, 2])
    loss = b.reduce_mean(b.reshape(b.unary("square", y), (B, (T - 1) * 2)))
    grads = gradients([loss], [x, bias])
    rng = np.random.default_rng(0)
    a, c = rng.normal(size=(3, 4, 2)), rng.normal(size=2)
    dx, dbias = evaluate([g for g in grads if g is not None], {x: a, bias: c})
    expected = np.where(np.arange(4)[:, None] > 0, 2 * (a + c) / 18, 0)
    np.testing.assert_allclose(dx, expected)
    np.testing.assert_allclose(dbias, expected.sum((0, 1)))
