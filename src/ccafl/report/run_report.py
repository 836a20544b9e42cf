"""A run's page, made from its folder and its images."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccafl.data.images import load_image
from ccafl.data.numbering import EvaluationImages, LabelledImages, known_cameras, persons_of
from ccafl.data.store import ImageStore
from ccafl.data.transforms import normalise
from ccafl.errors import InputError
from ccafl.evaluation.embedder import Embedder, embed_images, load_run
from ccafl.evaluation.ranking import Ranking
from ccafl.files import check_suffix, written_whole
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.packages import require
from ccafl.report import page
from ccafl.report.activation import activation_figure, activation_maps, chosen_images, has_map
from ccafl.report.comparison import column, comparison, environments, losses, opened_test, quality, subtitle
from ccafl.report.drawing import picture, plain_label
from ccafl.report.embedding_map import FEWEST_POINTS, layout, map_figure, sample_persons
from ccafl.report.inputs import Images, OpenedRun, open_images, open_run, shows_nobody, trained_images
from ccafl.report.joins import joins_section
from ccafl.report.measured_test_set import Measures, TestSet, ranking_charts, score_charts
from ccafl.report.page import Chart, Row, Section
from ccafl.report.probability import Mass, Probabilities, probabilities, probability_figure
from ccafl.report.rank_lists import RankList, rank_lists
from ccafl.report.results_table import Column, facts_table, measures_table, share
from ccafl.training.checkpoint import load_checkpoint, load_last, load_state, of_a_checkpoint
from ccafl.words import counted

_MASS_IMAGES = 2048  # at most this many training images have their probabilities compared


def report_run(
    run: Path,
    *more: Path,
    data: Path | None = None,
    kind: str | None = None,
    outside: bool = False,
    out: Path | None = None,
    with_images: bool = False,
) -> Path:
    """Write the page of a run, or of several compared, one HTML file that needs no network, and return its path.

    If something is missing (images, a test set, the end of the run), the sections that need it say so.

    Args:
        run: a folder made by training.
        more: others, which are compared with it.
        data: where the images are now; None for the place that each run recorded.
        kind: the kind of ``data``, recognised if None.
        outside: let a manifest name images outside of its folder.
        out: the file; None for ``report.html`` in the run's folder, which several runs do not have.
        with_images: show pictures even if they may show real persons. Drawn pictures are always shown.

    Raises:
        InputError: it is not a run or has not begun, ``data`` cannot be read, the file cannot be written, a library is
            missing, or no file is given for several runs.
    """
    require("report", "matplotlib", "sklearn", what="the report")
    opened = [open_run(folder) for folder in (run, *more)]
    if more and out is None:
        raise InputError("a page that compares runs belongs to none of them; say where to write it with --out")
    place = opened[0].folder.report if out is None else out
    check_suffix(place, (".html", ".htm"), "the report")
    with written_whole(place) as temporary:  # fails early if it cannot be written
        images = [open_images(one.folder, data, kind, outside=outside) for one in opened]
        text = comparison(opened, images) if more else _page(opened[0], images[0], with_images)
        temporary.write_text(text, encoding="utf-8")
    return place


def _page(run: OpenedRun, images: Images | str, with_images: bool) -> str:
    shown = not isinstance(images, str) and (with_images or shows_nobody(images))
    test, measured = opened_test(run, images)
    sections = [
        Section("results", "Results", _results(run, measured)),
        Section("losses", "Losses", losses([run])),
        Section("quality", "Ranking, association and cameras by epoch", quality([run])),
        Section("joins", "Joins", joins_section(run, images, shown=shown)),
        Section("ranking", "Ranking", _measured(measured, test, ranking=True)),
        Section("scores", "Scores of pairs", _measured(measured, test, ranking=False)),
        *_image_sections(run, images, test, measured, shown),
    ]
    head = [subtitle(run), _pictures(images, shown)]
    if not isinstance(images, str) and images.skipped:
        head.append(f"{counted(images.skipped, 'image')} could not be read and were left out.")
    return page.page(f"ccafl run {run.folder.path.resolve().name}", head, sections)


def _pictures(images: Images | str, shown: bool) -> str:
    if isinstance(images, str):
        return "No pictures are shown: the images are not available."
    if not shown:
        return "No pictures are shown, because they may show real persons; --with-images includes them."
    if shows_nobody(images):
        return "Pictures are shown: ccafl drew them, and they show no real person."
    return "Pictures are shown as requested; they may show real persons, so treat this page as personal data."


def _results(run: OpenedRun, measured: Measures | str) -> str:
    about = page.details("Settings (config.yaml)", run.folder.config.read_text("utf-8")) + environments({"": run})
    if not run.results:
        return page.reason("There are no results: the run has not finished, or its results.json is damaged.") + about
    own = column(run.folder.path.resolve().name, run, measured)
    columns, caption = [own], "What the run came to."
    if isinstance(run.results.get("intra"), dict):
        columns = [Column("camera by camera", run.results["intra"]), own]
        caption = "What the run came to, beside the same training without joining the cameras."
    return measures_table(columns, caption) + facts_table([own]) + about


def _measured(measured: Measures | str, test: TestSet | str, *, ranking: bool) -> str:
    if isinstance(measured, str) or isinstance(test, str):
        return page.reason(str(measured if isinstance(measured, str) else test))
    if ranking:
        return page.charts(ranking_charts({"run": measured}, {"run": test.query.camera_names}))
    drawn = score_charts({"run": measured})
    return page.charts(drawn) if drawn else page.reason("Too few kinds of pairs to compare.")


def _image_sections(
    run: OpenedRun, images: Images | str, test: TestSet | str, measured: Measures | str, shown: bool
) -> list[Section]:
    """The sections that need the images and the network."""
    titles = {
        "probability": "Before and after ICAL (the paper's figure 5)",
        "map": "Embedding",
        "ranks": "Rank lists",
        "activation": "Activation maps",
    }
    missing = run.embedder if isinstance(run.embedder, str) else images
    if isinstance(run.embedder, str) or isinstance(images, str):
        return [Section(name, title, page.reason(str(missing))) for name, title in titles.items()]
    embedder, found = run.embedder, images
    probability = _or_reason(lambda: _probability(run, embedder, found))
    bodies = {"probability": probability, **_test_sections(run, embedder, found, test, measured, shown)}
    return [Section(name, title, bodies[name]) for name, title in titles.items()]


def _or_reason(make: Callable[[], str]) -> str:
    """The result of ``make``, or the reason for its failure."""
    try:
        return make()
    except InputError as error:
        return page.reason(f"{error}.")


def _probability(run: OpenedRun, embedder: Embedder, opened: Images) -> str:
    kept = run.folder.before_adversarial
    if not kept.is_file():
        return page.reason("The run had no inter-camera adversarial learning (ICAL), so there is nothing to compare.")
    trained = _trained(run, opened)
    if isinstance(trained, str):
        return page.reason(trained)
    last, images, persons, basis = trained
    chosen = torch.arange(0, len(images), -(-len(images) // _MASS_IMAGES))
    after = _cosines(embedder, last, images, chosen, "after ICAL")
    earlier, state = load_run(run.folder.path), load_checkpoint(kept)
    with of_a_checkpoint(kept):
        load_state(earlier.encoder, state["encoder"], str(kept))
        before = _cosines(earlier, state, images, chosen, "before ICAL")
    found = probabilities(before, after, chosen, images, persons, embedder.config.stage2.adversarial.scale)
    caption = (
        "The global ID classifier's probabilities for a picture: of its own accumulated identity, of the same person's "
        "identities in other cameras, and of the likeliest identities of other persons (the rest is not drawn). The "
        f"same person is identified by {basis}. In the paper, the single peak at the own identity becomes several, one "
        "for each of the person's identities in other cameras. "
    )
    header = ("picture", "its camera", "camera of the identity", "kind", "before ICAL", "after ICAL")
    rows = [
        (number, sample.camera, bar.camera, bar.kind, bar.before, bar.after)
        for number, sample in enumerate(found.samples, start=1)
        for bar in sample.bars
    ]
    what = "Bar charts: the classifier's probabilities for a few pictures, before and after ICAL"
    caption += _peaks(found.before, found.after)
    drawn = picture(probability_figure(found.samples))
    chart = Chart("Probabilities of the identities", what, caption, drawn, header, rows, wide=True)
    return page.charts([chart]) + _masses(found, len(chosen))


def _peaks(before: Mass, after: Mass) -> str:
    """How the probabilities changed in this run, where the paper's claim may not hold."""
    same, own = (_change(old, new) for old, new in ((before.same, after.same), (before.own, after.own)))
    return f"Here the mean probability of the same person in other cameras {same}, that of the own identity {own}."


