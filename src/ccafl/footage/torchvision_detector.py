"""Detectors of torchvision, trained on COCO."""

from pathlib import Path
from typing import Any

from ccafl.errors import InputError
from ccafl.footage.detections import Detections
from ccafl.footage.frames import Frame

DEFAULT = "fasterrcnn_mobilenet_v3_large_320_fpn"
_PERSON = 1  # of COCO's 91
_LEAST_SCORE = 0.4


def weights_at_hand() -> bool:
    """Whether the weights of `DEFAULT` were downloaded before."""
    import torch
    from torchvision.models import get_model_weights

    weights: Any = get_model_weights(DEFAULT)
    return (Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.DEFAULT.url).name).is_file()


class TorchvisionDetector:
    """A detection model of torchvision, on a GPU if there is one; a `ccafl.footage.detections.Detector`.

    Args:
        name: of the model, such as ``fasterrcnn_resnet50_fpn_v2``.
        weights: a file with its state dict; by default torchvision's own, downloaded once.

    Raises:
        InputError: there is no such model, or its weights cannot be had.
    """

    def __init__(self, name: str = DEFAULT, weights: Path | None = None) -> None:
        import torch
        from torchvision.models import detection, get_model, get_model_weights, list_models

        if name not in list_models(module=detection) or name.startswith("keypoint"):
            models = ", ".join(model for model in list_models(module=detection) if not model.startswith("keypoint"))
            raise InputError(f"torchvision:{name}: no such detector; use one of {models}")
        try:
            model = get_model(name, weights=None, weights_backbone=None)
            if weights is None:
                published: Any = get_model_weights(name)
                state = published.DEFAULT.get_state_dict(
                    progress=False, check_hash=True, map_location="cpu", weights_only=True
                )
            else:
                state = torch.load(weights, map_location="cpu", weights_only=True)
            model.load_state_dict(state)
        except Exception as error:  # no network, no such file, damaged, of another model
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"torchvision:{name}: its weights cannot be had ({reason}); give a file with them, as in "
                f"torchvision:{name}:FILE, or use --detector motion"
            ) from error
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = model.eval().to(self._device)

    def __call__(self, frame: Frame) -> Detections:
        """The persons in the frame."""
        import torch

        pixels = torch.from_numpy(frame.image.copy()).permute(2, 0, 1).to(self._device).float() / 255
        with torch.inference_mode():
            (found,) = self._model([pixels])
        detections = Detections.of(found["boxes"].cpu().numpy(), found["scores"].cpu().numpy())
        return detections.where((found["labels"] == _PERSON).cpu().numpy() & (detections.scores >= _LEAST_SCORE))
