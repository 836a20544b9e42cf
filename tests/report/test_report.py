"""A run's page: its contents, its independence from the network, whom it shows, and how it explains missing parts."""

import base64
import csv
import io
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
from open_clip.model import CLIP
from PIL import Image, ImageOps

from ccafl.config import load_config
from ccafl.data.numbering import EvaluationImages, accumulate, persons_of
from ccafl.data.source import read_source
from ccafl.errors import InputError
from ccafl.evaluation.ranking import rank
from ccafl.model.clip import load_clip
from ccafl.model.clip_towers import clip_tower
from ccafl.model.image_encoder import ImageEncoder
from ccafl.pipeline import train_run
from ccafl.report import run_report
from ccafl.report.activation import has_map
from ccafl.report.curves import loss_lines, phases, quality_plots
from ccafl.report.embedding_map import sample_persons
from ccafl.report.inputs import drawn_by_ccafl, read_events
from ccafl.report.probability import OTHER, OWN, SAME, probabilities
from ccafl.report.rank_lists import rank_lists
from ccafl.report.run_report import report_run
from ccafl.synthetic.write import synthesize
from ccafl.training.checkpoint import load_checkpoint
from small_runs import SMALL, refusal

SECTIONS = [
    *("results", "losses", "quality", "joins"),
    *("ranking", "scores", "probability", "map", "ranks", "activation"),
]
FROM_IMAGES = SECTIONS[4:]
THUMBNAIL = "data:image/jpeg"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "world"
    return synthesize(out, seed=3, persons=18, cameras=3, images=4, size=(32, 16)).parent


@pytest.fixture(scope="module")
def trained(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = [
        *SMALL,
        "stage2.epochs=4",
        "stage2.intra_camera.epochs=2",
        "stage2.adversarial.first_epoch=3",
        "stage2.adversarial.last_epoch=4",
        "runtime.evaluate_every=2",
    ]
    train_run(load_config("market-split", settings), world, out)
    return out


@pytest.fixture(scope="module")
def page(trained):
    return report_run(trained).read_text()


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the run that a test may damage."""
    return Path(shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("report.html")))


@pytest.fixture
def drawn():
    """For tests that look at charts: they are drawn in full."""


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Elsewhere charts are made but not drawn, which takes most of a page's time."""
    if {"page", "drawn"}.isdisjoint(request.fixturenames):
        empty = b'<svg xmlns="http://www.w3.org/2000/svg"><defs></defs></svg>'
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **_: file.write(empty))


def section(page: str, name: str) -> str:
    return re.search(f'<section id="{name}">.*?</section>', page, re.DOTALL)[0]


def is_drawn(page: str, name: str) -> bool:
    body = section(page, name)
    return 'class="reason"' not in body and ("<figure" in body or 'class="tile' in body)


def rows_of(world: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((world / "manifest.csv").open()))


