"""The page of a run, from its folder and its images."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ccafl.data.batches import EvaluationBatches, ImageStore
from ccafl.data.images import load_image
from ccafl.data.records import (
    EvaluationImages,
    LabelledImages,
    Source,
    accumulate,
    evaluation_images,
    known_cameras,
    persons_of,
)
from ccafl.data.source import read_source
from ccafl.errors import InputError
from ccafl.evaluation.embedder import Embedder, load_run
from ccafl.evaluation.ranking import rank
from ccafl.files import write_text
from ccafl.model.classifier import GlobalIDClassifier
from ccafl.report import page
from ccafl.report.activation import activation_figure, activation_maps, chosen_images
from ccafl.report.curves import loss_curves, quality_curves
from ccafl.report.embedding_map import evenly, layout, map_figure
from ccafl.report.page import Section
from ccafl.report.probability import probabilities, probability_figure
from ccafl.report.rank_lists import RankList, rank_lists
from ccafl.terminal import bar
from ccafl.training.checkpoint import load_checkpoint, load_state

_MASS_IMAGES = 2048  # training images whose probabilities are compared
_LIBRARIES = ("matplotlib", "sklearn")


def report_run(
    run: Path, *, data: Path | None = None, kind: str | None = None, out: Path | None = None, with_images: bool = False
) -> Path:
    """Write a run's page: one HTML file that needs no network; returns where it lies.

    Args:
        run: a folder made by training.
        data: where its images lie now; None for where they lay.
        kind: the source of ``data``, recognised if None.
        out: the file; None for ``report.html`` in the run's folder.
        with_images: show pictures, also where they may be of real persons. Drawn ones are always shown.

    Raises:
        InputError: it is not a run, has not trained yet, ``data`` cannot be read, or the libraries are not there.
    """
    missing = [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f'ccafl report needs {missing[0]}: pip install "ccafl[report]"')
    embedder = load_run(run)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text("utf-8").splitlines()]
    results = json.loads((run / "results.json").read_text("utf-8")) if (run / "results.json").is_file() else {}
    opened = _open_data(run, data, kind)
    shown = with_images or (not isinstance(opened, str) and drawn_by_ccafl(opened.where))
    sections = [
        Section("results", "Results", _results_section(run, results)),
        Section("losses", "Losses", _losses_section(events)),
        Section("quality", "Ranking and association by epoch", _quality_section(events)),
    ]
    if isinstance(opened, str):
        parts = ("probability", "Before and after ICAL"), ("map", "Embedding"), ("ranks", "Rank lists"), *_ACTIVATION
        sections += [Section(name, title, page.reason(opened)) for name, title in parts]
    else:
        sections.append(Section("probability", "Before and after ICAL", _probability_section(run, embedder, opened)))
        sections += _test_sections(embedder, opened, shown)
    place = run / "report.html" if out is None else out
    title = f"ccafl run {run.resolve().name}"
    write_text(place, page.page(title, _subtitle(results, embedder, shown), sections))
    return place


_ACTIVATION = (("activation", "Activation maps"),)


@dataclass(frozen=True, slots=True)
class _Opened:
    where: Path
    source: Source


def _open_data(run: Path, data: Path | None, kind: str | None) -> _Opened | str:
    """The run's images, or why they cannot be had; what the user names must be there."""
    if data is not None:
        return _Opened(data, read_source(data, kind))
    if not (run / "data.json").is_file():
        return "The run does not say where its images lay; give --data."
    remembered = json.loads((run / "data.json").read_text("utf-8"))
    where = Path(remembered["path"])
    try:
        source = read_source(where, remembered["source"])
    except InputError as error:
        return f"The images are not where they were ({error}); give --data."
    gone = next((record.path for record in [*source.train, *source.gallery] if not record.path.is_file()), None)
    if gone is not None:
        return f"The images are not where they were ({gone} is missing); give --data."
    return _Opened(where, source)


def drawn_by_ccafl(data: Path) -> bool:
    """Whether images are of ccafl's synthetic world, so of nobody: it leaves its ``world.json`` beside them."""
    folder = data if data.is_dir() else data.parent
    return (folder / "world.json").is_file()