def _change(old: float, new: float) -> str:
    word = "rose" if new > old else "fell"
    return f"{word} from {100 * old:.2f} % to {100 * new:.2f} %"


def _masses(found: Probabilities, images: int) -> str:
    pairs = (
        ("same person, other cameras", found.before.same, found.after.same),
        ("own identity", found.before.own, found.after.own),
        ("all others", found.before.others, found.after.others),
    )
    rows = [
        Row(name, [f"{100 * old:.2f} %", f"{100 * new:.2f} %", f"{100 * (new - old):+.2f} points"])
        for name, old, new in pairs
    ]
    what = f"Mean probability over {images:,} training images, evenly sampled"
    note = page.paragraph(
        "The classifier and the features also learn from the other losses in these epochs, so not all of the "
        "difference is due to ICAL: the curve by epoch above shows how the probability changed before ICAL began."
    )
    return page.table(what, rows, ("identities", "before ICAL", "after ICAL", "difference")) + note


def _trained(run: OpenedRun, opened: Images) -> tuple[dict[str, Any], LabelledImages, Tensor, str] | str:
    """The last checkpoint, the images it was trained on and what `_persons` says of them, or why there are none."""
    where, last = load_last(run.folder)
    with of_a_checkpoint(where):
        images = trained_images(run, opened, len(last["classifier"]["weight"]))
        return images if isinstance(images, str) else (last, images, *_persons(opened, images, last))