def manifest(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return path


# --- What the page says -----------------------------------------------------------------------------------------------


def test_every_section_has_its_figure(page):
    assert re.findall(r'<section id="(\w+)">', page) == SECTIONS
    for name in SECTIONS[1:-2]:
        figures = re.findall("<figure.*?</figure>", section(page, name), re.DOTALL)
        assert figures, name
        for figure in figures:
            assert re.search(r'<img src="data:image/svg\+xml;base64,[^"]+" alt="[^"]{20,}">', figure), name
            assert 'href="data:text/csv' in figure, name
    assert section(page, "ranks").count("tile") > 20
    assert 'class="reason"' not in page


def test_the_page_is_self_contained(page):
    links = re.findall(r"(?:src|href)=[\"']([^\"']+)", page)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "<script" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page


def test_the_same_run_gives_the_same_page(trained, page, tmp_path):
    assert report_run(trained, out=tmp_path / "again.html").read_text() == page


def test_the_page_shows_the_runs_numbers(trained, page):
    results = json.loads((trained / "results.json").read_text())
    found = dict(re.findall(r'<th scope="row">([^<]+)<.*?<td>(.*?)</td>', section(page, "results")))
    for name, value in (("mAP", results["mAP"]), ("rank-5", results["rank5"])):
        figures = re.fullmatch(r"([\d.]+) %<span class=.remark.>\(([\d.]+) to ([\d.]+)\)</span>", found[name])
        shown, low, high = map(float, figures.groups())
        assert shown == pytest.approx(100 * value, abs=0.051)
        assert low <= shown <= high
    assert found["association: recall"] == f"{100 * results['association']['recall']:.1f} %"
    assert found["queries without a match"] == str(results["unmatched"])
    assert found["images"] == str(results["images"])
    assert found["commit"] == json.loads((trained / "environment.json").read_text())["commit"]
    assert f"mAP {100 * results['mAP']:.1f} %" in section(page, "ranks")
    masses = re.findall(r"<td>([\d.]+) %</td>", section(page, "probability"))
    assert float(masses[0]) == pytest.approx(100 * results["same_person_mass_before"], abs=0.1)
    assert float(masses[1]) == pytest.approx(100 * results["same_person_mass"], abs=0.1)
    assert "mode ccafl" in page
    assert "4 of 4 epochs, 8 steps" in page


def test_the_text_on_figure_5_agrees_with_the_numbers(page):
    body = section(page, "probability")
    changes = re.search(
        r"in other cameras (\w+) from (\S+) % to (\S+) %, that of the own identity (\w+) from (\S+) % to (\S+) %\. <",
        body,
    ).groups()
    for word, old, new in (changes[:3], changes[3:]):
        assert word == ("rose" if float(new) > float(old) else "fell")
    table = re.findall(r"<td>([\d.]+) %</td>", body)
    assert [changes[1], changes[2], changes[4], changes[5]] == table[:4]
    for column in (0, 1):
        assert sum(float(value) for value in table[column::2]) == pytest.approx(100, abs=0.02)


def test_before_ical_uses_the_network_and_classifier_saved_then(run):
    kept = run / "checkpoints" / "before_adversarial.pt"
    original = re.findall(r"<td>([\d.]+) %</td>", section(report_run(run).read_text(), "probability"))
    for part, name in (("encoder", "bnneck.weight"), ("classifier", "weight")):
        state = load_checkpoint(kept)
        state[part][name] = -state[part][name]
        torch.save(state, run / "changed.pt")
        whole, _ = kept.read_bytes(), kept.write_bytes((run / "changed.pt").read_bytes())
        changed = re.findall(r"<td>([\d.]+) %</td>", section(report_run(run).read_text(), "probability"))
        assert changed[2] != original[2], part  # own identity, before
        assert changed[3] == original[3], part  # and after
        kept.write_bytes(whole)


def test_curves_show_the_events(trained):
    events = read_events(trained / "events.jsonl")
    assert phases(events) == [(0, "intra"), (2, "inter"), (3, "inter + ICAL")]
    lines = loss_lines(events)
    assert {name for stage, name in lines if stage == 1} == {"prompt"}
    for (stage, name), points in lines.items():
        assert points == [
            (event["epoch"], event["losses"][name])
            for event in events
            if event["stage"] == stage and name in event["losses"]
        ]
    curves = {line.name: line.points for plot in quality_plots(events) for line in plot.lines}
    learnt = [event for event in events if event["stage"] == 2]
    last = learnt[-1]
    assert curves["mAP"] == [(2, learnt[1]["ranking"]["mAP"]), (4, last["ranking"]["mAP"])]
    own = "own camera among nearest"
    assert curves[own][-1] == (4, last["ranking"]["own_camera_neighbours"])
    assert curves["recall"] == [
        *((event["epoch"], event["association"]["recall"]) for event in learnt),
        (4, last["final_association"]["recall"]),
    ]
    assert curves["mean probability"][-1] == (4, last["final_same_person_mass"])


def test_users_names_are_shown_literally(drawn, world, trained, tmp_path):
    names = {"c1": "_left", "c2": r"$\foo$", "c3": "<b>&"}
    rows = [{**row, "camera": names[row["camera"]]} for row in rows_of(world)]
    tests = [row for row in rows if row["split"] != "train"]
    html = report_run(trained, data=manifest(world / "names.csv", tests), out=tmp_path / "page.html").read_text()
    for name in ("map", "ranks", "activation"):
        assert is_drawn(html, name), name
    assert "&lt;b&gt;&amp;" in html
    assert "<b>&" not in html


def test_charts_come_with_their_numbers(trained, page):
    data = re.search(r'download="stage-2-total.csv" href="data:text/csv[^,]*,([^"]+)"', page)[1]
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(data).decode())))
    wanted = [event["losses"]["total"] for event in read_events(trained / "events.jsonl") if event["stage"] == 2]
    assert [float(row["mean loss"]) for row in rows] == pytest.approx(wanted, rel=1e-5)