def _subtitle(results: dict[str, Any], embedder: Embedder, shown: bool) -> str:
    config = embedder.config
    pictures = "with pictures" if shown else "without pictures: they may be of real persons (--with-images shows them)"
    steps = config.stage2.epochs * config.stage2.steps_per_epoch
    height, width = config.model.image_size
    data = results.get("dataset", "unfinished")
    return (
        f"{data} · mode {config.mode} · {config.model.architecture} at {height}x{width} · {steps:,} steps · "
        f"seed {config.seed} · {pictures}"
    )


def _results_section(run: Path, results: dict[str, Any]) -> str:
    config = page.details("Settings (config.yaml)", (run / "config.yaml").read_text("utf-8"))
    if not results:
        return page.reason("The run has not finished, so it has no results yet.") + config
    rows = {}
    for name, value in results.items():
        for inner, number in value.items() if isinstance(value, dict) else [("", value)]:
            rows[f"{name} {inner}".strip().replace("_", " ")] = (
                f"{number:.4f}" if isinstance(number, float) and abs(number) <= 1 else str(number)
            )
    return page.table(rows) + config


def _losses_section(events: list[dict[str, Any]]) -> str:
    caption = "Mean loss of every epoch, each part of the method apart. Dashed lines: a phase of stage 2 begins."
    return page.figure(loss_curves(events), caption)


def _quality_section(events: list[dict[str, Any]]) -> str:
    caption = (
        "Left: mAP and rank-1 on query and gallery, and how often a linear probe tells the camera from a feature (less "
        "is more camera-agnostic). Right: the association every epoch began with, against the true persons."
    )
    if not any(event.get("ranking") or event.get("association") for event in events):
        return page.reason("The data have no query and gallery and no true persons, so nothing was measured.")
    return page.figure(quality_curves(events), caption)


