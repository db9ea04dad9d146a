"""fuse_elementwise: elementwise nodes of one shape that feed each other become one `fused` node, one pass over memory.

It comes after the other fusions, which want to see single nodes, and before code generation.
"""

from __future__ import annotations

from ir import builder
from ir.graph import Graph, Node, Update, Value
from ir.passes.regions import body_of, is_elementwise, is_scalar_constant, origins, region_inputs
from ir.rewrite import assemble, copy_node

_MAX_NODES = 48  # per region; keeps kernels quick to compile
_MAX_OPERANDS = 14  # distinct tensors read; more than a core's load ports and prefetchers follow


def fusible(node: Node) -> bool:
    """Elementwise ops and broadcasts of numbers or vectors. A reduction or a copy of memory ends a region."""
    return is_elementwise(node) or node.op.name == "broadcast_to"


class _Regions:
    """Grows regions in topological order.

    Every region has a level, and an edge between two regions always leads to a higher level, so the graph of regions
    has no cycles, whatever is merged. A node joins the regions of its operands that are on the highest level among
    them.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.region: dict[Node, int] = {}
        self.members: dict[int, list[Node]] = {}
        self.level: dict[int, int] = {}

    def add(self, node: Node) -> None:
        level = 0
        joined: list[int] = []
        for v in node.inputs:
            if v.node is None or is_scalar_constant(v):
                continue
            r = self.region[v.node]
            # A region is one loop: only a fusible operand of the same shape can be in the same one.
            if fusible(node) and fusible(v.node) and v.shape == node.output.shape:
                level = max(level, self.level[r])
                joined.append(r)
            else:
                level = max(level, self.level[r] + 1)
        joined = [r for r in dict.fromkeys(joined) if self.level[r] == level]
        number = len(self.region)
        self.region[node] = number
        self.members[number] = [node]
        if self._too_large(joined, node):
            joined, level = [], level + 1
        self.level[number] = level
        for r in joined:
            self._merge(r, number)

    def _too_large(self, joined: list[int], node: Node) -> bool:
        if not joined:
            return False
        nodes = [n for r in joined for n in self.members[r]] + [node]
        return len(nodes) > _MAX_NODES or len(region_inputs(nodes)) > _MAX_OPERANDS

    def _merge(self, r: int, into: int) -> None:
        for n in self.members[r]:
            self.region[n] = into
        self.members[into] = self.members.pop(r) + self.members[into]
        del self.level[r]

    def sink(self) -> None:
        """Moves nodes that only later regions use into the first of these: the mask of an activation's derivative, say,
        joins the derivative instead of being stored by the forward pass.

        This makes no cycle: what the node needs cannot depend on the region that needs the node, and other regions that
        need the node are on higher levels than its new one.
        """
        users, results = self.graph.users, self.graph.results
        for node in reversed(self.graph.nodes):
            if not fusible(node) or node.output in results:
                continue
            wanted = {self.region[u] for u in users.get(node.output, ())}
            own = self.region[node]
            if not wanted or own in wanted:
                continue
            target, *others = sorted(wanted, key=lambda r: self.level[r])
            if all(self.level[r] > self.level[target] for r in others) and self._may_sink(node, target):
                self.members[own].remove(node)
                self.members[target].insert(0, node)
                self.region[node] = target

    def _may_sink(self, node: Node, target: int) -> bool:
        members = self.members[target]
        # One loop, one shape; and the region must be a loop.
        if not fusible(members[0]) or members[0].output.shape != node.output.shape:
            return False
        if self._too_large([target], node):
            return False
        # Moving must not make more tensors wait: at most one full-size operand that the region does not read already.
        read = set(region_inputs(members))
        operands = [v for v in dict.fromkeys(node.inputs) if not is_scalar_constant(v)]
        new = [v for v in operands if v.shape == node.output.shape and v not in read]
        return len([v for v in new if v.node is None or self.region[v.node] != target]) <= 1


    def join(self) -> None:
        """Merges regions on one level whose results of one shape are joined along the last axis, so that they can be
        stored in their places. No edge leads from a region to another on its level."""
        for node in self.graph.nodes:
            if node.op.name != "concatenate" or node.attrs["axis"] != node.output.rank - 1:
                continue
            makers = [v.node for v in node.inputs if v.node is not None and fusible(v.node)]
            if len(makers) < len(node.inputs) or len({n.output.shape for n in makers}) > 1:
                continue
            first, *others = dict.fromkeys(self.region[n] for n in makers)
            if any(self.level[r] != self.level[first] for r in others):
                continue
            nodes = [n for r in (first, *others) for n in self.members[r]]
            if len(nodes) <= _MAX_NODES and len(region_inputs(nodes)) <= _MAX_OPERANDS:
                for r in others:
                    self._merge(r, first)


def fuse_elementwise(graph: Graph) -> Graph:
    """`graph` with connected elementwise nodes of one shape fused."""
    regions = _Regions(graph)
    for node in graph.nodes:
        regions.add(node)
    regions.join()
    regions.sink()
    return _rebuild(graph, regions)


def _rebuild(graph: Graph, regions: _Regions) -> Graph:
    """Emits regions in dependency order, those ready first in the order of their last node."""
    new: dict[Value, Value] = {}
    emitted: set[int] = set()
    users = graph.users
    results = graph.results

    def emit(number: int) -> None:
        nodes = sorted(regions.members[number], key=lambda n: n.serial)
        if len(nodes) == 1:
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
        for old, out in zip(outputs, made, strict=True):
            out.name = old.name
            new[old] = out

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
