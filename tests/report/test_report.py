"""A run's page: what it says, that it needs nothing from elsewhere, and whom it shows."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from ccafl.cli import main
from ccafl.config import load_config
from ccafl.data.records import EvaluationImages
from ccafl.errors import InputError
from ccafl.evaluation.ranking import rank
from ccafl.pipeline import train_run
from ccafl.report.embedding_map import evenly
from ccafl.report.probability import probabilities
from ccafl.report.rank_lists import rank_lists
from ccafl.report.run_report import report_run
from ccafl.synthetic.write import synthesize

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SECTIONS = ["results", "losses", "quality", "probability", "map", "ranks", "activation"]
THUMBNAIL = "data:image/jpeg"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "world"
    return synthesize(out, seed=3, persons=18, cameras=3, images=4, size=(32, 16)).parent


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = [
        "model.image_size=[32, 16]",
        "stage1.epochs=1",
        "stage2.epochs=4",
        "stage2.steps_per_epoch=2",
        "stage2.identities=4",
        "stage2.intra_camera.epochs=2",
        "stage2.adversarial.first_epoch=3",
        "stage2.adversarial.last_epoch=4",
        "runtime.evaluate_every=2",
    ]
    train_run(load_config("demo", settings), world, out)
    return out


@pytest.fixture(scope="module")
def page(trained):
    return report_run(trained).read_text()


def section(page: str, name: str) -> str:
    return re.search(f'<section id="{name}">.*?</section>', page, re.DOTALL)[0]


def test_every_section_is_there_with_its_picture(page):
    assert re.findall(r'<section id="(\w+)">', page) == SECTIONS
    for name in ("losses", "quality", "probability", "map", "activation"):
        assert "<figure><img" in section(page, name), name
    assert section(page, "ranks").count("tile") > 20
    assert 'class="reason"' not in page


def test_the_page_needs_nothing_from_elsewhere(page):
    links = re.findall(r"(?:src|href)=[\"']([^\"']+)", page)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "<script" not in page
    assert "@import" not in page


def test_the_numbers_are_the_runs_own(trained, page):
    results = json.loads((trained / "results.json").read_text())
    text = re.sub(r"<[^>]+>", " ", section(page, "results"))
    for name in ("mAP", "rank1", "camera_probe", "same_person_mass"):
        assert f"{results[name]:.4f}" in text, name
    assert f"mAP {results['mAP']:.4f}" in section(page, "ranks")
    masses = re.findall(r"<td>([\d.]+)</td>", section(page, "probability"))
    assert float(masses[0]) == pytest.approx(results["same_person_mass_before"], abs=1e-3)
    assert float(masses[1]) == pytest.approx(results["same_person_mass"], abs=1e-3)


def test_real_persons_are_shown_only_when_asked_for(world, trained, tmp_path):
    real = tmp_path / "real"
    shutil.copytree(world, real)
    (real / "world.json").unlink()
    assert THUMBNAIL in report_run(trained, out=tmp_path / "drawn.html").read_text()
    hidden = report_run(trained, data=real, out=tmp_path / "hidden.html").read_text()
    assert THUMBNAIL not in hidden
    assert "the pictures themselves are not shown" in hidden
    assert "✓ right" in hidden
    assert THUMBNAIL in report_run(trained, data=real, out=tmp_path / "shown.html", with_images=True).read_text()


def test_what_is_missing_is_said(world, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "checkpoints" / "before_adversarial.pt").unlink()
    (run / "results.json").unlink()
    said = report_run(run).read_text()
    assert "no inter-camera adversarial learning" in section(said, "probability")
    assert "has not finished" in section(said, "results")
    (run / "data.json").write_text(json.dumps({"path": str(tmp_path / "gone"), "source": "manifest"}))
    said = report_run(run).read_text()
    for name in ("probability", "map", "ranks", "activation"):
        assert "give --data" in section(said, name)
    said = report_run(run, data=world / "images").read_text()  # a folder a camera: no test set, persons unknown
    assert "no query and gallery" in section(said, "ranks")


def test_bad_input_ends_with_one_line(world, trained, tmp_path, capsys):
    for arguments in ([tmp_path], [trained, "--data", tmp_path / "none"], [trained, "--out", "/proc/none/page.html"]):
        with pytest.raises(SystemExit) as stopped:
            main(["report", *map(str, arguments)])
        assert stopped.value.code == 2
        assert len([line for line in capsys.readouterr().err.splitlines() if "error" in line]) == 1


def test_a_missing_library_is_named(trained, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"ccafl\[report\]"):
        report_run(trained)


def test_in_a_browser_without_network(trained, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no chromium here; install Debian's chromium to look at the page in a browser")
    file = report_run(trained, out=tmp_path / "page.html")
    said = []
    with playwright.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for width in (1200, 390):
            context = browser.new_context(viewport={"width": width, "height": 800}, offline=True)
            tab = context.new_page()
            tab.on("console", lambda message: said.append(message.text))
            tab.on("pageerror", lambda error: said.append(str(error)))
            tab.on("requestfailed", lambda request: said.append(request.url))
            tab.goto(file.as_uri())
            assert tab.locator("section").count() == len(SECTIONS)
            assert all(tab.locator(f"#{name} h2").is_visible() for name in SECTIONS)
            assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
            assert tab.evaluate("document.images.length") > 20
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            assert "✓ right" in tab.locator("#ranks").inner_text()
        browser.close()
    assert said == []


def test_rank_lists_follow_the_protocol():
    torch.manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(40, 8))
    persons, cameras = torch.arange(40) % 5, torch.arange(40) // 5 % 3
    persons[20:] = persons[20:].where(torch.arange(20) % 7 != 0, -1)

    def images(rows):
        return EvaluationImages((Path("x"),) * len(persons[rows]), persons[rows], cameras[rows], ("a", "b", "c"))

    query, gallery = images(slice(0, 10)), images(slice(10, 40))
    query_features, gallery_features = features[:10], features[10:]
    ranking = rank(query_features, gallery_features, query.persons, query.cameras, gallery.persons, gallery.cameras)
    worst, best = rank_lists(query_features, gallery_features, query, gallery, ranking, count=3)
    precisions = ranking.average_precisions.tolist()
    assert [one.average_precision for one in worst] == sorted(precisions)[:3]
    assert best[0].average_precision >= best[-1].average_precision >= worst[-1].average_precision
    for one in worst + best:
        for index, right in one.found:
            assert gallery.persons[index] != -1
            assert right == (gallery.persons[index] == query.persons[one.query])
            assert not (right and gallery.cameras[index] == query.cameras[one.query])
        products = [float(gallery_features[index] @ query_features[one.query]) for index, _ in one.found]
        assert products == sorted(products, reverse=True)


def test_probabilities_show_the_same_person_in_the_same_places(world):
    from ccafl.data.records import accumulate, persons_of
    from ccafl.data.source import read_source

    records = read_source(world).train
    images, persons = accumulate(records), persons_of(records)
    torch.manual_seed(0)
    chosen = torch.arange(0, len(images), 2)
    before, after = (torch.rand(len(chosen), len(persons)) for _ in range(2))
    found = probabilities(before, after, chosen, images, persons, 16.0)
    assert len(found.samples) == 4
    for sample in found.samples:
        kinds = [kind for *_, kind in sample.bars]
        assert kinds == sorted(kinds, key=["own", "same person", "another person"].index)
        cameras = [camera for camera, *_, kind in sample.bars if kind != "another person"]
        assert len(set(cameras)) == len(cameras)  # a person has one identity a camera
    assert 0 < found.mass_before < 1
    assert found.mass_before != found.mass_after


def test_the_map_takes_whole_persons():
    persons = torch.arange(3000) // 10
    kept = evenly(persons, 1000)
    assert len(kept) <= 1000
    assert set(torch.bincount(persons[kept])[persons[kept].unique()].tolist()) == {10}
