"""A trained run, or weights that nothing has trained for re-ID, as an encoder."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.model import CLIP
from PIL import Image

from ccafl.encoders.encoder import Encoded
from ccafl.errors import InputError
from ccafl.evaluation.embedder import load_model, named_weights
from ccafl.model.clip import load_clip
from ccafl.model.text import encode_sentences, tokenized


class TorchEncoder:
    """An encoder on a GPU if there is one; a `ccafl.encoders.encoder.PictureEncoder`.

    Args:
        model: a run's folder, or an architecture with weights.

    Raises:
        InputError: it is neither a run that has trained nor weights that can be had.
    """

    def __init__(self, model: Path | str) -> None:
        weights = named_weights(model)
        self._embedder = load_model(model, fast=True)
        self.fingerprint = self._embedder.fingerprint()
        self.place: Path | str = str(weights) if weights else Path(model).resolve()
        self.name = str(weights) if weights else Path(model).resolve().name
        self.runtime = f"torch, {self._embedder.device.type}"
        self.dim = self._embedder.dim
        self.describes = self._embedder.describes
        self.text_dim = self._embedder.image_text_dim if self.describes else None
        self.camera_names = self._embedder.camera_names
        settings = self._embedder.config.model
        self.takes_cameras = settings.camera_norm or settings.camera_embedding
        self.calibration, self.drawn = self._embedder.calibration, self._embedder.drawn

    def encode(self, pictures: Sequence[Image.Image], cameras: Sequence[str] | None = None) -> Encoded:
        """Features of pictures, one forward pass per batch."""
        if not self.describes:
            return Encoded(self._embedder.embed(pictures, cameras).numpy(), None)
        features, image_text = self._embedder.embed_both(pictures, cameras)
        return Encoded(features.contiguous().numpy(), image_text.contiguous().numpy())

    def encode_text(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Features of sentences, truncated if too long: (n, E), L2-normalised.

        Raises:
            InputError: the run has no trained text tower, or its weights are no longer available.
        """
        if self.text_dim is None:
            raise InputError(f"{self.place}: has no trained text tower; search by picture")
        if not sentences:
            return np.empty((0, self.text_dim), np.float32)
        clip = self._clip
        with torch.no_grad():
            tokens = tokenized(sentences, clip.context_length).to(self._embedder.device)
            features: NDArray[np.float32] = F.normalize(encode_sentences(clip, tokens)).cpu().numpy()
        return features

    @cached_property
    def _clip(self) -> CLIP:
        """The CLIP that training started from, or the untrained one itself; the text tower is never trained."""
        model = self._embedder.config.model
        clip = load_clip(model.architecture, model.weights, quick_gelu=model.quick_gelu)
        del clip.visual  # the embedder has its own
        return clip.to(self._embedder.device).eval()
