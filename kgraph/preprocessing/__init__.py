"""Preparing data for models: images, sequences of numbers, text."""

from kgraph import backend, utils
from kgraph.preprocessing import image, sequence, text

__all__ = ["backend", "image", "sequence", "text", "utils"]
