"""Encoders turn pictures into features: a trained run, or its export without torch.

::

    from ccafl.encoders import open_encoder

    features = open_encoder(Path("model.onnx")).encode([picture]).features
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ccafl.encoders.encoder import Encoded, PictureEncoder, open_encoder

__all__ = ["Encoded", "PictureEncoder", "open_encoder"]


def __getattr__(name: str) -> Any:
    """Imported on first use: the command line's help needs none of it."""
    if name in __all__:
        return getattr(import_module("ccafl.encoders.encoder"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
