"""Published encoders: loaded again they are the same, and what was changed is refused."""

import json
import shutil
from pathlib import Path

import huggingface_hub
import pytest
import torch

import ccafl
from ccafl.errors import InputError
from ccafl.hub import from_pretrained, push_to_hub, save_pretrained


@pytest.fixture(scope="module")
def published(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pretrained(small_run, tmp_path_factory.mktemp("hub") / "published")


@pytest.fixture
def copy(published: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(published, tmp_path / "copy"))


def test_a_published_encoder_is_the_runs_own(published, small_run, world):
    pictures = sorted((world / "images").rglob("*.jpg"))[:3]
    again, run = from_pretrained(published), ccafl.load(small_run)
    assert torch.equal(again.embed(pictures), run.embed(pictures))
    assert (again.fingerprint(), again.camera_names) == (run.fingerprint(), run.camera_names)
    assert sorted(path.name for path in published.iterdir()) == ["README.md", "config.json", "model.safetensors"]


def test_its_card_has_the_hubs_header_and_the_runs_results(published, small_run):
    card = (published / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: ccafl\n")
    assert huggingface_hub.ModelCard(card).data.to_dict()["pipeline_tag"] == "image-feature-extraction"
    assert f"{json.loads((small_run / 'results.json').read_text())['mAP']:.3f}" in card
    assert "## Responsible use" in card


def changed(settings: Path, values: dict[str, object], **others: object) -> None:
    content = json.loads(settings.read_text()) | others
    content["model"] |= values
    settings.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": "/etc/passwd"}, "names weights outside"),
        ({"weights": "hf-hub:somebody/model"}, "names weights outside"),
        ({"new": 1}, "other settings"),
    ],
)
def test_changed_settings_are_refused(copy, values, message):
    changed(copy / "config.json", values)
    with pytest.raises(InputError, match=message):
        from_pretrained(copy)


def test_changed_cameras_are_refused(copy):
    changed(copy / "config.json", {}, camera_names=["c3", "c2", "c1"])
    with pytest.raises(InputError, match="not those that were published"):
        from_pretrained(copy)


def test_changed_weights_are_refused(copy):
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match="damaged"):
        from_pretrained(copy)


def test_only_weights_and_settings_are_downloaded_and_all_is_uploaded(published, small_run, tmp_path, monkeypatch):
    asked, hub = [], tmp_path / "hub"

    def download(repository, **options):
        asked.append((repository, options["revision"], options["allow_patterns"]))
        return str(hub)

    def upload(api, *, repo_id, folder_path, **_):
        shutil.copytree(folder_path, hub)
        return f"commit of {repo_id}"

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda *_, **options: asked.append(options["private"]))
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload)
    assert push_to_hub(small_run, "owner/name") == "commit of owner/name"
    assert ccafl.load("hf://owner/name@v1").fingerprint() == ccafl.load(small_run).fingerprint()
    assert asked == [True, ("owner/name", "v1", ["model.safetensors", "config.json"])]


def test_an_unreachable_hub_is_one_line(monkeypatch):
    def download(*_, **__):
        raise OSError("no route\nto host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(InputError, match=r"hf://owner/name: cannot be reached \(no route\); check"):
        ccafl.load("hf://owner/name")
