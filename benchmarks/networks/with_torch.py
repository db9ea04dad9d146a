"""The workloads on PyTorch: convolutions in channels-last memory, fused optimizers, one number read per step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.networks.workloads import WORKLOADS, Workload, data


def load(threads: int) -> str:
    import torch

    torch.set_num_threads(threads)
    return str(torch.__version__)


def model_and_images(workload: Workload) -> tuple[Any, Any]:
    """The network and a batch of images, both with channels last in memory."""
    import torch

    from benchmarks.networks import torch_models

    model = torch_models.NETWORKS[workload.network]().to(memory_format=torch.channels_last)
    images = torch.from_numpy(data(workload)[0])
    return model, images.permute(0, 3, 1, 2) if images.ndim == 4 else images


def prepare(name: str, threads: int) -> Callable[[], Any]:
    return prepare_with(name, lambda model: model)


def prepare_with(name: str, optimise: Callable[[Any], Any]) -> Callable[[], Any]:
    """One step of a workload, with `optimise(model)` instead of the model."""
    workload = WORKLOADS[name]
    model, images = model_and_images(workload)
    if workload.task == "predict":
        return _predict(optimise(model.eval()), images)
    return _train(workload, model, optimise(model), images)


def _predict(model: Any, images: Any) -> Callable[[], Any]:
    import torch

    def step() -> Any:
        with torch.inference_mode():
            return torch.nn.functional.softmax(model(images), dim=1).numpy()

    return step


def _train(workload: Workload, model: Any, run: Any, images: Any) -> Callable[[], Any]:
    import torch

    from benchmarks.networks import torch_models

    optimizer = torch_models.OPTIMIZERS[workload.network](model.parameters())
    labels = torch.from_numpy(data(workload)[1].argmax(axis=1))

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(run(images), labels)
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step
