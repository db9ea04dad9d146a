"""MobileNetV2 under the older name of its module."""

from kgraph.applications.mobilenet_v2 import (
    MobileNetV2,
    decode_predictions,
    keras_modules_injection,
    preprocess_input,
)

__all__ = ["MobileNetV2", "decode_predictions", "keras_modules_injection", "preprocess_input"]
