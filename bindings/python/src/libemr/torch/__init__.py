"""libemr.torch - tasks of a bundle in PyTorch: switched into a live module in place, or multiplied by without
weights being written anywhere, for batches whose rows belong to different tasks."""

from .loading import load_into
from .mixed import Batch, Each, Embedding, Linear, Mixed
from .switcher import Switcher

__all__ = ["Batch", "Each", "Embedding", "Linear", "Mixed", "Switcher", "load_into"]