def _probability_section(run: Path, embedder: Embedder, opened: _Opened) -> str:
    kept = run / "checkpoints" / "before_adversarial.pt"
    if not kept.is_file():
        return page.reason("The run had no inter-camera adversarial learning (ICAL), so there is no before and after.")
    images, persons = accumulate(opened.source.train), persons_of(opened.source.train)
    last = load_checkpoint(run / "checkpoints" / "last.pt")
    told = "the true persons" if persons is not None else "the run's own association (the true persons are unknown)"
    if persons is None:
        alone = torch.arange(len(images.identity_cameras)) + len(images.identity_cameras)
        persons = torch.where(last["association"] >= 0, last["association"], alone)
    chosen = torch.arange(0, len(images), -(-len(images) // _MASS_IMAGES))
    after = _cosines(embedder, last, images, chosen, "after ICAL")
    earlier = load_run(run)
    state = load_checkpoint(kept)
    load_state(earlier.encoder, state["encoder"], str(kept))
    before = _cosines(earlier, state, images, chosen, "before ICAL")
    found = probabilities(before, after, chosen, images, persons, embedder.config.stage2.adversarial.scale)
    ratio = found.mass_after / found.mass_before if found.mass_before else float("inf")
    numbers = page.table(
        {
            "mean probability of the same person in other cameras, before ICAL": f"{found.mass_before:.4f}",
            "after ICAL": f"{found.mass_after:.4f}",
            "ratio": f"{ratio:.2f}",
        }
    )
    caption = (
        "The paper's figure 5: the global ID classifier's probability of a picture's own accumulated identity, of the "
        f"same person's in other cameras, and of the likeliest other persons'. Who is the same follows {told}. Before "
        "ICAL one peak, the own identity; after it several."
    )
    measured = page.paragraph(f"Over {len(chosen):,} training images, evenly chosen:")
    return page.figure(probability_figure(found), caption) + measured + numbers


def _cosines(embedder: Embedder, state: dict[str, Any], images: LabelledImages, chosen: Tensor, title: str) -> Tensor:
    """The classifier's cosines (n, N) of the chosen images."""
    classifier = GlobalIDClassifier(*state["classifier"]["weight"].shape)
    classifier.load_state_dict(state["classifier"])
    with torch.no_grad():
        cosines: Tensor = classifier(_embedded(embedder, images, chosen, title))
    return cosines


def _embedded(embedder: Embedder, images: LabelledImages | EvaluationImages, chosen: Tensor, title: str) -> Tensor:
    paths = [images.paths[index] for index in chosen.tolist()]
    cameras = [images.camera_names[camera] for camera in images.cameras[chosen].tolist()]
    parts = []
    with bar(title, len(paths)) as progress:
        for features in embedder.stream(paths, cameras):
            parts.append(features)
            progress.advance(len(features))
    return torch.cat(parts)


def _test_sections(embedder: Embedder, opened: _Opened, shown: bool) -> list[Section]:
    """What needs query and gallery; the map is of training images without them."""
    if not opened.source.query or not opened.source.gallery:
        why = page.reason("The data have no query and gallery.")
        return [
            Section(name, title, why) for name, title in (("map", "Embedding"), ("ranks", "Rank lists"), *_ACTIVATION)
        ]
    query, gallery = evaluation_images(opened.source.query, opened.source.gallery)
    everything = [torch.arange(len(images)) for images in (query, gallery)]
    query_features = _embedded(embedder, query, everything[0], "query")
    gallery_features = _embedded(embedder, gallery, everything[1], "gallery")
    return [
        Section("map", "Embedding", _map_section(gallery_features, gallery)),
        Section("ranks", "Rank lists", _ranks_section(query_features, gallery_features, query, gallery, shown)),
        Section("activation", "Activation maps", _activation_section(embedder, gallery, shown)),
    ]


def _map_section(features: Tensor, gallery: EvaluationImages) -> str:
    kept = evenly(gallery.persons)
    drawn = map_figure(layout(features[kept]), gallery.cameras[kept], gallery.persons[kept], gallery.camera_names)
    caption = (
        f"t-SNE of {len(kept):,} gallery features, the same places twice. Camera-agnostic features mix the cameras "
        "(left) and keep each person together (right)."
    )
    return page.figure(drawn, caption, raster=True)


def _ranks_section(
    query_features: Tensor, gallery_features: Tensor, query: EvaluationImages, gallery: EvaluationImages, shown: bool
) -> str:
    ranking = rank(query_features, gallery_features, query.persons, query.cameras, gallery.persons, gallery.cameras)
    worst, best = rank_lists(query_features, gallery_features, query, gallery, ranking)
    said = page.paragraph(
        f"The first gallery images of the worst and the best queries, of {len(query):,} with mAP {ranking.mAP:.4f}. "
        "Images of the query's person in its own camera are left out, as the protocol has it."
    )
    lists = "".join(
        f"<h3>{title}</h3>" + "".join(_rank_list(one, query, gallery, shown) for one in some)
        for title, some in (("Worst", worst), ("Best", best))
    )
    return said + lists


def _rank_list(one: RankList, query: EvaluationImages, gallery: EvaluationImages, shown: bool) -> str:
    def card(images: EvaluationImages, index: int, words: str, right: bool | None) -> str:
        picture = load_image(images.paths[index]) if shown else None
        camera = images.camera_names[int(images.cameras[index])]
        return page.tile([words, camera], picture=picture, right=right)

    asked = card(query, one.query, f"query, AP {one.average_precision:.2f}", None)
    found = [card(gallery, index, f"no. {place}", right) for place, (index, right) in enumerate(one.found, start=1)]
    return page.tiles([asked, *found])


def _activation_section(embedder: Embedder, gallery: EvaluationImages, shown: bool) -> str:
    chosen = chosen_images(gallery)
    if not len(chosen):
        return page.reason("The gallery holds no person.")
    store = ImageStore([gallery.paths[index] for index in chosen.tolist()], embedder.config.model.image_size)
    cameras = known_cameras(gallery, embedder.camera_names)[chosen]
    images, _ = EvaluationBatches(store, cameras, range(len(store)), len(store))[0]
    try:
        maps = activation_maps(embedder.encoder, images, cameras)
    except TypeError:
        return page.reason("The image tower is a ViT, which has no feature map.")
    pictures = torch.stack([store[index] for index in range(len(store))]) if shown else None
    numbers = {person: number for number, person in enumerate(gallery.persons[chosen].unique().tolist(), start=1)}
    titles = [
        f"person {numbers[int(gallery.persons[index])]}\n{gallery.camera_names[int(gallery.cameras[index])]}"
        for index in chosen.tolist()
    ]
    caption = (
        "Strength of the image tower's last feature map, the brighter the stronger, in pictures of the same persons in "
        "several cameras" + ("." if shown else "; the pictures themselves are not shown.")
    )
    return page.figure(activation_figure(maps, pictures, titles), caption, raster=True)