def test_joins_are_shown_with_the_least_certain_and_the_errors(run, world):
    rows = list(csv.DictReader((run / "association.csv").open()))
    persons = {(row["camera"], row["label"]): row["person"] for row in rows_of(world)}
    first = {}
    for row in rows:  # every person is joined whole, but for two persons joined into one
        first.setdefault(persons[row["camera"], row["label"]], len(first))
        row["identity"] = max(1, first[persons[row["camera"], row["label"]]])
    manifest(run / "association.csv", rows)
    results = json.loads((run / "results.json").read_text())
    one, other = (["c1", "<i>a"], ["c2", "b"])
    results["joins"] = {"labels": 9, "least_certain": [{"one": one, "other": other, "probability": 0.31}]}
    (run / "results.json").write_text(json.dumps(results))
    body = section(report_run(run).read_text(), "joins")
    assert f"{len(rows)} of {len(rows)} labels were joined into {len(first) - 1} persons; 0 stay alone" in body
    assert "31.0 %" in body
    assert "c1<br>&lt;i&gt;a" in body
    assert "1 of the joined persons contain labels of several" in body
    assert "One person not joined" not in body
    assert THUMBNAIL in body


# --- Several runs -----------------------------------------------------------------------------------------------------


def test_runs_are_compared_query_by_query(trained, run, tmp_path, capsys):
    other = run.rename(tmp_path / "<b>other")
    results = json.loads((other / "results.json").read_text())
    changed = results | {"association": results["association"] | {"recall": results["association"]["recall"] - 0.25}}
    (other / "results.json").write_text(json.dumps(changed))
    assert "--out" in refusal(capsys, "report", trained, other)
    html = report_run(trained, other, out=tmp_path / "compared.html").read_text()
    body = section(html, "results")
    assert '0.0 points<span class="remark">(0.0 to 0.0)' in body  # the same network ranks the same queries alike
    assert "\u221225.0 points" in body
    assert "All settings are the same" in body
    assert "&lt;b&gt;other" in body
    assert "<b>other" not in html
    assert THUMBNAIL not in html
    (other / "results.json").write_text(json.dumps(changed | {"mAP": results["mAP"] + 0.01}))
    html = report_run(trained, other, out=tmp_path / "compared.html").read_text()
    assert "<td>+1.0 points</td>" in section(html, "results")  # not what was measured here, so without an interval


# --- Whom it shows ----------------------------------------------------------------------------------------------------


def test_real_persons_are_shown_only_when_asked_for(world, trained, tmp_path, monkeypatch):
    real = tmp_path / "real"
    shutil.copytree(world, real)
    (real / "world.json").unlink()
    under_maps = []
    drawn = run_report.activation_figure

    def activation_figure(maps, pictures, titles):
        under_maps.append(pictures is not None)
        return drawn(maps, pictures, titles)

    monkeypatch.setattr(run_report, "activation_figure", activation_figure)
    html = report_run(trained, out=tmp_path / "drawn.html").read_text()
    assert THUMBNAIL in html
    assert "show no real person" in html
    hidden = report_run(trained, data=real, out=tmp_path / "hidden.html").read_text()
    assert THUMBNAIL not in hidden
    assert "<img" not in section(hidden, "ranks")
    assert "No pictures are shown" in hidden
    assert "the pictures themselves are not shown" in hidden
    assert re.search(r"✓ right</b><br>rank \d+<br>c\d<br>person\d+<", hidden)
    shown = report_run(trained, data=real, out=tmp_path / "shown.html", with_images=True).read_text()
    assert THUMBNAIL in shown
    assert "may show real persons" in shown
    assert under_maps == [True, False, True]


