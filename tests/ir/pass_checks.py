"""What tests of every pass check: the graph after it verifies and computes the same, the one before is untouched."""

from __future__ import annotations

from collections.abc import Callable

from ir.graph import Graph
from ir.parser import parse
from ir.passes.check import check_pass
from ir.printer import print_graph
from ir.verify import verify

Run = Callable[[Graph], Graph]


def apply(run: Run, before: Graph) -> Graph:
    """`run(before)`, checked; nothing is compared with a golden text."""
    text = print_graph(before)
    after = run(before)
    verify(after)
    check_pass(getattr(run, "__name__", "pass"), run, before, after)
    assert print_graph(before) == text, "a pass must not change its operand"
    assert parse(print_graph(after)) == after
    return after


def apply_text(run: Run, text: str) -> Graph:
    return apply(run, parse(text))


def ops(graph: Graph) -> list[str]:
    """The names of the ops in order, constants left out."""
    return [n.op.name for n in graph.nodes if n.op.name != "constant"]
