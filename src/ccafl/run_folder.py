"""A run's folder: what each file is called, who may write there, and the table of the association.

Importable without torch, for code that reads a run but not its network.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ccafl.config import CHANGE_NO_RESULT, Config, dump, load_config
from ccafl.data.drawn import drawn_by_ccafl
from ccafl.data.tables import rows_of_csv, table_text
from ccafl.errors import InputError
from ccafl.files import check_free, disk_errors, lock, read_object, write_json, write_text
from ccafl.provenance import commit, hardware, versions

if TYPE_CHECKING:
    from torch import Tensor

    from ccafl.data.numbering import LabelledImages

_Figure = float | None


class _Results(BaseModel):
    """What other commands read of a run's results; there may be more."""

    model_config = ConfigDict(strict=True, extra="allow")

    mAP: _Figure = None  # noqa: N815 - the field's name for it
    rank1: _Figure = None
    rank5: _Figure = None
    rank10: _Figure = None
    unmatched: _Figure = None
    camera_probe: _Figure = None
    camera_chance: _Figure = None
    own_camera_neighbours: _Figure = None
    same_person_mass_before: _Figure = None
    same_person_mass: _Figure = None
    association: dict[str, _Figure] | None = None
    dataset: str = ""
    mode: str = ""
    seconds: float = 0
    steps: int = 0
    images: int = 0
    cameras: int = 0
    identities: int = 0


