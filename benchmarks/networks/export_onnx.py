"""Writes the PyTorch model of a prediction as `model.onnx`, with a softmax; runs where torch and onnx are installed."""

from __future__ import annotations

import os

from benchmarks.networks.with_torch import model_and_images
from benchmarks.networks.workloads import WORKLOADS


def main(name: str, folder: str) -> None:
    import torch

    model, images = model_and_images(WORKLOADS[name])
    whole = torch.nn.Sequential(model, torch.nn.Softmax(dim=1)).to(memory_format=torch.contiguous_format).eval()
    torch.onnx.export(whole, (images.contiguous(),), os.path.join(folder, "model.onnx"))
