"""The former place of `ccafl.encoders.encoder`."""

from ccafl.encoders.encoder import Encoded, PictureEncoder, open_encoder

__all__ = ["Encoded", "PictureEncoder", "open_encoder"]
