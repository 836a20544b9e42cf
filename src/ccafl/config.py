"""The settings of a run, typed and strict: an unknown or ill-typed key is an error.

The defaults are the paper's for Market-1501 (section IV; where it is silent, the authors' code). The shipped files in
``configs/`` hold what differs for a data set. Constants that no run changes, such as ImageNet's mean colour, are
defined where they are used.
"""

import re
import reprlib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ccafl.errors import InputError

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]


CHANGE_NO_RESULT = (
    "paper",  # names a row of the ablation
    "data.workers",
    "data.cache_mb",
    "data.cache_disk_mb",
    "runtime.accelerator",  # these four but for rounding
    "runtime.devices",
    "runtime.nodes",
    "runtime.extraction_batch",
    "runtime.evaluate_every",  # how often a run is measured; of the epochs measured, the best is kept as best.pt
)
"""Settings with which a run may go on that began with others: where and how fast it computes, not what."""


_DEEPEST = 20  # levels of nesting
_LARGEST = 1 << 20  # bytes of a file


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Model(_Settings):
    """The network (docs/method.md, 2)."""

    architecture: str = "RN50"  # tiny, clip-synth, a CLIP of open_clip, or timm/NAME, which has no text tower
    weights: str | None = "openai"  # a tag of open_clip or timm, shipped, pretrained (timm), a file, or null for random
    quick_gelu: bool | None = None  # null: whichever the weights were trained with
    image_size: tuple[Count, Count] = Field(default=(256, 128), strict=False)  # height, width in pixels
    last_stride: Literal[1, 2] = 1
    camera_norm: bool = False  # batch norms keep separate statistics for each camera (not in the paper)
    camera_embedding: bool = False  # a ViT's class token starts from a learned vector of its camera (not in the paper)
    patch_stride: Count | None = None  # pixels from one patch of a ViT to the next; null: patches touch
    patch_frozen: bool = False  # a ViT's patch projection is not trained
    normalisation: Literal["imagenet", "half"] = "imagenet"  # mean and deviation of the input; half: 0.5, a ViT's
    template: str = "A photo of a {} person."
    prompt_tokens: Count = 4


class Data(_Settings):
    """Augmentation, loading, and what people know of labels and cameras."""

    flip: Share = 0.5
    pad: NotNegative = 10  # pixels on each side before the random crop
    erase: Share = 0.5
    cache_mb: NotNegative = 4096  # decoded, resized images are kept in memory if they all fit in this,
    cache_disk_mb: NotNegative = 16384  # otherwise in a temporary file in the run's folder if they fit in this
    workers: NotNegative = 4  # threads that load ahead; 0 loads between steps
    links: str | None = None  # a table of people's corrections for the association (unused in mode supervised)
    topology: str | None = None  # a table of which cameras share persons, likewise


class Stage1(_Settings):
    """Prompt learning (docs/method.md, 3)."""

    epochs: NotNegative = 60
    batch_size: Count = 64
    learning_rate: Positive = 3.5e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    warmup_epochs: NotNegative = 5
    warmup_learning_rate: Positive = 1e-5
    final_learning_rate: Positive = 1e-6


class IntraCamera(_Settings):
    """Intra-camera discriminative learning (docs/method.md, 4.1)."""

    epochs: NotNegative = 5
    centre_weight: Share = 0.6  # lambda
    instances: Count = 32  # K, instance features per identity
    bfloat16_instances: bool = False  # they take half the memory
    temperature: Positive = 0.05
    momentum: Share = 0.1
    text: bool = True  # use the text loss
    batch_cameras: Count | None = None  # cameras in a batch; null: any number


class Association(_Settings):
    """Cross-camera association (docs/method.md, 4.2). All but a fixed rate is not in the paper."""

    rate: Positive | Literal["auto"] = 1.7  # pairs considered per identity; auto: as many as are probably right
    least_precision: Share = 0.0  # where the estimate of auto is below, the epoch goes on camera by camera
    centred_by_camera: bool = False  # subtract each camera's mean feature first
    one_camera_once: bool = False  # a joined identity has at most one label from each camera
    tracks: bool = False  # labels that are tracks join within their camera first, unless they overlap in time


