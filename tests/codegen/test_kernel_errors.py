"""A kernel that cannot be compiled says which node and layer it was for."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.cache import KernelCache
from codegen.cpu.program import CpuProgram
from codegen.launch import Launch, Read, Write
from codegen.schedule import schedule
from codegen.source import Kernel, KernelError
from ir import builder as b
from ir.extract import extract
from ir.types import tensor

BROKEN = "def kernel(args, lo, hi, worker):\n    x = f32p(slots(args)[0])\n    x[0] = no_such_function(x[0])\n"


def test_message_names_node_and_layer(cache: KernelCache) -> None:
    x = b.input_value(tensor("f32", 3), "x")
    with b.origin(("model_1", "dense_7")):
        y = b.unary("tanh", x)
    graph = extract("broken", [x], [y])
    program = CpuProgram(
        schedule(
            graph,
            lambda node, ctx: [
                Launch(Kernel("bad", BROKEN), (Read(ctx.buffer(node.inputs[0])), Write(ctx.buffer(node.output))), 1)
            ],
        ),
        cache,
    )
    with pytest.raises(KernelError) as error:
        program.run([np.zeros(3, np.float32)])
    message = str(error.value)
    assert "kernel bad" in message and "tanh(%x)" in message and "dense_7" in message
    assert "no_such_function" in message
