"""A video of two persons made of blocks (`block_people`)."""

from block_people import filmed

__all__ = ["filmed"]