def _persons(opened: Images, images: LabelledImages, last: dict[str, Any]) -> tuple[Tensor, str]:
    """The person (N,) of every accumulated identity, and where that comes from."""
    names = set(images.names)
    persons = persons_of([record for record in opened.source.train if (record.camera, record.label) in names])
    if persons is not None:
        return persons, "the true persons"
    association: Tensor = last["association"]
    alone = torch.arange(len(association)) + len(association)
    joined = torch.where(association >= 0, association, alone)
    return joined, "the run's own association (the true persons are unknown)"


def _cosines(embedder: Embedder, state: dict[str, Any], images: LabelledImages, chosen: Tensor, title: str) -> Tensor:
    """The classifier's cosines (n, N) for the chosen images."""
    classifier = GlobalIDClassifier(*state["classifier"]["weight"].shape)
    classifier.load_state_dict(state["classifier"])
    with torch.no_grad():
        cosines: Tensor = classifier(embed_images(embedder, images, title, chosen))
    return cosines


def _test_sections(
    run: OpenedRun, embedder: Embedder, opened: Images, test: TestSet | str, measured: Measures | str, shown: bool
) -> dict[str, str]:
    """The sections made from query and gallery; without them, the map shows training images."""
    if isinstance(test, str):
        why = page.reason(test)
        return {"map": _or_reason(lambda: _training_map(run, embedder, opened)), "ranks": why, "activation": why}
    gallery = test.gallery
    kept = sample_persons(gallery.persons)
    labels = [test.gallery_labels[index] for index in kept.tolist()]
    seen = gallery.cameras[kept], gallery.persons[kept], gallery.camera_names
    ranks = page.reason(measured) if isinstance(measured, str) else _ranks(measured.ranking, test, shown)
    return {
        "map": _map(test.gallery_features[kept], *seen, labels, "gallery features"),
        "ranks": ranks,
        "activation": _or_reason(lambda: _activation(embedder, test, shown)),
    }


