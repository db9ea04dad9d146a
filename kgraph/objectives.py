"""The module of losses under its Keras 1 name."""

from kgraph.losses import *  # noqa: F403
