"""Data parallel models: replicas that share their weights, each of which takes a part of every batch.

Built from layers alone: a `Lambda` cuts out each replica's part of the batch, and the parts' outputs are put together
again along the batch axis. `engine/saving.py` saves the model that was replicated.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from kgraph import backend as K
from kgraph.engine.training import Model
from kgraph.layers import Lambda, concatenate
from kgraph.models import clone_model
from kgraph.utils.generic_utils import to_list

__all__ = ["multi_gpu_model"]


def _available_devices() -> list[str]:
    """The devices of the current target: for the CPU each core that this process may use counts as one."""
    from codegen.cpu.threads import usable_cpus

    return [f"/cpu:{i}" for i in range(usable_cpus())]


def _part(data: Any, i: int, parts: int) -> Any:
    """Rows of part number `i` of a batch; the last part takes what is left over."""
    shape = K.shape(data)
    batch, rest = shape[:1], shape[1:]
    step = batch // parts
    size = batch - step * i if i == parts - 1 else step
    return K.slice(data, K.concatenate([step * i, rest * 0], axis=0), K.concatenate([size, rest], axis=0))


def multi_gpu_model(model: Any, gpus: Any = None, cpu_merge: bool = True, cpu_relocation: bool = False) -> Any:
    """A model that shares out each batch among replicas of `model`, which share its weights.

    On the CPU, the replicas are parts of one program, and each core counts as a device. Files and pickles of the
    result hold `model` itself, with the training configuration and the optimizer's state of the result.

    # Arguments
        model: the model to replicate.
        gpus: number of replicas, at least 2, or a list of numbers of devices; None for one on each device.
        cpu_merge: whether to put the outputs together on the CPU; it is always done so there.
        cpu_relocation: whether to replicate a copy of the model with new weights in place of the model itself.

    # Returns
        A model, not compiled, with the inputs of `model`.

    # Raises
        ValueError: for fewer than two replicas, or more than there are devices.
    """
    available = _available_devices()
    if not gpus:
        gpus = len(available)
    if isinstance(gpus, (list, tuple)):
        if len(gpus) <= 1:
            raise ValueError(
                "For multi-gpu usage to be effective, call `multi_gpu_model` with `len(gpus) >= 2`. "
                f"Received: `gpus={gpus}`"
            )
        numbers = list(gpus)
    else:
        if gpus <= 1:
            raise ValueError(
                f"For multi-gpu usage to be effective, call `multi_gpu_model` with `gpus >= 2`. Received: `gpus={gpus}`"
            )
        numbers = list(range(gpus))
    wanted = [f"/cpu:{i}" for i in numbers]
    if not set(wanted) <= set(available):
        raise ValueError(
            f"To call `multi_gpu_model` with `gpus={gpus}`, we expect the following devices to be available: {wanted}. "
            f"However this machine only has: {available}. Try reducing `gpus`."
        )
    if cpu_relocation:
        model = clone_model(model)

    outputs: list[list[Any]] = [[] for _ in model.outputs]
    for i, number in enumerate(numbers):
        with K.name_scope(f"replica_{number}"):
            parts = [
                Lambda(_part, output_shape=K.int_shape(x)[1:], arguments={"i": i, "parts": len(numbers)})(x)
                for x in model.inputs
            ]
            made = to_list(model(parts if len(parts) > 1 else parts[0]), allow_tuple=True)
            for collected, x in zip(outputs, made, strict=True):
                collected.append(x)
    merged = [
        concatenate(parts, axis=0, name=name)
        for name, parts in zip(_distinct(model.output_names), outputs, strict=True)
    ]
    parallel = Model(model.inputs, merged)
    parallel._template = model
    return parallel


def _distinct(names: list[str]) -> list[str]:
    """The names, with numbers behind those that occur several times."""
    total, seen = Counter(names), Counter[str]()
    found = []
    for name in names:
        seen[name] += 1
        found.append(name if total[name] == 1 else f"{name}_{seen[name]}")
    return found
