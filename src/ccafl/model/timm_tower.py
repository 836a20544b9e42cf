"""Any image model of timm as a backbone: an image tower without a text tower. Not in the paper."""

import difflib
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ccafl.data.transforms import MEAN, STD
from ccafl.errors import InputError
from ccafl.model.downloads import downloaded, hub_address
from ccafl.model.gem import GeM
from ccafl.model.tower import Size, Tower
from ccafl.model.weights import check_fit, first_line, read_weights

_PREFIX = "timm/"
_PRETRAINED = "pretrained"  # the weights of the tag in the architecture's name, or else of its default tag


class TimmTower(Tower):
    """A timm model without its classifier.

    GeM pools a model's last feature map; a token model (ViT) pools as in timm, mostly by its class token. GeM clamps
    negative values, so it suits maps that end in a ReLU, such as a ResNet's.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, architecture: str, weights: str | None, image_size: Size, last_stride: int = 1) -> None:
        """Build the model and load its weights.

        Args:
            architecture: "timm/" and a name that timm knows ("timm/resnet50", "timm/resnet50.a1_in1k").
            weights: None for random ones; "pretrained" or a pretrained tag of the model ("a1_in1k"), downloaded where
                it is not cached; or the path of a .safetensors file or a saved state dict.
            image_size: (height, width) of the images it will see.
            last_stride: 1 dilates the last stage instead of striding; 2 keeps its stride. A token model has no stages.

        Raises:
            InputError: timm is missing, an unknown name or tag, weights that are not available or do not fit, an image
                size the model does not take, or a last stride that cannot be removed.
        """
        super().__init__()
        self.image_size = image_size
        self.model, dilated = _model(architecture, weights, dilate=last_stride == 1)
        self._channels_last = getattr(self.model, "output_fmt", "NCHW") == "NHWC"
        self.has_map, self.reid_dim = self._probed(architecture)
        if self.has_map:
            if last_stride == 1 and not dilated:
                raise InputError(f"{architecture}: its last stride cannot be removed; set model.last_stride=2")
            self.gem = GeM()
        _split_norms(self.model)
        own = self.model.pretrained_cfg
        mean, std, own_mean, own_std = (torch.tensor(c)[:, None, None] for c in (MEAN, STD, own["mean"], own["std"]))
        self.register_buffer("scale", std / own_std)  # from our normalisation to the model's own
        self.register_buffer("shift", (mean - own_mean) / own_std)

    def forward(self, images: Tensor, image_text: bool) -> tuple[Tensor, None]:
        if self.has_map:
            return self.gem(self.feature_map(images)), None
        tokens = self.model.forward_features(images * self.scale + self.shift)
        return self.model.forward_head(tokens, pre_logits=True), None

    def feature_map(self, images: Tensor) -> Tensor:
        if not self.has_map:
            return super().feature_map(images)
        features: Tensor = self.model.forward_features(images * self.scale + self.shift)
        return features.permute(0, 3, 1, 2) if self._channels_last else features

    @torch.no_grad()
    def _probed(self, architecture: str) -> tuple[bool, int]:
        """Whether the model gives a feature map, and the size of its feature, found by running it once."""
        height, width = self.image_size
        self.model.eval()
        try:
            if hasattr(self.model, "set_input_size"):
                self.model.set_input_size(img_size=self.image_size)
            features = self.model.forward_features(torch.zeros(1, 3, height, width))
            if features.ndim == 4:
                return True, features.shape[3 if self._channels_last else 1]
            return False, self.model.forward_head(features, pre_logits=True).shape[1]
        except Exception as error:  # every model refuses an input in its own way
            raise InputError(
                f"{architecture}: gives no features of {height}x{width} images ({first_line(error)}); "
                "set another model.image_size or model.architecture"
            ) from error
        finally:
            self.model.train()


def _model(architecture: str, weights: str | None, *, dilate: bool) -> tuple[Any, bool]:
    """The model without its classifier, at its own image size, and whether its last stage is dilated."""
    try:
        import timm
    except ImportError as error:
        raise InputError(f'{architecture}: needs timm; pip install "ccafl[timm]"') from error
    name = architecture.removeprefix(_PREFIX)
    _check_name(timm, architecture, name)
    options: dict[str, Any] = {"num_classes": 0} | ({"output_stride": 16} if dilate else {})
    try:
        model = timm.create_model(name, **options)
    except (TypeError, AssertionError, NotImplementedError):  # it cannot be dilated
        if not options.pop("output_stride", None):
            raise
        model = timm.create_model(name, **options)
    if weights is not None:
        tagged = name if weights == _PRETRAINED else f"{name.partition('.')[0]}.{weights}"
        if timm.is_model_pretrained(tagged):
            model = _pretrained(timm, tagged, architecture, options)
        else:
            _fill(model, _file(timm, architecture, weights), architecture)
    return model, "output_stride" in options


def _check_name(timm: Any, architecture: str, name: str) -> None:
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.partition(".")[0], timm.list_models(), n=5) or ["resnet50"]
        choice = ", ".join(_PREFIX + model for model in near)
        raise InputError(f"{architecture}: timm knows no such model; choose one like {choice}")
    if "." in name and not timm.is_model_pretrained(name):
        raise InputError(f"{architecture}: no such pretrained tag; {_choice(timm, name)}")


def _pretrained(timm: Any, tagged: str, architecture: str, options: dict[str, Any]) -> Any:
    """The model with the weights of a tag, from the cache or the network."""
    try:
        make = partial(timm.create_model, tagged, pretrained=True, **options)
        return downloaded(make, f"the weights of {architecture}", hub_address())
    except Exception as error:  # without a network, three libraries raise many kinds of error
        raise InputError(
            f"{tagged}: the weights of {architecture} could not be downloaded ({first_line(error)}); "
            "check the network, or fetch the file elsewhere and give its path"
        ) from error


def _file(timm: Any, architecture: str, weights: str) -> Path:
    path = Path(weights)
    if path.is_file():
        return path
    if path.is_dir():
        raise InputError(f"{weights}: is a folder; give the weights file in it")
    choice = _choice(timm, architecture.removeprefix(_PREFIX))
    raise InputError(f"{weights}: no such file, nor a pretrained tag of {architecture}; give a file, or {choice}")


def _choice(timm: Any, name: str) -> str:
    base = name.partition(".")[0]
    tags = [tagged.partition(".")[2] for tagged in timm.list_models(f"{base}.*", pretrained=True)]
    return f"choose {_PRETRAINED} or one of its tags: {', '.join(tags)}" if tags else "start from random weights (null)"


def _fill(model: Any, path: Path, architecture: str) -> None:
    """Load a file's weights, except the classifier's."""
    classifier = model.pretrained_cfg["classifier"] or ()
    heads = tuple(f"{head}." for head in ((classifier,) if isinstance(classifier, str) else classifier))
    own = model.state_dict()
    state = {key: value for key, value in read_weights(path).items() if key in own or not key.startswith(heads)}
    check_fit(state, own, path, architecture)
    model.load_state_dict(state)


def _split_norms(module: nn.Module) -> None:
    """Split timm's norm-activation layers into a batch norm and an activation, so that the norm can be replaced."""
    from timm.layers import BatchNormAct2d

    for name, child in module.named_children():
        if not isinstance(child, BatchNormAct2d):
            _split_norms(child)
            continue
        norm = nn.BatchNorm2d(child.num_features, child.eps, child.momentum)
        norm.load_state_dict({key: value for key, value in child.state_dict().items() if "." not in key})
        setattr(module, name, nn.Sequential(norm, child.drop, child.act))
