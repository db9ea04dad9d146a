"""InceptionV3: blocks of branches with convolutions of several sizes (Szegedy et al., 2015)."""

from __future__ import annotations

from typing import Any

from kgraph.applications.imagenet_utils import decode_predictions
from kgraph.applications.imagenet_utils import scale_input as preprocess_input
from kgraph.applications.inception_blocks import STEM, Branches, average, conv, followed, fork, joined, maximum
from kgraph.applications.injection import keras_modules_injection
from kgraph.applications.request import KERNELS, RELEASES, Request, weight_files
from kgraph.engine.training import Model

__all__ = ["InceptionV3", "decode_predictions", "keras_modules_injection", "preprocess_input"]

_FILES = weight_files(
    RELEASES + "v0.5/",
    "inception_v3" + KERNELS,
    "9a0d58056eeedaa3f26cb7ebd46da564",
    "bcbd6486424b2319ff4ef7d526e38f63",
)


def InceptionV3(
    include_top: bool = True,
    weights: str | None = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = 1000,
) -> Model:
    """InceptionV3 for images of 299x299, or at least 75x75 without the classifier. Arguments: see `Request`."""
    request = Request(include_top, weights, input_tensor, input_shape, pooling, classes)
    image = request.image(request.shape(default_size=299, min_size=75))
    x = followed(image, STEM)
    for number, branches in enumerate(_BLOCKS):
        x = joined(x, branches, f"mixed{number}")
    return request.model(image, request.classified(x), "inception_v3", _FILES)


def _small(pooled: int) -> Branches:
    """With 5x5 convolutions."""
    return (
        (conv(64, 1, 1),),
        (conv(48, 1, 1), conv(64, 5, 5)),
        (conv(64, 1, 1), conv(96, 3, 3), conv(96, 3, 3)),
        (average, conv(pooled, 1, 1)),
    )


def _middle(inner: int) -> Branches:
    """With 7x7 convolutions, as pairs of 1x7 and 7x1, of `inner` filters between the branch's ends."""
    return (
        (conv(192, 1, 1),),
        (conv(inner, 1, 1), conv(inner, 1, 7), conv(192, 7, 1)),
        (conv(inner, 1, 1), conv(inner, 7, 1), conv(inner, 1, 7), conv(inner, 7, 1), conv(192, 1, 7)),
        (average, conv(192, 1, 1)),
    )


def _wide(name: str) -> Branches:
    """With 1x3 and 3x1 convolutions beside each other."""
    both = ((conv(384, 1, 3),), (conv(384, 3, 1),))
    return (
        (conv(320, 1, 1),),
        (conv(384, 1, 1), fork(both, name)),
        (conv(448, 1, 1), conv(384, 3, 3), fork(both)),
        (average, conv(192, 1, 1)),
    )


_BLOCKS: tuple[Branches, ...] = (
    _small(32),
    _small(64),
    _small(64),
    ((conv(384, 3, 3, stride=2),), (conv(64, 1, 1), conv(96, 3, 3), conv(96, 3, 3, stride=2)), (maximum,)),
    _middle(128),
    _middle(160),
    _middle(160),
    _middle(192),
    (
        (conv(192, 1, 1), conv(320, 3, 3, stride=2)),
        (conv(192, 1, 1), conv(192, 1, 7), conv(192, 7, 1), conv(192, 3, 3, stride=2)),
        (maximum,),
    ),
    _wide("mixed9_0"),
    _wide("mixed9_1"),
)