@pytest.mark.parametrize("content", ["{}", '{"seed": 1}', "hello", "[]"])
def test_a_foreign_world_json_is_not_taken_for_ccafls(content, tmp_path):
    (tmp_path / "world.json").write_text(content)
    assert not drawn_by_ccafl(tmp_path)


def test_pictures_from_outside_a_drawn_world_are_not_shown(world, trained, tmp_path):
    assert drawn_by_ccafl(world)
    assert drawn_by_ccafl(world / "manifest.csv")
    elsewhere = Path(shutil.copytree(world / "images", tmp_path / "elsewhere"))
    rows = rows_of(world)
    last = rows[-1]["image"].removeprefix("images/")
    rows[-1]["image"] = str(elsewhere / last)
    mixed = manifest(world / "mixed.csv", rows)
    assert THUMBNAIL not in report_run(trained, data=mixed, outside=True, out=tmp_path / "page.html").read_text()


# --- Where parts are missing ------------------------------------------------------------------------------------------


def test_an_unfinished_run_or_one_without_ical_says_so(run):
    (run / "checkpoints" / "before_adversarial.pt").unlink()
    (run / "results.json").unlink()
    html = report_run(run).read_text()
    assert "no inter-camera adversarial learning" in section(html, "probability")
    assert "has not finished" in section(html, "results")
    assert all(is_drawn(html, name) for name in ("losses", "quality", "map", "ranks", "activation"))


def test_a_run_whose_images_have_moved_says_so(run, tmp_path):
    for content in (json.dumps({"path": str(tmp_path / "gone"), "source": "manifest"}), "[1]"):
        (run / "data.json").write_text(content)
        html = report_run(run).read_text()
        for name in FROM_IMAGES:
            assert "give --data" in section(html, name), (content, name)
        assert is_drawn(html, "losses")


