"""Networks for images, with weights trained on ImageNet."""

from kgraph.applications.densenet import DenseNet121, DenseNet169, DenseNet201
from kgraph.applications.inception_resnet_v2 import InceptionResNetV2
from kgraph.applications.inception_v3 import InceptionV3
from kgraph.applications.injection import keras_modules_injection
from kgraph.applications.mobilenet import MobileNet
from kgraph.applications.mobilenet_v2 import MobileNetV2
from kgraph.applications.nasnet import NASNetLarge, NASNetMobile
from kgraph.applications.resnet50 import ResNet50
from kgraph.applications.vgg16 import VGG16
from kgraph.applications.vgg19 import VGG19
from kgraph.applications.xception import Xception

from kgraph.applications import imagenet_utils, mobilenetv2  # isort: skip

__all__ = [
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "InceptionResNetV2",
    "InceptionV3",
    "MobileNet",
    "MobileNetV2",
    "NASNetLarge",
    "NASNetMobile",
    "ResNet50",
    "VGG16",
    "VGG19",
    "Xception",
    "imagenet_utils",
    "keras_modules_injection",
    "mobilenetv2",
]