class InterCamera(_Settings):
    """Inter-camera learning (docs/method.md, 4.3)."""

    temperature: Positive = 0.05
    momentum: Share = 0.1
    text_from: NotNegative | None = 10  # first epoch with the text loss; null: never
    batch_cameras: Count | None = None  # cameras in a batch; null: any number
    alone: bool = False  # identities left alone go on learning within their camera (not in the paper)


class Adversarial(_Settings):
    """Inter-camera adversarial learning (docs/method.md, 4.4) in epochs first <= e < last; equal bounds turn it off."""

    first_epoch: NotNegative = 40
    last_epoch: NotNegative = 50
    margin: Annotated[float, Field(ge=0, lt=3.14)] = 0.7
    epsilon: Share = 0.8
    boost: float = 0.2
    scale: Positive = 16.0


class Stage2(_Settings):
    """Training the image encoder (docs/method.md, 4)."""

    epochs: Count = 80
    steps_per_epoch: Count = 200
    identities: Count = 16  # P, identities per batch
    images: Count = 8  # K, images per identity
    feature_age: NotNegative = 0  # epochs for which an image's feature from a step or a start is used again (paper: 0)
    draw: Literal["accumulated", "associated"] = "accumulated"  # whose images a batch holds, once associated
    learning_rate: Positive = 3.5e-4
    bias_learning_rate_factor: Positive = 2.0
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    warmup_epochs: NotNegative = 10
    warmup_factor: Share = 0.01
    milestones: tuple[NotNegative, ...] = Field(default=(40, 50), strict=False)
    milestone_factor: Positive = 0.1
    triplet_margin: Positive = 0.3
    label_smoothing: Share = 0.1
    classifier_learning_rate: Positive = 3.5e-4
    classifier_weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    intra_camera: IntraCamera = IntraCamera()
    association: Association = Association()
    inter_camera: InterCamera = InterCamera()
    adversarial: Adversarial = Adversarial()

    @property
    def text_losses(self) -> bool:
        """Whether any phase may have a text loss."""
        return self.intra_camera.text or self.inter_camera.text_from is not None


class Runtime(_Settings):
    """Device, precision and processes, in Lightning Fabric's terms, and how often a run is evaluated."""

    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: Count = 1
    precision: Literal["auto", "32-true", "16-mixed", "bf16-mixed"] = "auto"
    evaluate_every: NotNegative = 10  # epochs between evaluations on query and gallery; 0: at the end only
    extraction_batch: Count = 256


class Config(_Settings):
    """Everything a run depends on except its data.

    ``mode`` ``ccafl`` is the method; ``intra`` never associates (a lower bound); ``supervised`` uses the true persons
    in place of the association, with text and ICAL as configured (an upper bound); ``precise_ics`` is the peer method.

    ``paper`` names the configuration with the paper's recipe for this data: row ``ccafl_paper`` of an ablation. It has
    no effect on training.
    """

    mode: Literal["ccafl", "intra", "supervised", "precise_ics"] = "ccafl"
    paper: str | None = None
    seed: NotNegative = 0
    model: Model = Model()
    data: Data = Data()
    stage1: Stage1 = Stage1()
    stage2: Stage2 = Stage2()
    runtime: Runtime = Runtime()

    @model_validator(mode="after")
    def _image_large_enough(self) -> "Config":
        if min(self.model.image_size) < 16:
            raise ValueError("model.image_size: each side must be at least 16 pixels")
        return self