_LOCK = "lock"
_COLUMNS = ("camera", "label", "identity")
_ALONE = "-1"  # the identity of a label that was joined to no other


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of a run, whether it has begun or not."""

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings. A run has begun when this file exists."""
        return self.path / "config.yaml"

    @property
    def data(self) -> Path:
        """Where the images were when the run began."""
        return self.path / "data.json"

    @property
    def environment(self) -> Path:
        """The code, machine and libraries that the run began with."""
        return self.path / "environment.json"

    @property
    def events(self) -> Path:
        """One line per epoch."""
        return self.path / "events.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Folder with the same numbers for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def association(self) -> Path:
        """The joined labels; see `write_association`."""
        return self.path / "association.csv"

    @property
    def results(self) -> Path:
        """The run's results."""
        return self.path / "results.json"

    @property
    def report(self) -> Path:
        """The page of figures."""
        return self.path / "report.html"

    @property
    def export(self) -> Path:
        """Folder of the exported encoder."""
        return self.path / "export"

    @property
    def world(self) -> Path:
        """Folder of the images that the demo draws."""
        return self.path / "world"

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.checkpoint("last")

    @property
    def previous(self) -> Path:
        """The checkpoint before the last, which is used if that is damaged."""
        return self.checkpoint("previous")

    @property
    def best(self) -> Path:
        """The checkpoint with the best mAP."""
        return self.checkpoint("best")

    @property
    def before_adversarial(self) -> Path:
        """Encoder and classifier as ICAL begins."""
        return self.checkpoint("before_adversarial")

    def at_epoch(self, epoch: int) -> Path:
        """The checkpoint at the start of a stage-2 epoch, kept for other runs to start from."""
        return self.checkpoint(f"epoch-{epoch}")

    def checkpoint(self, name: str) -> Path:
        """The checkpoint called ``name``."""
        return self.path / "checkpoints" / f"{name}.pt"

    def evaluation(self, *, rerank: bool, standardised: bool = False) -> Path:
        """The figures of an evaluation, with or without re-ranking and features standardised by camera."""
        how = ("-camera-standardised" if standardised else "") + ("-rerank" if rerank else "")
        return self.path / f"evaluation{how}.json"

    @property
    def begun(self) -> bool:
        """Whether a run has begun in this folder."""
        return self.config.is_file()

    def check_usable(self, config: Config, *, resume: bool) -> None:
        """Check that training with ``config`` may begin or resume here.

        Raises:
            InputError: something else is in the folder, or the run to resume has other settings.
        """
        if resume and self.begun:
            differences = self.differences(config)
            if differences:
                raise InputError(f"{self.config}: has other settings ({differences}); use them or another --out")
        elif not (resume and self.world.is_dir()):
            if self.begun:
                raise InputError(f"{self.path}: exists already; continue with --resume, or choose another output")
            check_free(self.path, but=_LOCK)

    def lock(self) -> IO[bytes]:
        """Keep other processes from training here until the result is closed; makes the folder.

        Raises:
            InputError: another process trains here, or the folder cannot be written.
        """
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        return lock(self.path / _LOCK)

    def differences(self, config: Config) -> str:
        """``key: the run's, now config's`` for every setting that differs, but those that change no result."""
        old, new = (flattened(settings.model_dump(), ".") for settings in (self.read_config(), config))
        different = [key for key in old if old[key] != new[key] and key not in CHANGE_NO_RESULT]
        return "; ".join(f"{key}: {old[key]}, now {new[key]}" for key in different)

    def read_config(self) -> Config:
        """The run's settings.

        Raises:
            InputError: this is not a run, or its settings are damaged.
        """
        if not self.begun:
            raise InputError(
                f"{self.path}: is not a run (no {self.config.name}); give a folder made by ccafl train or ccafl demo"
            )
        return load_config(str(self.config))

    def write_config(self, config: Config) -> None:
        """Write the settings; from then on the folder is a run."""
        write_text(self.config, dump(config))

    def read_data(self) -> tuple[Path, str | None] | None:
        """Path and kind of the run's data; None if they are not recorded."""
        written = read_object(self.data) or {}
        path, kind = written.get("path"), written.get("source")
        if not isinstance(path, str) or "\0" in path:
            return None
        return Path(path), kind if isinstance(kind, str) else None

    def write_data(self, path: Path, kind: str, *, drawn: bool = False) -> None:
        """Record path and kind of the run's data, and whether ccafl drew them."""
        known = {"path": str(path.resolve()), "source": kind} | ({"drawn": True} if drawn else {})
        write_text(self.data, json.dumps(known) + "\n")

    @property
    def drawn(self) -> bool:
        """Whether the run was trained on drawn persons: recorded, or, of older runs, seen where the data are."""
        known = self.read_data()
        return bool((read_object(self.data) or {}).get("drawn")) or (known is not None and drawn_by_ccafl(known[0]))

    def read_environment(self) -> dict[str, Any]:
        """What `write_environment` wrote; empty if that cannot be read."""
        return read_object(self.environment) or {}

    def write_environment(self) -> None:
        """Record the code's commit, the hardware and the libraries' versions."""
        write_json(self.environment, {"commit": commit(), "hardware": hardware(), "versions": versions()})

    def read_results(self) -> dict[str, Any] | None:
        """The run's results; None before its end.

        Raises:
            InputError: the file is damaged.
        """
        if not self.results.is_file():
            return None
        results = read_object(self.results)
        try:
            _Results.model_validate(results)
        except ValidationError as error:
            raise InputError(f"{self.results}: is damaged; remove it or train again") from error
        return results

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write the run's results."""
        write_json(self.results, results)


def write_association(path: Path, images: "LabelledImages", association: "Tensor") -> None:
    """Write a CSV table of camera, label and identity, one row per accumulated identity.

    Args:
        path: the file.
        images: of N accumulated identities.
        association: (N,) int64, the associated identity of each; -1 for one that was joined to no other.
    """
    cameras = (images.camera_names[camera] for camera in images.identity_cameras.tolist())
    rows = zip(cameras, images.identity_labels, association.tolist(), strict=True)
    write_text(path, table_text(_COLUMNS, rows))


def read_association(path: Path) -> dict[tuple[str, str], str | None]:
    """The identity of every (camera, label) in a table written by `write_association`, in its order.

    A label that was joined to no other has the identity None.

    Raises:
        InputError: the table cannot be read or has other columns.
    """
    rows = [tuple(row[column] for column in _COLUMNS) for _, row in rows_of_csv(path, _COLUMNS)]
    return {(camera, label): None if identity == _ALONE else identity for camera, label, identity in rows}


def flattened(values: Mapping[str, Any], separator: str) -> dict[str, Any]:
    """Nested values as one flat mapping, with keys joined by ``separator``."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}{separator}{inner}": deep for inner, deep in flattened(value, separator).items()}
        else:
            flat[key] = value
    return flat