def test_a_run_in_progress_is_shown_as_far_as_it_has_come(run):
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text("".join(lines[:3]) + lines[3][: len(lines[3]) // 2])
    shutil.rmtree(run / "checkpoints")
    (run / "results.json").write_text('{"mAP": ')
    html = report_run(run).read_text()
    assert "2 of 4 epochs" in html
    assert is_drawn(html, "losses")
    assert "damaged" in section(html, "results")
    for name in FROM_IMAGES:
        assert "no such checkpoint" in section(html, name)


def test_a_run_before_its_first_epoch_has_no_curves(run):
    (run / "events.jsonl").write_text("")
    html = report_run(run).read_text()
    assert "No epoch has ended" in section(html, "losses")
    assert "Nothing was measured" in section(html, "quality")


def test_other_data_are_not_mistaken_for_the_training_images(run, tmp_path):
    (run / "association.csv").unlink()  # as in an unfinished run
    other = synthesize(tmp_path / "other", seed=9, persons=24, cameras=3, images=4, size=(32, 16))
    html = report_run(run, data=other).read_text()
    assert "not those the run was trained on" in section(html, "probability")
    assert all(is_drawn(html, name) for name in ("map", "ranks", "activation"))


def test_equally_many_labels_with_other_names_are_not_mistaken_for_the_runs(world, trained, tmp_path):
    rows = [{**row, "label": row["label"].replace("p", "q")} for row in rows_of(world)]
    html = report_run(trained, data=manifest(world / "renamed.csv", rows), out=tmp_path / "page.html").read_text()
    assert "not those the run was trained on" in section(html, "probability")


def test_without_a_test_set_the_map_shows_training_images(world, trained, tmp_path):
    training = [row for row in rows_of(world) if row["split"] == "train"]
    html = report_run(trained, data=manifest(world / "train.csv", training), out=tmp_path / "page.html").read_text()
    assert is_drawn(html, "map")
    assert f"{len(training)} training features" in section(html, "map")
    assert "the true persons" in section(html, "map")
    for name in ("ranks", "activation"):
        assert "no query and gallery" in section(html, name)
    unknown = manifest(world / "unknown.csv", [{**row, "person": ""} for row in training])
    html = report_run(trained, data=unknown, out=tmp_path / "page.html").read_text()
    for name in ("map", "probability"):
        assert is_drawn(html, name)
        assert "own association" in section(html, name)


def test_a_test_set_alone_says_what_cannot_be_shown(world, trained, tmp_path):
    tests = [row for row in rows_of(world) if row["split"] != "train"]
    html = report_run(trained, data=manifest(world / "test.csv", tests), out=tmp_path / "page.html").read_text()
    assert "no training images" in section(html, "probability")
    assert is_drawn(html, "ranks")
    one_camera = [row for row in tests if row["camera"] == "c1"]
    html = report_run(trained, data=manifest(world / "one.csv", one_camera), out=tmp_path / "page.html").read_text()
    assert "in another camera" in section(html, "ranks")
    few = [row for row in tests if row["split"] == "query"] + [row for row in tests if row["split"] == "gallery"][:2]
    html = report_run(trained, data=manifest(world / "few.csv", few), out=tmp_path / "page.html").read_text()
    assert "Too few images" in section(html, "map")


def test_unreadable_images_are_left_out_and_counted(world, trained, tmp_path):
    data = Path(shutil.copytree(world, tmp_path / "damaged"))
    for row in [row for row in rows_of(world) if row["split"] == "gallery"][:2]:
        (data / row["image"]).write_text("no picture")
    html = report_run(trained, data=data, out=tmp_path / "page.html").read_text()
    assert "2 images could not be read" in html
    assert all(is_drawn(html, name) for name in FROM_IMAGES)


def test_only_a_resnet_has_a_map():
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 77, "vocab_size": 100, "width": 64, "heads": 1, "layers": 1}
    vit = CLIP(embed_dim=32, vision_cfg=vision, text_cfg=text)
    assert not has_map(ImageEncoder(clip_tower(vit.visual, (32, 16))))
    assert has_map(ImageEncoder(clip_tower(load_clip("tiny", None).visual, (32, 16))))


def test_a_tower_without_a_map_says_so(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(run_report, "has_map", lambda encoder: False)
    html = report_run(trained, out=tmp_path / "page.html").read_text()
    assert "ViT" in section(html, "activation")
    assert is_drawn(html, "ranks")


# --- Bad input --------------------------------------------------------------------------------------------------------


def test_bad_input_gives_a_one_line_error(world, trained, run, tmp_path, capsys):
    assert "is not a run" in refusal(capsys, "report", tmp_path)
    assert "no such file" in refusal(capsys, "report", trained, "--data", tmp_path / "none")
    assert "no such kind" in refusal(capsys, "report", trained, "--data", world, "--source", "nothing")
    rows = [{**row, "image": f"gone/{row['image']}"} for row in rows_of(world)]
    assert "no such image" in refusal(capsys, "report", trained, "--data", manifest(world / "gone.csv", rows))
    lines = (run / "events.jsonl").read_text().splitlines(keepends=True)
    (run / "events.jsonl").write_text(lines[0] + "{\n" + lines[1])
    assert "line 2" in refusal(capsys, "report", run)
    (run / "events.jsonl").unlink()
    assert "has not begun" in refusal(capsys, "report", run)
    assert not (run / "report.html").exists()


def test_an_unwritable_output_is_reported_before_the_work(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(run_report, "_page", lambda *_: pytest.fail("work was done before the output was checked"))
    folder = tmp_path / "folder.html"
    folder.mkdir()
    for place in (folder, "/proc/none/page.html"):
        assert "cannot be written" in refusal(capsys, "report", trained, "--out", place)
    assert list(tmp_path.rglob("*")) == [folder]


def test_a_missing_library_is_named(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(InputError, match=r'needs sklearn .*pip install "ccafl\[report\]"'):
        report_run(trained)


# --- In a browser -----------------------------------------------------------------------------------------------------


def test_in_a_browser_without_network(browser, page, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(page)
    problems = []

    def only_files(route):
        if route.request.url.startswith(("file:", "data:")):
            route.continue_()
        else:
            problems.append(f"requests {route.request.url}")
            route.abort()

    for width, scheme in ((1200, "light"), (1200, "dark"), (390, "light")):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        context.set_offline(True)
        context.route("**/*", only_files)
        tab = context.new_page()
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("requestfailed", lambda request: problems.append(request.url))
        tab.goto(file.as_uri())
        assert tab.locator("section").count() == len(SECTIONS)
        assert all(tab.locator(f"#{name} h2").is_visible() for name in SECTIONS)
        assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert tab.evaluate("document.images.length") > 20
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate("[...document.querySelectorAll('figure img')].every(i => i.clientWidth >= 320)")
        ink = ImageOps.grayscale(Image.open(io.BytesIO(tab.locator("#losses img").first.screenshot()))).getextrema()
        assert ink[1] > 200 if scheme == "dark" else ink[0] < 60  # the figures' text has the theme's colour
        assert "✓ right" in tab.locator("#ranks").inner_text()
        ground, ink = (
            tab.evaluate(f"getComputedStyle(document.body).{name}.match(/\\d+/g).map(Number)")
            for name in ("backgroundColor", "color")
        )
        assert (sum(ground[:3]) < 150) == (scheme == "dark")
        assert abs(sum(ground[:3]) - sum(ink[:3])) > 450
        tab.locator("details summary").first.click()
        assert "stage2:" in tab.locator("details pre").first.inner_text()
        context.close()
    assert problems == []


# --- The parts it is made from ----------------------------------------------------------------------------------------


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
        person, camera = query.persons[one.query], query.cameras[one.query]
        assert one.matches == int(((gallery.persons == person) & (gallery.cameras != camera)).sum())
        for index, right in one.found:
            assert gallery.persons[index] != -1
            assert right == (gallery.persons[index] == person)
            assert not (right and gallery.cameras[index] == camera)
        products = [float(gallery_features[index] @ query_features[one.query]) for index, _ in one.found]
        assert products == sorted(products, reverse=True)


def test_probabilities_show_the_same_person_in_the_same_places(world):
    records = read_source(world).train
    images, persons = accumulate(records), persons_of(records)
    torch.manual_seed(0)
    chosen = torch.arange(0, len(images), 2)
    before, after = (torch.rand(len(chosen), len(persons)) for _ in range(2))
    found = probabilities(before, after, chosen, images, persons, 16.0)
    assert len(found.samples) == 6
    assert {sample.camera for sample in found.samples} == {"c1", "c2", "c3"}  # the cameras take turns
    for sample in found.samples:
        kinds = [bar.kind for bar in sample.bars]
        assert kinds == sorted(kinds, key=[OWN, SAME, OTHER].index)
        assert kinds.count(OWN) == 1
        cameras = [bar.camera for bar in sample.bars if bar.kind != OTHER]
        assert cameras[0] == sample.camera
        assert len(set(cameras)) == len(cameras)  # a person has one identity per camera
        assert sum(bar.before for bar in sample.bars) + sample.rest_before == pytest.approx(1, abs=1e-5)
    assert 0 < found.before.same < 1
    assert found.before.same != found.after.same
    identities = images.identities[chosen]
    own = (16 * before).softmax(1)[torch.arange(len(chosen)), identities].mean()
    assert found.before.own == pytest.approx(float(own), abs=1e-6)


def test_the_map_takes_whole_persons_and_no_junk():
    persons = torch.arange(3000) // 10 + 1
    kept = sample_persons(persons, 1000)
    assert len(kept) <= 1000
    assert set(torch.bincount(persons[kept])[persons[kept].unique()].tolist()) == {10}
    market = torch.cat([torch.full((3819,), -1), torch.zeros(2798, dtype=torch.int64), persons])
    kept = sample_persons(market, 1000)
    assert 500 < len(kept) <= 1000
    assert int(market[kept].min()) > 0