def shipped() -> list[str]:
    """Names of the configurations shipped with the package."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in resources.files("ccafl.configs").iterdir()
        if entry.name.endswith(".yaml")
    )


def load_config(name_or_path: str, overrides: list[str] | None = None) -> Config:
    """Read a shipped configuration by name, or a YAML file, then apply ``key.path=value`` overrides.

    ``one+other`` applies the settings of ``other`` on top of those of ``one``.

    Raises:
        InputError: no such configuration, not YAML, an unknown key, a value of the wrong type.
    """
    names = name_or_path.split("+") if "+" in name_or_path and not Path(name_or_path).is_file() else [name_or_path]
    return validated(settings_of(names, overrides), name_or_path)


def settings_of(names: Iterable[str], overrides: Iterable[str] | None = None) -> dict[str, Any]:
    """What configurations, each on top of those before, and then overrides say: nested as in YAML, values unchecked.

    Raises:
        InputError: no such configuration, not YAML, or an override that is not of the form ``key.path=value``.
    """
    settings: dict[str, Any] = {}
    for name in names:
        settings = _laid_over(settings, _read(name))
    for override in overrides or []:
        _override(settings, override)
    return settings


def merged(config: Config, name_or_path: str) -> Config:
    """``config`` with the settings of another configuration on top."""
    return changed(config, _read(name_or_path), name_or_path)


def changed(config: Config, settings: dict[str, Any], where: str = "settings") -> Config:
    """``config`` with some settings, nested as in YAML, replaced; errors name ``where``."""
    return validated(_laid_over(config.model_dump(), settings), where)


def _laid_over(settings: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = settings | other
    for key in settings.keys() & other.keys():
        if isinstance(settings[key], dict) and isinstance(other[key], dict):
            both[key] = _laid_over(settings[key], other[key])
    return both


def _read(name_or_path: str) -> dict[str, Any]:
    """The settings that a configuration gives, unchecked."""
    path = Path(name_or_path)
    if name_or_path in shipped():
        text, where = resources.files("ccafl.configs").joinpath(f"{name_or_path}.yaml").read_text("utf-8"), name_or_path
    elif path.is_file():
        try:
            if path.stat().st_size > _LARGEST:
                raise OSError("it is far too large")
            text, where = path.read_text("utf-8"), str(path)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as text ({error}); give a YAML file") from error
    else:
        raise InputError(f"{name_or_path}: no such configuration; give a YAML file or one of {', '.join(shipped())}")
    settings = _parse_yaml(text, where)
    if not isinstance(settings, dict | None):
        raise InputError(f"{where}: is not a mapping of settings; see the shipped configurations for an example")
    return settings or {}


def validated(settings: dict[str, Any], where: str) -> Config:
    """Check settings against the schema.

    Raises:
        InputError: names every bad key.
    """
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        problems = "; ".join(_problem(dict(detail)) for detail in error.errors())
        raise InputError(f"{where}: {problems}") from error


def dump(config: Config) -> str:
    """The configuration as YAML, with every key."""
    return yaml.dump(config.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False)


def _parse_yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except Exception as error:  # PyYAML fails in many ways on values that are not what their tag says
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())[:200]
        raise InputError(f"{where}{line}: is not valid YAML ({problem}); fix it") from error


class _Loader(yaml.SafeLoader):
    """Reads ``1e-4`` as a number, where YAML 1.1 sees text.

    It refuses aliases and deep nesting, which no settings need: a few lines of them may make more values than fit in
    memory.
    """

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("settings have no aliases")
        self._depth += 1
        if self._depth > _DEEPEST:
            raise yaml.YAMLError("nested too deeply")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(str(loader.construct_scalar(node)))


class _Dumper(yaml.SafeDumper):
    """Quotes a text that `_Loader` would read as a number."""


for _either in (_Loader, _Dumper):
    _either.add_implicit_resolver("!exponent", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789"))
_Loader.add_constructor("!exponent", _number)


def _override(settings: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise InputError(f"--set {override}: is not of the form key.path=value, for example stage2.epochs=40")
    *parents, last = key.strip().split(".")
    for parent in parents:
        settings = settings.setdefault(parent, {})
        if not isinstance(settings, dict):
            raise InputError(f"--set {override}: {parent} has no keys below it; see the resolved config.yaml of a run")
    settings[last] = _parse_yaml(value, f"--set {override}")


def _problem(detail: dict[str, Any]) -> str:
    key = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return f"{key} is not a setting; remove it or correct its name"
    if not key:
        return str(detail["msg"]).removeprefix("Value error, ")
    return f"{key} is {reprlib.repr(detail['input'])}: {detail['msg'][0].lower()}{detail['msg'][1:]}"
