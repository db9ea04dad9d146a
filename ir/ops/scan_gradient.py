"""The gradient of `scan`: a scan in the other direction.

The forward scan saves what each step's derivative needs as further stacked outputs (the pass `merge_scans` makes one
scan of both). What a step makes at next to no cost from what is saved anyway is made again. The gradient of a constant
is a sum over steps. Where a step adds a matrix product, or a sum over some axes, to it, the factors are stacked instead
and one operation after the loop does the work of all steps; else the sum is a state of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ir import builder as b
from ir.closure import close, static_values
from ir.dims import product
from ir.graph import Graph, Node, Value
from ir.types import TensorType
from ir.walk import nodes_of

Stack = Callable[[Value], Value]
Sum = Callable[[Stack], Value]  # the sum over all steps, given how to get stacked values

_CHEAP = frozenset({"slice", "hard_sigmoid", "relu"})  # ops that cost less than to store and to load their result


def scan_gradient(node: Node, grads: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
    """See `ir.opdef.Op.gradient`."""
    return _Gradient(node, grads).inputs()


class _Gradient:
    def __init__(self, node: Node, grads: Sequence[Value | None]) -> None:
        self.node = node
        self.body: Graph = node.attrs["body"]
        self.n_seq, self.n_state = node.attrs["n_seq"], node.attrs["n_state"]
        self.n_out = len(self.body.outputs) - self.n_state
        self.grads = grads
        self.operand = dict(zip(self.body.inputs, node.inputs, strict=True))
        self._differentiate()
        self._find_leaves()
        self.extra: dict[Value, None] = {}  # further values of a step that are needed stacked

    def _differentiate(self) -> None:
        """One step: `seeds` stand for the gradients of its results, `found` are those of its inputs."""
        from ir.autodiff import gradients

        body, n = self.body, self.n_out
        stepwise = zip(body.outputs[:n], self.grads[:n], strict=True)
        outs = [None if g is None else b.input_value(v.type) for v, g in stepwise]
        self.states = body.inputs[self.n_seq : self.n_seq + self.n_state]
        wrt = [v for v in body.inputs if v.type.dtype.is_float]
        # A state has a gradient where its final value has one, or where a later step passes one on.
        self.carried = {
            v: b.input_value(v.type)
            for v, g in zip(self.states, self.grads[n:], strict=True)
            if g is not None and v.type.dtype.is_float
        }
        while True:
            self.seeds = [*outs, *(self.carried.get(v) for v in self.states)]
            self.found = dict(zip(wrt, gradients(body.outputs, wrt, self.seeds, stop_at_wrt=True), strict=True))
            more = [v for v in self.states if self.found.get(v) is not None and v not in self.carried]
            if not more:
                return
            self.carried.update((v, b.input_value(v.type)) for v in more)

    def _find_leaves(self) -> None:
        """What the derivative of a step reads: `stacks` maps elements, seeds and saved values to stacked ones."""
        body = self.body
        static = static_values(body.nodes)
        forward = {*body.inputs, *(o for n in body.nodes for o in n.outputs)} - static
        targets = [g for g in self.found.values() if g is not None]
        constants = set(body.inputs[self.n_seq + self.n_state :])
        nodes, read = _frontier(targets, forward, {*constants, *static, *body.outputs[: self.n_out]})
        self.constants = [v for v in read if v in constants]
        self.fixed = constants | static_values(nodes) | static
        self.stacks: dict[Value, Value] = {v: self.operand[v] for v in body.inputs[: self.n_seq] if v in read}
        outputs = dict(zip(body.outputs[: self.n_out], self.node.outputs, strict=False))
        self.stacks.update((v, outputs[v]) for v in read if v in outputs and v not in constants)
        saved = [v for v in read if v not in constants and v not in self.stacks]
        self.stacks.update(zip(saved, self._save(saved), strict=True))
        for seed, g in zip(self.seeds[: self.n_out], self.grads, strict=False):
            if seed is not None and g is not None:
                self.stacks[seed] = g

    def _save(self, values: Sequence[Value]) -> tuple[Value, ...]:
        """The forward scan once more, with `values` among its outputs."""
        if not values:
            return ()
        from ir.rewrite import assemble

        body, n = self.body, self.n_out
        wider = assemble(body.name, body.inputs, [*body.outputs[:n], *values, *body.outputs[n:]])
        found = b.apply("scan", *self.node.inputs, **self.node.attrs.updated(body=wider))
        return found[n : n + len(values)]

    def inputs(self) -> tuple[Value | None, ...]:
        """The gradients of the scan's operands."""
        sums = {v: self._sum(g) for v in self.body.inputs[self.n_seq + self.n_state :] if (g := self.found.get(v))}
        elements = {v: g for v in self.body.inputs[: self.n_seq] if (g := self.found.get(v)) is not None}
        totals = {v: b.input_value(v.type) for v, how in sums.items() if how is None}
        # What sums need is known only once they have been asked; the loop is made after that.
        for how in sums.values():
            if how is not None:
                how(self._ask)
        stacked, states, added = self._loop(elements, totals)
        result: list[Value | None] = []
        for v in self.body.inputs:
            how = sums.get(v)
            if v in elements:
                result.append(stacked[elements[v]])
            elif v in self.carried:
                result.append(states[v])
            elif v in added:
                result.append(added[v])
            else:
                result.append(how(stacked.__getitem__) if how is not None else None)
        return tuple(result)

    def _ask(self, v: Value) -> Value:
        """Notes that `v` is needed stacked; gives something of its type."""
        if v not in self.stacks:
            self.extra.setdefault(v)
        return b.input_value(TensorType(v.type.dtype, (self.node.attrs["length"], *v.shape)))

    def _loop(
        self, elements: dict[Value, Value], totals: dict[Value, Value]
    ) -> tuple[dict[Value, Value], dict[Value, Value], dict[Value, Value]]:
        """Stacked values of steps, gradients of the initial states, and sums that are states."""
        outputs = list(dict.fromkeys([*elements.values(), *self.extra]))
        states = list(self.carried)
        news = [g if (g := self.found[v]) is not None else b.zeros_like(v) for v in states]
        news += [b.add(total, g) for v, total in totals.items() if (g := self.found[v]) is not None]
        starts = [self._final(v) for v in states] + [b.zeros_like(v) for v in totals]
        bound = [*self.stacks, *self.carried.values(), *totals.values(), *self.constants]
        operands = [*self.stacks.values(), *starts, *(self.operand[v] for v in self.constants)]
        attrs = self.node.attrs.updated(
            body=close("gradient", bound, [*outputs, *news]),
            n_seq=len(self.stacks),
            n_state=len(news),
            reverse=not self.node.attrs["reverse"],
        )
        found = b.apply("scan", *operands, **attrs)
        stacked = {**self.stacks, **dict(zip(outputs, found, strict=False))}
        final = found[len(outputs) :]
        return stacked, dict(zip(states, final, strict=False)), dict(zip(totals, final[len(states) :], strict=True))

    def _final(self, state: Value) -> Value:
        """The gradient of a state after the last step."""
        g = self.grads[self.n_out + self.states.index(state)]
        return b.zeros_like(self.operand[state]) if g is None else g

    # Sums over steps

    def _sum(self, v: Value) -> Sum | None:
        """How to sum `v` over all steps after the loop; None where the loop has to do it."""
        if v in self.stacks:
            return lambda stack: b.reduce_sum(stack(v), (0,))
        node = v.node
        if node is None or v in self.fixed:
            return None
        rule = _SUMS.get(node.op.name)
        return rule(self, node) if rule is not None else None

    def varies(self, *values: Value) -> bool:
        return not any(v in self.fixed for v in values)


