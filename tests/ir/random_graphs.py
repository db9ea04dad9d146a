"""Random small graphs for round trips and for passes: `random_graph(seed)`. They run in the interpreter for every
binding of their symbols, and each has inputs, variables, updates, constants, a phase switch and random numbers."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from ir import builder as b
from ir import dtypes
from ir.dims import SymDim
from ir.graph import Graph, Update, Value, Variable
from ir.interpreter import run
from ir.rewrite import assemble
from ir.types import tensor

B, T = SymDim("B"), SymDim("T")
_UNARY = ("neg", "abs", "square", "tanh", "sigmoid", "relu", "floor", "identity", "stop_gradient", "exp")
_BINARY = ("add", "sub", "mul", "maximum", "minimum")
_CONSTANTS = (0.0, -0.0, 1.0, 2.0, -1.5, 1e-30, float("inf"), float("nan"))
_NAMES = (None, None, "h", "h", "dense/BiasAdd", "1st", "h_1")
_ORIGINS = ((), ("dense_1",), ("model_1", "dense 1"), ("a/b:0",), ('quo"ted, # name',))


def random_graph(seed: int, size: int = 20) -> Graph:
    """A graph of about `size` nodes, the same for the same seed."""
    rng = random.Random(seed)
    phase = b.input_value(tensor("bool"), "phase")
    inputs = [
        b.input_value(tensor("f32", B, 4), "x"),
        b.input_value(tensor("f32", B, T, 4), rng.choice(("x", "seq", None, "input 2"))),
        b.input_value(tensor("f32", B, 1), "y"),
    ]
    inputs.insert(rng.randrange(4), phase)
    weights = [Variable(tensor("f32", 4), f"dense_{i}/bias:0", trainable=bool(i % 2)) for i in range(3)]
    state = Variable(tensor("u64", 2), "random/state")
    pool = [v for v in inputs if v is not phase] + [w.value for w in weights]
    for _ in range(size):
        with b.origin(rng.choice(_ORIGINS)):
            v = rng.choice(_STEPS)(rng, pool, phase, state)
        if v.node is not None and v.node.outputs[0].name is None:
            v.name = rng.choice(_NAMES)
        pool.append(v)
    updates = [Update(w, v) for w in weights[:2] if (v := _of_shape(rng, pool, (4,))) is not None]
    updates.append(Update(state, b.apply1("random_advance", state.value)))
    outputs = rng.sample(pool[-8:], 3)
    return assemble(rng.choice(("g", "my model")), inputs, outputs, updates, variables=[*weights, state])


def random_feeds(graph: Graph, seed: int, phase: bool = False) -> tuple[list[np.ndarray], dict[Variable, np.ndarray]]:
    """Inputs and variables for a graph of `random_graph`, special floats included."""
    rng = np.random.default_rng(seed)
    env = {B: int(rng.choice([1, 2, 3])), T: int(rng.choice([1, 2, 5]))}

    def array(type_: object, shape: tuple[int, ...]) -> np.ndarray:
        a = rng.standard_normal(shape).astype(np.float32)
        special = rng.choice(np.array([0.0, -0.0, 1.0, np.inf, np.nan], np.float32), shape)
        return np.where(rng.random(shape) < 0.1, special, a).astype(np.float32)

    inputs = [np.array(phase) if v.name == "phase" else array(v.type, v.type.bind(env)) for v in graph.inputs]
    variables = {
        x: np.array([seed, 3], np.uint64) if x.type.dtype == dtypes.u64 else array(x.type, x.type.bind({}))
        for x in graph.variables
    }
    return inputs, variables


def assert_same_bits(before: Graph, after: Graph, seed: int = 0, phase: bool = False) -> None:
    """Both graphs give the same bits, up to the payload of NaN."""
    inputs, variables = random_feeds(before, seed, phase)
    kept = inputs if len(after.inputs) == len(before.inputs) else [
        a for v, a in zip(before.inputs, inputs, strict=True) if v.name != "phase"
    ]
    old, old_updates = run(before, inputs, variables)
    new, new_updates = run(after, kept, variables)
    pairs = list(zip(old, new, strict=True))
    # Fixing the phase leaves a random state that is not read any more as it is.
    kept_updates = [x for x in old_updates if x in new_updates or x.path != "random/state"]
    pairs += [(old_updates[x], new_updates.get(x, variables[x])) for x in kept_updates]
    for a, c in pairs:
        np.testing.assert_array_equal(a, c)
        if a.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(a) & ~np.isnan(a), np.signbit(c) & ~np.isnan(c))


def _of_shape(rng: random.Random, pool: list[Value], shape: tuple[object, ...]) -> Value | None:
    found = [v for v in pool if v.shape == shape]
    return rng.choice(found) if found else None


def _unary(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    return b.unary(rng.choice(_UNARY), rng.choice(pool))


def _binary(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    x = rng.choice(pool)
    y = _of_shape(rng, pool, x.shape) or x
    return b.apply1(rng.choice(_BINARY), x, y)


def _bias(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    x, w = rng.choice(pool), _of_shape(rng, pool, (4,))
    if w is None or not x.shape or x.shape[-1] != 4:
        return x
    return b.add(x, w) if rng.random() < 0.5 else b.mul(w, x)


def _scalar(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    return b.apply1(rng.choice((*_BINARY, "div")), (x := rng.choice(pool)), b.lift(rng.choice(_CONSTANTS), x))


def _constants(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    x = b.constant(np.array([rng.choice(_CONSTANTS) for _ in range(4)], np.float32))
    return b.mul(x, rng.choice(_CONSTANTS))


def _switch(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    x = rng.choice(pool)
    return b.select(phase, x, _of_shape(rng, pool, x.shape) or x)


def _mask(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    x = rng.choice(pool)
    return b.select(b.compare("greater", x, 0.0), x, b.mul(x, 0.5))


def _transposed(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    x = rng.choice(pool)
    perm = list(range(x.rank))
    rng.shuffle(perm)
    there = b.transpose(x, perm)
    back = sorted(range(x.rank), key=lambda i: perm[i])
    return there if rng.random() < 0.3 else b.transpose(b.neg(there) if rng.random() < 0.3 else there, back)


def _reshaped(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    x = rng.choice(pool)
    flat = b.reshape(x, (x.type.size,))
    return flat if rng.random() < 0.3 else b.reshape(flat, x.shape)


def _reduced(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    x = rng.choice(pool)
    axes = [a for a in range(x.rank) if rng.random() < 0.5]
    return b.reduce(rng.choice(("reduce_sum", "reduce_max", "reduce_mean")), x, axes, keepdims=rng.random() < 0.5)


def _summed(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    x = rng.choice(pool)
    return b.sum_to(x, tuple(1 if rng.random() < 0.3 else d for d in x.shape[rng.randrange(x.rank + 1) :]))


def _joined(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    x = rng.choice([v for v in pool if v.rank] or [b.constant([1.0], dtypes.f32)])
    joined = b.concatenate([x, _of_shape(rng, pool, x.shape) or x], -1)
    return joined if rng.random() < 0.3 else b.slice(joined, (0,) * x.rank, x.shape)


def _noise(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    x = rng.choice(pool)
    noise = b.apply1("random_uniform", state.value, seed=rng.randrange(3), shape=x.shape, dtype=dtypes.f32)
    return b.mul(x, noise)


def _repeated(rng: random.Random, pool: list[Value], phase: Value, state: Variable) -> Value:
    """A node once more, for `cse`."""
    nodes = [v.node for v in pool if v.node is not None]
    if not nodes:
        return pool[0]
    n = rng.choice(nodes)
    return b.apply(n.op.name, *n.inputs, **n.attrs)[0]


_STEPS: tuple[Callable[[random.Random, list[Value], Value, Variable], Value], ...] = (
    _unary, _binary, _bias, _scalar, _constants, _switch, _mask, _transposed, _reshaped, _reduced, _summed, _joined,
    _noise, _repeated, _repeated,
)  # fmt: skip
