"""fuse_elementwise: elementwise nodes of one shape that feed each other become one `fused` node, one pass over memory.

It comes after the other fusions, which want to see single nodes, and before code generation.
"""

from __future__ import annotations

from ir import builder
from ir.graph import Graph, Node, Value
from ir.passes.regions import body_of, is_elementwise, is_scalar_constant, origins, region_inputs
from ir.rewrite import assemble, copy_node
from ir.graph import Update

_MAX_NODES = 48  # per region; keeps kernels quick to compile
_MAX_OPERANDS = 14  # distinct tensors read; more than a core's load ports and prefetchers follow


class _Regions:
    """Grows regions in topological order while the graph of regions stays free of cycles.

    Every node starts as a region of its own; `above` holds, per region, the set of all regions it depends on, as bits.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.region: dict[Node, int] = {}
        self.members: dict[int, list[Node]] = {}
        self.above: dict[int, int] = {}

    def add(self, node: Node) -> None:
        number = len(self.region)
        self.region[node] = number
        self.members[number] = [node]
        self.above[number] = self._above_inputs(node, number)

    def _above_inputs(self, node: Node, own: int) -> int:
        bits = 0
        for v in node.inputs:
            if v.node is not None:
                r = self.region[v.node]
                if r != own:
                    bits |= self.above[r] | (1 << r)
        return bits

    def can_merge(self, a: int, b: int) -> bool:
        """Whether regions `a` and `b`, `b` depending directly on `a`, may become one."""
        first, second = self.members[a][0].output, self.members[b][0].output
        # A region is one loop: all its values have one shape.
        if first.shape != second.shape:
            return False
        nodes = self.members[a] + self.members[b]
        if len(nodes) > _MAX_NODES or len(region_inputs(nodes)) > _MAX_OPERANDS:
            return False
        # Nothing outside may stand between them: a region that `b` needs and that itself needs `a`.
        between = self.above[b] & ~(1 << a)
        while between:
            r = between.bit_length() - 1
            if self.above[r] >> a & 1:
                return False
            between ^= 1 << r
        return True

    def merge(self, a: int, b: int) -> None:
        """Moves region `a` into `b`."""
        for node in self.members[a]:
            self.region[node] = b
        self.members[b] = sorted(self.members.pop(a) + self.members[b], key=lambda n: n.serial)
        above = (self.above.pop(a) | self.above[b]) & ~(1 << a) & ~(1 << b)
        self.above[b] = above
        for r, bits in self.above.items():
            if bits >> a & 1 or bits >> b & 1:
                self.above[r] = (bits & ~(1 << a)) | (1 << b) | above


def fusible(node: Node) -> bool:
    """Elementwise ops and broadcasts of numbers or vectors. A reduction or a copy of memory ends a region."""
    return is_elementwise(node) or node.op.name == "broadcast_to"


def fuse_elementwise(graph: Graph) -> Graph:
    """`graph` with connected elementwise nodes of one shape fused."""
    regions = _Regions(graph)
    for node in graph.nodes:
        regions.add(node)
        if not fusible(node):
            continue
        for v in node.inputs:
            producer = v.node
            if producer is not None and fusible(producer):
                a, b = regions.region[producer], regions.region[node]
                if a != b and regions.can_merge(a, b):
                    regions.merge(a, b)
    return _rebuild(graph, regions)


def _rebuild(graph: Graph, regions: _Regions) -> Graph:
    """Emits regions in dependency order, those ready first in the order of their last node."""
    new: dict[Value, Value] = {}
    emitted: set[int] = set()
    users = graph.users
    results = graph.results

    def emit(number: int) -> None:
        nodes = regions.members[number]
        if len(nodes) == 1 and nodes[0].op.name != "broadcast_to":
            new.update(zip(nodes[0].outputs, _copy(nodes[0], new), strict=True))
            return
        inside = set(nodes)
        outputs = [
            o
            for n in nodes
            for o in n.outputs
            if o in results or any(u not in inside for u in users.get(o, ()))
        ]
        inputs = region_inputs(nodes)
        body = body_of("body", nodes, inputs, outputs)
        with builder.origin(origins(nodes)):
            made = builder.apply("fused", *(new.get(v, v) for v in inputs), body=body)
        new.update(zip(outputs, made, strict=True))

    for node in graph.nodes:
        stack = [regions.region[node]]
        while stack:
            number = stack[-1]
            if number in emitted:
                stack.pop()
                continue
            needed = [
                r
                for n in regions.members[number]
                for v in n.inputs
                if v.node is not None and (r := regions.region[v.node]) != number and r not in emitted
            ]
            if needed:
                stack.extend(dict.fromkeys(needed))
                continue
            emit(number)
            emitted.add(number)
            stack.pop()
    return assemble(
        graph.name,
        graph.inputs,
        [new.get(v, v) for v in graph.outputs],
        [Update(u.variable, new.get(u.value, u.value)) for u in graph.updates],
        graph.guards,
        graph.checks,
        graph.variables,
    )


def _copy(node: Node, new: dict[Value, Value]) -> tuple[Value, ...]:
    return copy_node(node, tuple(new.get(v, v) for v in node.inputs)).outputs