def _frontier(
    targets: Sequence[Value], forward: set[Value], known: set[Value]
) -> tuple[list[Node], dict[Value, None]]:
    """The nodes of the derivative and the values of the forward step that they read, without those which are made
    again: cheap ones of what is read or `known` anyway, and the parts of a tensor where several are read."""
    again: set[Value] = set()
    while True:
        halt = forward - again
        nodes = nodes_of(targets, halt)
        read = dict.fromkeys(v for v in (*(v for n in nodes for v in n.inputs), *targets) if v in halt)
        cheap = [v for v in read if v.node is not None and v not in known and v.node.op.name in _CHEAP]
        sources = [v.node.inputs[0] for v in cheap if v.node is not None and v.node.op.name == "slice"]

        def has(v: Value) -> bool:
            return v in read or v in known or v in again or sources.count(v) > 1  # noqa: B023

        more = [v for v in cheap if v.node is not None and has(v.node.inputs[0])]
        if not more:
            return nodes, read
        again.update(more)


def _sum_add(g: _Gradient, node: Node) -> Sum | None:
    x, y = node.inputs
    first, second = g._sum(x), g._sum(y)
    if first is None or second is None or x.type != y.type:
        return None
    return lambda stack: b.add(first(stack), second(stack))


def _sum_sum_to(g: _Gradient, node: Node) -> Sum | None:
    (x,) = node.inputs
    if not g.varies(x):
        return None
    return lambda stack: b.sum_to(stack(x), node.output.shape)


def _sum_reduce_sum(g: _Gradient, node: Node) -> Sum | None:
    (x,) = node.inputs
    if not g.varies(x):
        return None
    axes = (0, *(a + 1 for a in node.attrs["axes"]))
    return lambda stack: b.reshape(b.reduce_sum(stack(x), axes), node.output.shape)


def _sum_moved(g: _Gradient, node: Node) -> Sum | None:
    inner = g._sum(node.inputs[0])
    return None if inner is None else lambda stack: b.apply1(node.op.name, inner(stack), **node.attrs)


def _sum_matmul(g: _Gradient, node: Node) -> Sum | None:
    """The products of all steps are one product over the steps' inner axes together."""
    x, y = node.inputs
    if x.rank != 2 or y.rank != 2 or not g.varies(x, y):
        return None
    ta, tb = node.attrs["transpose_a"], node.attrs["transpose_b"]

    def rows(v: Value, inner_first: bool) -> Value:
        """Stacked matrices as one matrix whose first axis is all that is summed over."""
        steps, m, n = v.shape
        return b.reshape(v, (steps * m, n)) if inner_first else b.reshape(b.transpose(v, (0, 2, 1)), (steps * n, m))

    return lambda stack: b.matmul(rows(stack(x), ta), rows(stack(y), not tb), True, False)


def _sum_kernel_grad(g: _Gradient, node: Node) -> Sum | None:
    """Steps are more images of one batch."""
    x, dy = node.inputs
    if not g.varies(x, dy):
        return None

    def images(v: Value) -> Value:
        return b.reshape(v, (product(v.shape[:2]), *v.shape[2:]))

    return lambda stack: b.apply1(node.op.name, images(stack(x)), images(stack(dy)), **node.attrs)


_SUMS: dict[str, Callable[[_Gradient, Node], Sum | None]] = {
    "add": _sum_add,
    "sum_to": _sum_sum_to,
    "reduce_sum": _sum_reduce_sum,
    "reshape": _sum_moved,
    "transpose": _sum_moved,
    "neg": _sum_moved,
    "matmul": _sum_matmul,
    "conv2d_kernel_grad": _sum_kernel_grad,
}