def _training_map(run: OpenedRun, embedder: Embedder, opened: Images) -> str:
    trained = _trained(run, opened)
    if isinstance(trained, str):
        return page.reason(trained)
    _, images, persons, basis = trained
    own = persons[images.identities] + 1  # from 1, as test persons are
    kept = sample_persons(own)
    labels = [f"person {number}" for number in own[kept].tolist()]
    features = embed_images(embedder, images, "training images", kept)
    what = f"training features (there is no test set; persons identified by {basis})"
    return _map(features, images.cameras[kept], own[kept], images.camera_names, labels, what)


def _map(
    features: Tensor, cameras: Tensor, persons: Tensor, camera_names: Sequence[str], labels: Sequence[str], what: str
) -> str:
    if len(features) < FEWEST_POINTS:
        return page.reason(f"Too few images of persons for a map: {len(features)}.")
    caption = (
        f"t-SNE of {len(features):,} {what}, the same map twice: coloured by camera, and with a dozen persons "
        "highlighted. Camera-agnostic features mix the cameras (left) and keep each person together (right)."
    )
    places = layout(features)
    drawn = picture(map_figure(places, cameras, persons, camera_names, labels))
    rows = [
        (x, y, camera_names[camera], label)
        for (x, y), camera, label in zip(places.tolist(), cameras.tolist(), labels, strict=True)
    ]
    title, shape = "Map of the features", "Two scatter plots of features: by camera and by person"
    return page.charts([Chart(title, shape, caption, drawn, ("x", "y", "camera", "person"), rows, wide=True)])


def _ranks(ranking: Ranking, test: TestSet, shown: bool) -> str:
    query, gallery = test.query, test.gallery
    worst, best = rank_lists(test.query_features, test.gallery_features, query, gallery, ranking)
    intro = page.paragraph(
        f"The first ten gallery images for the worst and best queries by average precision (AP), out of "
        f"{counted(len(query), 'query', 'queries')} with mAP {share(ranking.mAP)}. Each tile says whether it is "
        "right, its rank, camera and person. Images of the query's person from its own camera are left out."
    )
    return intro + "".join(
        page.heading(title) + "".join(_rank_list(one, test, shown) for one in lists)
        for title, lists in (("Worst", worst), ("Best with several matches", best))
    )


def _rank_list(one: RankList, test: TestSet, shown: bool) -> str:
    def card(images: EvaluationImages, labels: list[str], index: int, words: list[str], right: bool | None) -> str:
        photo = load_image(images.paths[index]) if shown else None
        camera = images.camera_names[int(images.cameras[index])]
        return page.tile([*words, camera, labels[index]], picture=photo, right=right)

    words = ["query", f"AP {share(one.average_precision)}", f"matches: {one.matches}"]
    asked = card(test.query, test.query_labels, one.query, words, None)
    found = [
        card(test.gallery, test.gallery_labels, index, [f"rank {place}"], right)
        for place, (index, right) in enumerate(one.found, start=1)
    ]
    return page.tiles(f"Rank list for a query showing {test.query_labels[one.query]}", [asked, *found])


def _activation(embedder: Embedder, test: TestSet, shown: bool) -> str:
    if not has_map(embedder.encoder):
        return page.reason("The image tower has no feature map (a ViT has none).")
    gallery, rows = test.gallery, chosen_images(test.gallery)
    if not rows:
        return page.reason("The gallery contains no known person.")
    chosen, sizes = torch.cat(rows), [len(row) for row in rows]
    store = ImageStore([gallery.paths[index] for index in chosen.tolist()], embedder.config.model.image_size)
    cameras = known_cameras(gallery, embedder.camera_names)[chosen]
    images = store.images(torch.arange(len(store)))
    maps = activation_maps(embedder.encoder, normalise(images), cameras).split(sizes)
    pictures = images.split(sizes) if shown else None
    titles = [
        [
            plain_label(f"{test.gallery_labels[index]}, {gallery.camera_names[int(gallery.cameras[index])]}")
            for index in row.tolist()
        ]
        for row in rows
    ]
    caption = (
        "Strength of the image tower's last feature map (the norm over its channels); brighter is stronger. One row "
        "per person, one image per camera" + ("." if shown else "; the pictures themselves are not shown.")
    )
    drawn = picture(activation_figure(maps, pictures, titles))
    chart = Chart("Strength by place", "Heat maps of the same persons in several cameras", caption, drawn, wide=True)
    return page.charts([chart])
