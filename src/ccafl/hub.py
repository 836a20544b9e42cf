"""Trained encoders as folders that others can load, on the Hugging Face Hub or anywhere else.

Such a folder holds weights (``model.safetensors``), the settings that the network is built from (``config.json``) and
the model card (``README.md``). Reading it runs none of its code, as it has none.
"""

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ccafl.calibration import CALIBRATION
from ccafl.config import Config, Model
from ccafl.errors import InputError
from ccafl.evaluation.embedder import Embedder, device, load_run
from ccafl.export.card import hub_card
from ccafl.files import folder_written_whole, write_json, write_text
from ccafl.model.downloads import downloaded, hub_address
from ccafl.model.network import build_encoder
from ccafl.model.weights import check_fit, read_weights, write_weights
from ccafl.packages import require

FORMAT = 1
WEIGHTS, SETTINGS, CARD = "model.safetensors", "config.json", "README.md"
PREFIX = "hf://"


class _Published(BaseModel):
    """``config.json``."""

    model_config = ConfigDict(strict=True, extra="forbid")

    format: Literal[1] = Field(alias="ccafl")
    name: str
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    camera_names: list[str]
    model: dict[str, Any]
    calibration: dict[str, Any] | None = None
    drawn: bool = False


def save_pretrained(run: Path, out: Path) -> Path:
    """Write the encoder of a run's last checkpoint for others to load, whole or not at all.

    Args:
        run: a folder made by training.
        out: the folder to write; it may exist only if it is empty.

    Returns:
        ``out``.

    Raises:
        InputError: it is not a run that has trained, or the folder cannot be written.
    """
    embedder = load_run(run)
    name, model = run.resolve().name, embedder.config.model
    fingerprint = embedder.fingerprint()
    weights = None if model.weights and Path(model.weights).is_file() else model.weights  # no path of this machine
    content = {
        "ccafl": FORMAT,
        "name": name,
        "fingerprint": fingerprint,
        "camera_names": list(embedder.camera_names),
        "model": model.model_dump(mode="json") | {"weights": weights},
        "calibration": None if embedder.calibration is None else CALIBRATION.dump_python(embedder.calibration),
        "drawn": embedder.drawn,
    }
    with folder_written_whole(out) as folder:
        write_weights(folder / WEIGHTS, embedder.encoder.state_dict())
        write_json(folder / SETTINGS, content)
        write_text(folder / CARD, hub_card(run, embedder, name, fingerprint))
    return out


def push_to_hub(run: Path, repository: str, *, private: bool = True, token: str | None = None) -> str:
    """Publish the encoder of a run's last checkpoint on the Hugging Face Hub, with its model card.

    The card names the run, its data and its cameras: read it (`save_pretrained`) before you let others see it.

    Args:
        run: a folder made by training.
        repository: ``owner/name``; created if it does not exist.
        private: whether a new repository can be seen only by its owner.
        token: of the Hub; the one that ``hf auth login`` has stored if not given.

    Returns:
        The address of the commit.

    Raises:
        InputError: it is not a run that has trained, huggingface_hub is missing, or the Hub refuses.
    """
    require("hub", "huggingface_hub", what="the Hugging Face Hub")
    from huggingface_hub import HfApi

    with tempfile.TemporaryDirectory() as temporary:
        folder = save_pretrained(run, Path(temporary) / "model")
        api = HfApi(token=token)
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Upload with ccafl"))
        except Exception as error:  # of the network, the Hub, or a name that it does not take
            raise _unavailable(repository, error) from error


def from_pretrained(
    place: str | Path, *, revision: str | None = None, token: str | None = None, fast: bool = False
) -> Embedder:
    """Load what `save_pretrained` or `push_to_hub` wrote.

    Args:
        place: a folder, or ``owner/name`` on the Hugging Face Hub.
        revision: a branch, tag or commit on the Hub.
        token: of the Hub, for a private repository.
        fast: as in `ccafl.load`.

    Raises:
        InputError: there is none, it cannot be downloaded, it was changed or is not ccafl's.
    """
    folder = Path(place)
    if not folder.is_dir():
        folder = _downloaded(str(place), revision, token)
    published = _settings(folder / SETTINGS)
    try:
        model = Model.model_validate_json(json.dumps(published.model))
        known = published.calibration
        calibration = None if known is None else CALIBRATION.validate_python(known)
    except ValidationError as error:
        raise InputError(
            f"{folder / SETTINGS}: has other settings than this ccafl; use the version on its card"
        ) from error
    if model.weights and ("/" in model.weights or "\\" in model.weights or Path(model.weights).exists()):
        raise InputError(f"{folder / SETTINGS}: names weights outside of the folder ({model.weights}); do not use it")
    encoder = build_encoder(model, len(published.camera_names))
    state = read_weights(folder / WEIGHTS, digest=True)
    check_fit(state, encoder.state_dict(), folder / WEIGHTS, model.architecture)
    encoder.load_state_dict(state)
    embedder = Embedder(
        Config(model=model),
        encoder,
        published.camera_names,
        device(),
        fast=fast,
        calibration=calibration,
        drawn=published.drawn,
    )
    if embedder.fingerprint() != published.fingerprint:
        raise InputError(f"{folder}: weights or settings are not those that were published; get it again")
    return embedder


def load_from_hub(address: str, *, fast: bool = False) -> Embedder:
    """Load ``hf://owner/name`` or ``hf://owner/name@revision``.

    Raises:
        InputError: as `from_pretrained`.
    """
    repository, _, revision = address.removeprefix(PREFIX).partition("@")
    return from_pretrained(repository, revision=revision or None, fast=fast)


def _downloaded(repository: str, revision: str | None, token: str | None) -> Path:
    require("hub", "huggingface_hub", what="the Hugging Face Hub")
    from huggingface_hub import snapshot_download

    try:
        fetch = partial(snapshot_download, repository, revision=revision, token=token)
        patterns = [WEIGHTS, SETTINGS]
        return Path(downloaded(partial(fetch, allow_patterns=patterns), repository, hub_address()))
    except Exception as error:
        raise _unavailable(repository, error) from error


def _unavailable(repository: str, error: Exception) -> InputError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return InputError(f"{PREFIX}{repository}: cannot be reached ({reason}); check name, network and hf auth login")


def _settings(file: Path) -> _Published:
    try:
        return _Published.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{file}: is not what ccafl publishes; give a folder made by save_pretrained") from error
