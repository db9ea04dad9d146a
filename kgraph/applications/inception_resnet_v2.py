"""InceptionResNetV2: Inception blocks, scaled and added to their inputs (Szegedy et al., 2016)."""

from __future__ import annotations

from typing import Any

from kgraph.applications.imagenet_utils import decode_predictions
from kgraph.applications.imagenet_utils import scale_input as preprocess_input
from kgraph.applications.inception_blocks import STEM, Branches, average, conv, convolved, followed, joined, maximum
from kgraph.applications.injection import keras_modules_injection
from kgraph.applications.request import KERNELS, RELEASES, Request, channels_of, weight_files
from kgraph.backend import int_shape
from kgraph.engine.training import Model
from kgraph.layers import Activation, Conv2D, Lambda

__all__ = ["InceptionResNetV2", "decode_predictions", "keras_modules_injection", "preprocess_input"]

_FILES = weight_files(
    RELEASES + "v0.7/",
    "inception_resnet_v2" + KERNELS,
    "e693bd0210a403b3192acc6073ad2e96",
    "d19885ff4a710c122648d3b5c3b684e4",
)


def InceptionResNetV2(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """InceptionResNetV2 for images of 299x299, or at least 75x75 without the classifier. Arguments: see `Request`."""
    request = Request(include_top, weights, input_tensor, input_shape, pooling, classes)
    image = request.image(request.shape(default_size=299, min_size=75))
    x = joined(followed(image, STEM), _MIXED_5B, "mixed_5b")
    for number in range(1, 11):
        x = _added(x, _BLOCK35, 0.17, f"block35_{number}")
    x = joined(x, _MIXED_6A, "mixed_6a")
    for number in range(1, 21):
        x = _added(x, _BLOCK17, 0.1, f"block17_{number}")
    x = joined(x, _MIXED_7A, "mixed_7a")
    for number in range(1, 10):
        x = _added(x, _BLOCK8, 0.2, f"block8_{number}")
    x = _added(x, _BLOCK8, 1.0, "block8_10", relu=False)
    x = convolved(x, 1536, (1, 1), name="conv_7b")
    return request.model(image, request.classified(x), "inception_resnet_v2", _FILES)


def _added(x: Any, branches: Branches, scale: float, name: str, relu: bool = True) -> Any:
    """x + scale * (the branches' outputs, brought to x's channels), and mostly a relu."""
    y = joined(x, branches, f"{name}_mixed")
    y = Conv2D(channels_of(x), (1, 1), padding="same", name=f"{name}_conv")(y)
    x = Lambda(
        lambda inputs, scale: inputs[0] + inputs[1] * scale,
        output_shape=int_shape(x)[1:],
        arguments={"scale": scale},
        name=name,
    )([x, y])
    return Activation("relu", name=f"{name}_ac")(x) if relu else x


_MIXED_5B: Branches = (
    (conv(96, 1, 1),),
    (conv(48, 1, 1), conv(64, 5, 5)),
    (conv(64, 1, 1), conv(96, 3, 3), conv(96, 3, 3)),
    (average, conv(64, 1, 1)),
)
_BLOCK35: Branches = (
    (conv(32, 1, 1),),
    (conv(32, 1, 1), conv(32, 3, 3)),
    (conv(32, 1, 1), conv(48, 3, 3), conv(64, 3, 3)),
)
_MIXED_6A: Branches = (
    (conv(384, 3, 3, stride=2),),
    (conv(256, 1, 1), conv(256, 3, 3), conv(384, 3, 3, stride=2)),
    (maximum,),
)
_BLOCK17: Branches = ((conv(192, 1, 1),), (conv(128, 1, 1), conv(160, 1, 7), conv(192, 7, 1)))
_MIXED_7A: Branches = (
    (conv(256, 1, 1), conv(384, 3, 3, stride=2)),
    (conv(256, 1, 1), conv(288, 3, 3, stride=2)),
    (conv(256, 1, 1), conv(288, 3, 3), conv(320, 3, 3, stride=2)),
    (maximum,),
)
_BLOCK8: Branches = ((conv(192, 1, 1),), (conv(192, 1, 1), conv(224, 1, 3), conv(256, 3, 1)))
