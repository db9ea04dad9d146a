"""The pass manager and the pipelines: explicit tuples, read top to bottom.

Before the passes comes an extracted graph, after them code generation. `KGRAPH_DUMP_IR=dir` writes the graph before the
first and after each pass to `dir/<graph name>/NN_<pass>.txt`; `KGRAPH_CHECK=1` runs it before and after each pass on
random inputs and names the first pass and node that differ (`check.py`).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ir.graph import Graph
from ir.passes.bodies import bind_bodies, deep, trim_bodies
from ir.passes.cse import cse
from ir.passes.dce import dce
from ir.passes.fold_batch_norm import fold_batch_norm
from ir.passes.fuse_conv import fuse_conv
from ir.passes.fuse_elementwise import fuse_elementwise
from ir.passes.fuse_epilogue import fuse_epilogue
from ir.passes.fuse_random import fuse_random
from ir.passes.fuse_reduce import fuse_reduce
from ir.passes.fuse_slices import fuse_slices
from ir.passes.fuse_sums import fuse_sums
from ir.passes.join_slices import join_slices
from ir.passes.layout import layout
from ir.passes.pool_gradients import pool_gradients
from ir.passes.pool_places import pool_places
from ir.passes.scans import hoist_scans, merge_scans
from ir.passes.simplify import simplify
from ir.passes.specialize import specialize
from ir.passes.split_batch_norm import split_batch_norm
from ir.printer import print_graph
from ir.verify import Known, VerifyError, verify

Pass = Callable[[Graph], Graph]
Pipeline = tuple[tuple[str, Pass], ...]
Observer = Callable[[int, str, Graph], None]  # number of the pass (0: before all), its name, the graph after it


def pipeline(phase: int) -> Pipeline:
    """All passes at learning phase 0 (predict, test) or 1 (train), in order."""
    return (
        ("specialize", partial(specialize, phase=phase)),
        ("bind_bodies", bind_bodies),
        ("simplify", deep(simplify)),
        ("cse", deep(cse)),
        ("merge_scans", merge_scans),
        ("join_slices", deep(join_slices)),
        ("hoist_scans", hoist_scans),
        ("trim_bodies", trim_bodies),
        ("fold_batch_norm", fold_batch_norm),
        ("layout", deep(layout)),
        ("split_batch_norm", deep(split_batch_norm)),
        ("simplify_split", deep(simplify)),
        ("pool_gradients", deep(pool_gradients)),
        ("pool_places", deep(pool_places)),
        ("fuse_conv", deep(fuse_conv)),
        ("fuse_elementwise", deep(fuse_elementwise)),
        ("fuse_epilogue", deep(fuse_epilogue)),
        ("fuse_reduce", deep(fuse_reduce)),
        ("fuse_sums", deep(fuse_sums)),
        ("fuse_random", deep(fuse_random)),
        ("fuse_slices", deep(fuse_slices)),
        ("dce", deep(dce)),
    )


PREDICT: Pipeline = pipeline(0)
TEST: Pipeline = pipeline(0)
TRAIN: Pipeline = pipeline(1)


@dataclass(frozen=True)
class PassRecord:
    """What one pass did."""

    name: str
    nodes_before: int
    nodes_after: int
    seconds: float


def run_passes(
    graph: Graph,
    passes: Sequence[tuple[str, Pass]],
    observer: Observer | None = None,
    records: list[PassRecord] | None = None,
) -> Graph:
    """`graph` after `passes`, verified before the first and after each.

    `observer` sees the graph before the first pass (number 0, name `input`) and after each; `records` collects sizes
    and times. Raises VerifyError naming the pass, or CheckError in checking mode.
    """
    observers = [o for o in (observer, _dumper(graph)) if o is not None]
    checking = os.environ.get("KGRAPH_CHECK", "") not in ("", "0")
    known = Known()
    verify(graph, known)
    for observe in observers:
        observe(0, "input", graph)
    for number, (name, run) in enumerate(passes, start=1):
        before, start = graph, time.perf_counter()
        graph = run(before)
        seconds = time.perf_counter() - start
        if records is not None:
            records.append(PassRecord(name, len(before.nodes), len(graph.nodes), seconds))
        for observe in observers:
            observe(number, name, graph)
        if graph is before:
            continue
        try:
            verify(graph, known)
        except VerifyError as e:
            raise VerifyError(f"after pass '{name}': {e}") from e
        if checking:
            from ir.passes.check import check_pass

            check_pass(name, run, before, graph)
    return graph


def _dumper(graph: Graph) -> Observer | None:
    """Writes dumps where the environment asks for them."""
    root = os.environ.get("KGRAPH_DUMP_IR")
    if not root:
        return None
    folder = Path(root) / (re.sub(r"[^\w.\-]|^\.+", "_", graph.name) or "_")
    folder.mkdir(parents=True, exist_ok=True)

    def write(number: int, name: str, graph: Graph) -> None:
        (folder / f"{number:02}_{name}.txt").write_text(print_graph(graph), encoding="utf-8")

    return write
