"""Other implementations, loaded from checkouts outside this repository; docs/performance.md says how to get and build
them.

Only the files that a benchmark needs are run, by path. Modules that they import but do not use are replaced by stubs,
and `.cuda()` stays on the CPU.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

AUTHORS, TORCHREID, FASTREID = "CLIP-ICS", "deep-person-reid", "fast-reid"


class Opponents:
    """The checkouts in a folder; any of them may be missing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        """Whether the checkout exists."""
        return self.folder is not None and (self.folder / name).is_dir()

    def memory(self) -> ModuleType:
        """The authors' memories: ``ClusterMemory``."""
        _stub_modules("clustercontrast", "clustercontrast.losses", "clustercontrast.models")
        _stub_modules("clustercontrast.losses.focal_loss", FocalLoss=None)
        self._load("clustercontrast.models.losses", AUTHORS, "clustercontrast/models/losses.py")
        hybrid = self._load("clustercontrast.models.hm", AUTHORS, "clustercontrast/models/hm.py")
        hybrid.__dict__.setdefault("tccl", None)
        return self._load("clustercontrast.models.cm", AUTHORS, "clustercontrast/models/cm.py")

    def association(self) -> ModuleType:
        """The authors' association: ``propagate_label``."""
        _stub_modules("clustercontrast", "clustercontrast.utils")
        _stub_modules("clustercontrast.utils.faiss_rerank", compute_jaccard_distance=None)
        _stub_modules("clustercontrast.evaluators", extract_vit_features=None)
        return self._load("clustercontrast.utils.cluster_labels", AUTHORS, "clustercontrast/utils/cluster_labels.py")

    def adversarial(self) -> ModuleType:
        """The authors' ICAL: ``arcAdversarialLoss``."""
        return self._load("authors_adversarial", AUTHORS, "clustercontrast/losses/cam_based_adversarial_loss.py")

    def classifier(self) -> ModuleType:
        """The authors' classifiers: ``CAMClassifier``."""
        return self._load("clustercontrast.models.classifier", AUTHORS, "clustercontrast/models/classifier.py")

    def trainer(self) -> type[Any]:
        """The authors' training loop, as a class."""
        assert self.folder is not None
        checkout = self.folder / AUTHORS / "clustercontrast"
        for package in ("", ".losses", ".utils"):  # whose own files import more than a step needs
            name = f"clustercontrast{package}"
            _stub_modules(name, __path__=[str(checkout / package.removeprefix("."))])
        _stub_modules("clustercontrast.losses.original_mcnl_loss", MCNL_Loss_global=None)
        trainers = self._load("clustercontrast.trainers", AUTHORS, "clustercontrast/trainers.py")
        trainer: type[Any] = trainers.TrainerFp16
        trainers.__dict__["ViTTrainerFp16"] = trainer  # by which it calls itself
        return trainer

    def ranking(self) -> dict[str, Any]:
        """``evaluate(distances, query persons, gallery persons, query cameras, gallery cameras, depth)`` by name."""
        found = {}
        if self.has(FASTREID):
            built = self._built(FASTREID, "fastreid/evaluation/rank_cylib")
            found["fast-reid's Cython"] = None if built is None else built.evaluate_cy
        if self.has(TORCHREID):
            built = self._built(TORCHREID, "torchreid/metrics/rank_cylib")
            found["torchreid's Cython"] = None if built is None else built.evaluate_cy
            plain = self._load("torchreid_rank", TORCHREID, "torchreid/metrics/rank.py")
            found["torchreid's Python"] = lambda *truth: plain.evaluate_py(*truth, use_metric_cuhk03=False)
        return {name: evaluate for name, evaluate in found.items() if evaluate is not None}

    def reranking(self) -> ModuleType:
        """torchreid's ``re_ranking``."""
        return self._load("torchreid_rerank", TORCHREID, "torchreid/utils/rerank.py")

    def loading(self) -> tuple[ModuleType, ModuleType]:
        """torchreid's transforms, and its tools with ``read_image``."""
        transforms = self._load("torchreid_transforms", TORCHREID, "torchreid/data/transforms.py")
        return transforms, self._load("torchreid_tools", TORCHREID, "torchreid/utils/tools.py")

    def _load(self, name: str, checkout: str, file: str) -> ModuleType:
        assert self.folder is not None
        return _run_file(name, self.folder / checkout / file)

    def _built(self, checkout: str, folder: str) -> ModuleType | None:
        """The compiled ``rank_cy``, if it was built for this Python."""
        assert self.folder is not None
        files = sorted((self.folder / checkout / folder).glob(f"rank_cy.*{sys.version_info[0]}{sys.version_info[1]}*"))
        return _run_file("rank_cy", files[0]) if files else None


def _run_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _stub_modules(*names: str, **attributes: Any) -> None:
    for name in names:
        module = sys.modules.setdefault(name, ModuleType(name))
        module.__dict__.setdefault("__path__", [])
        module.__dict__.update(attributes)


def disable_cuda() -> None:
    """Make ``.cuda()`` keep everything on the CPU for the rest of this process."""
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[assignment, method-assign]
    nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[assignment, method-assign]
