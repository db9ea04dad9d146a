"""All convolution layers and those that change spatial sizes, under the names that Keras gives them.

They are written in `convolution.py`, `convolution_transposed.py`, `convolution_separable.py` and `resizing.py`; pooling
is in `pooling.py`. Samples are (samples, *spatial, channels), or (samples, channels, *spatial) with `data_format`
"channels_first"; kernels are (*spatial, channels in, channels out) in both.
"""

from __future__ import annotations

from kgraph.engine.base_layer import InputSpec, Layer
from kgraph.layers.convolution import Conv1D, Conv2D, Conv3D, _Conv
from kgraph.layers.convolution_separable import DepthwiseConv2D, SeparableConv1D, SeparableConv2D, _SeparableConv
from kgraph.layers.convolution_transposed import Conv2DTranspose, Conv3DTranspose
from kgraph.layers.pooling import (
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from kgraph.layers.resizing import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from kgraph.legacy.layers import AtrousConvolution1D, AtrousConvolution2D
from kgraph.utils.generic_utils import transpose_shape

Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution3D = Conv3D
SeparableConvolution1D = SeparableConv1D
SeparableConvolution2D = SeparableConv2D
Convolution2DTranspose = Conv2DTranspose
Deconvolution2D = Deconv2D = Conv2DTranspose
Deconvolution3D = Deconv3D = Conv3DTranspose
AtrousConv1D = AtrousConvolution1D
AtrousConv2D = AtrousConvolution2D

__all__ = [
    "AtrousConv1D", "AtrousConv2D", "AtrousConvolution1D", "AtrousConvolution2D", "AveragePooling1D",
    "AveragePooling2D", "AveragePooling3D", "Conv1D", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose",
    "Convolution1D", "Convolution2D", "Convolution2DTranspose", "Convolution3D", "Cropping1D", "Cropping2D",
    "Cropping3D", "Deconv2D", "Deconv3D", "Deconvolution2D", "Deconvolution3D", "DepthwiseConv2D", "InputSpec", "Layer",
    "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "SeparableConv1D", "SeparableConv2D", "SeparableConvolution1D",
    "SeparableConvolution2D", "UpSampling1D", "UpSampling2D", "UpSampling3D", "ZeroPadding1D", "ZeroPadding2D",
    "ZeroPadding3D", "_Conv", "_SeparableConv", "transpose_shape",
]  # fmt: skip
