"""The work of each command, from paths to files: the rooms joined in the data's order. `ccafl.cli` only calls these."""

import csv
import io
import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from open_clip.model import CLIP
from torch import Tensor

from ccafl.config import Config, dump, load_config, validated
from ccafl.data.batches import seed_for
from ccafl.data.check import Report, check
from ccafl.data.images import IMAGE_SUFFIXES, unreadable
from ccafl.data.links import IdentityLinks, links_between
from ccafl.data.listing import images_below
from ccafl.data.manifest import write as write_manifest
from ccafl.data.records import (
    EvaluationImages,
    LabelledImages,
    Source,
    accumulate,
    evaluation_images,
    persons_of,
    unmatched_queries,
)
from ccafl.data.source import read_source
from ccafl.data.split import split
from ccafl.data.store import CacheBudget, ImageStore
from ccafl.data.transforms import evaluation_transform
from ccafl.errors import InputError
from ccafl.evaluation.association_quality import association_quality
from ccafl.evaluation.embedder import Embedder, load_run
from ccafl.evaluation.features import write_features
from ccafl.evaluation.monitor import Monitor, RankedSet, figures
from ccafl.evaluation.ranking import rank, rank_by_distance
from ccafl.evaluation.reranking import k_reciprocal_by_features
from ccafl.evaluation.zero_shot import caption_recall, zero_shot_accuracy
from ccafl.files import check_free, disk_errors, new_folder, write_text
from ccafl.model.clip import load_clip
from ccafl.model.clip_towers import clip_tower
from ccafl.model.image_encoder import ImageEncoder
from ccafl.model.network import build_network, check_backbone, resolved
from ccafl.model.text import encode_sentences, tokenized
from ccafl.synthetic.caption import naming_upper
from ccafl.synthetic.captioned import CaptionedWorld
from ccafl.synthetic.person import UPPER_COLOURS
from ccafl.synthetic.world import PRETRAINING_SEED, PRETRAINING_STRAIN, World
from ccafl.synthetic.write import count_images, synthesize
from ccafl.terminal import bar, note, remark
from ccafl.training.checkpoint import fork
from ccafl.training.pretrain import Pretraining, pretrain, save_clip
from ccafl.training.run import Trained, associate_images, make_fabric, train
from ccafl.training.schedule import shared_epochs

Results = dict[str, Any]

DEMO_PERSONS, DEMO_CAMERAS = 150, 6
UNSEEN_PERSONS, UNSEEN_CAMERAS, UNSEEN_VIEWS = 250, 60, 4  # of the world that clip-synth is tested on


def train_run(
    config: Config,
    data: Path,
    out: Path,
    *,
    kind: str | None = None,
    resume: bool = False,
    skip_unreadable: bool = False,
    keep: Collection[int] = (),
) -> Results:
    """Train on the images of ``data`` into the run folder ``out``; returns what ``results.json`` holds.

    ``keep`` names epochs of stage 2 whose beginning is kept for other runs to begin with.

    Raises:
        InputError: the data, the settings or the folder cannot be used.
    """
    config = config.model_copy(update={"model": resolved(config.model)})
    check_backbone(config)
    source = read_source(data, kind)
    fabric = make_fabric(config.runtime)
    fabric.launch()
    shown = fabric.is_global_zero
    source = _readable(source, data, skip=skip_unreadable, shown=shown)
    images, truth = accumulate(source.train), persons_of(source.train)
    _check_trainable(config, images, truth, data, fabric.world_size)
    supervised = config.mode == "supervised"
    links = _links(config.data.links, images, shown=shown) if config.data.links and not supervised else None
    test = _rankable(source, data) if source.query and source.gallery else None
    _check_run_folder(out, config, resume)
    fabric.barrier()  # every process has looked before one writes
    network = build_network(
        config.model, len(images.identity_cameras), len(images.camera_names), seed_for(config.seed, 0)
    )
    if shown and network.prompts is None and config.stage1.epochs:
        note(f"{config.model.architecture} has no text tower: stage 1 has nothing to learn and is left out")
    if fabric.is_global_zero and not (resume and (out / "config.yaml").is_file()):
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "config.yaml", dump(config))
        write_text(out / "data.json", json.dumps({"path": str(data.resolve()), "source": source.kind}) + "\n")
    fabric.barrier()
    budget = CacheBudget(config.data.cache_mb << 20, config.data.cache_disk_mb << 20, out)
    store = _store(images.paths, config, budget, "training images", shown)
    ranked = _ranked_set(test, images.camera_names, config, budget, shown)
    monitor = Monitor(truth, ranked, config.stage2.adversarial.scale)
    trained = train(
        config,
        images,
        out,
        fabric,
        monitor,
        network=network,
        store=store,
        given_association=truth if supervised else None,
        links=links,
        keep=keep,
    )
    results = _results(config, source, data, images, trained) | _counts(links)
    if fabric.is_global_zero:
        write_text(out / "association.csv", _association_table(images, trained.association))
        write_text(out / "results.json", json.dumps(results, indent=2) + "\n")
    return results


def evaluate_run(
    run: Path, data: Path, *, kind: str | None = None, rerank: bool = False, checkpoint: str = "last"
) -> Results:
    """Rank query and gallery of ``data`` with a run's encoder; written to ``evaluation.json`` in the run's folder.

    Raises:
        InputError: the run or the data cannot be used, or the data has no query and gallery.
    """
    embedder = load_run(run, checkpoint=checkpoint)
    source = read_source(data, kind)
    if not source.query or not source.gallery:
        raise InputError(
            f"{data}: has no query and gallery to evaluate on; see ccafl data split, or add query/ and gallery/"
        )
    query, gallery = _rankable(source, data)
    features = _embedded(embedder, query, "query"), _embedded(embedder, gallery, "gallery")
    truth = (query.persons, query.cameras, gallery.persons, gallery.cameras)
    ranking = rank_by_distance(k_reciprocal_by_features(*features), *truth) if rerank else rank(*features, *truth)
    results = {
        "dataset": _dataset(source, data),
        "checkpoint": checkpoint,
        "rerank": rerank,
        "queries": len(query),
        "gallery": len(gallery),
    } | figures(ranking)
    name = "evaluation-rerank.json" if rerank else "evaluation.json"
    write_text(run / name, json.dumps(results, indent=2) + "\n")
    return results


def extract_run(run: Path, images: Path, out: Path, *, camera: str | None = None, skip_unreadable: bool = False) -> int:
    """Write the features of one picture, or of all pictures below a folder, to a Parquet file; returns how many.

    ``camera`` names the camera of all of them, for an encoder that keeps cameras' statistics.

    Raises:
        InputError: nothing to read, an unreadable picture, an unknown camera, or the file cannot be written.
    """
    embedder = load_run(run, fast=True)
    if camera is not None and camera not in embedder.camera_names:
        raise InputError(
            f"--camera {camera}: the run was not trained on it; give one of {', '.join(embedder.camera_names)}, or none"
        )
    paths = _readable_paths(_pictures(images), skip=skip_unreadable, shown=True)
    with bar("features", len(paths)) as progress:
        write_features(embedder, paths, out, progress.advance, camera=camera)
    return len(paths)


def associate_run(run: Path, data: Path, out: Path, *, kind: str | None = None, links: Path | None = None) -> Results:
    """Join the labels of ``data``'s training images across cameras, written to ``out`` as camera,label,identity.

    ``links`` is a table of corrections to heed; a table that the run was trained with is heeded only if given again.

    Returns:
        How many identities were joined into how many, and the quality where the true persons are known.

    Raises:
        InputError: the run, the data or the table cannot be used.
    """
    embedder = load_run(run)
    source = _readable(read_source(data, kind), data, skip=None, shown=True)
    images, truth = accumulate(source.train), persons_of(source.train)
    known = None if links is None else _links(links, images, shown=True)
    features = _embedded(embedder, images, "training images")
    association = associate_images(features, images, embedder.config.stage2.association, known)
    write_text(out, _association_table(images, association))
    joined = association[association >= 0]
    counts: Results = {"labels": len(association), "joined_labels": len(joined), "identities": len(joined.unique())}
    counts |= _counts(known)
    return counts if truth is None else counts | asdict(association_quality(association, truth))


def check_data(path: Path, *, kind: str | None = None) -> Report:
    """What the data hold, and what will be a problem."""
    source = read_source(path, kind)
    with bar("reading images", len(source.train) + len(source.query) + len(source.gallery)) as progress:
        return check(source, progress.advance)


def split_data(path: Path, out: Path, seed: int, *, kind: str | None = None) -> Path:
    """Split the training images of ``path`` by person and write the manifest; returns where it lies."""
    manifest = out if out.suffix in (".csv", ".parquet") else out / "manifest.csv"
    if manifest.exists():
        raise InputError(f"{manifest}: exists already; choose another output or remove it")
    source = read_source(path, kind)
    try:
        parts = split(source.train, seed)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    write_manifest(manifest, parts)
    return manifest


def synthesize_world(out: Path, *, seed: int, persons: int, cameras: int, images: int = 6) -> Path:
    """Draw a synthetic world with a progress bar; returns its manifest."""
    total = count_images(seed=seed, persons=persons, cameras=cameras, images=images)
    with bar("drawing the synthetic world", total) as progress:
        return synthesize(
            out,
            seed=seed,
            persons=persons,
            cameras=cameras,
            images=images,
            processes=os.cpu_count() or 1,
            advance=progress.advance,
        )


def pretrain_clip(
    out: Path, *, persons: int, cameras: int, views: int, settings: Pretraining, precision: str = "auto"
) -> Results:
    """Draw a world that no other command draws, pretrain clip-synth on its captions, and test it on another such world.

    ``out`` gets the pictures, a checkpoint to go on from, ``clip-synth.safetensors`` and ``results.json``.

    Raises:
        InputError: the folder cannot be used, or was begun with other settings.
    """
    for name, value, least in (("persons", persons, 2), ("views", views, 1), ("cameras", cameras, views)):
        if value < least:
            raise InputError(f"{name} {value}: too small; give {least} or more")
    if persons * views < settings.batch_size:
        raise InputError(f"batch {settings.batch_size}: more than the {persons * views} pictures; give a smaller one")
    runtime = validated({"runtime": {"devices": 1, "precision": precision}}, "pretrain").runtime
    if not (out / "world.json").is_file():
        new_folder(out)
    fabric = make_fabric(runtime)
    fabric.launch()
    seen = CaptionedWorld(World(PRETRAINING_SEED, persons, cameras, PRETRAINING_STRAIN), views)
    unseen = CaptionedWorld(
        World(PRETRAINING_SEED + 1, UNSEEN_PERSONS, UNSEEN_CAMERAS, PRETRAINING_STRAIN), UNSEEN_VIEWS
    )
    described = {"persons": persons, "cameras": cameras, "views": views}
    clip = pretrain(seen, _drawn_pictures(seen, out, described), out, fabric, settings)
    weights = out / "clip-synth.safetensors"
    save_clip(weights, clip)
    results = described | asdict(settings) | zero_shot(load_clip("clip-synth", str(weights)), unseen)
    write_text(out / "results.json", json.dumps(results, indent=2) + "\n")
    return results


def zero_shot(clip: CLIP, unseen: CaptionedWorld) -> Results:
    """How a CLIP finds described persons and names colours in a world, as `ImageEncoder` reads the pictures."""
    images = np.empty((len(unseen.pictures), 3, *unseen.size), np.uint8)
    with bar("drawing unseen persons", len(images)) as progress:
        unseen.draw(images, os.cpu_count() or 1, progress.advance)
    encoder, transform = ImageEncoder(clip_tower(clip.visual, unseen.size)).eval(), evaluation_transform()
    palette = [colour for colour, _ in UPPER_COLOURS]
    shown = torch.from_numpy(unseen.pictures[:, 0])
    colours = torch.tensor([palette.index(unseen.world.person(person).upper_colour.name) for person in shown.tolist()])
    with torch.inference_mode():
        features = torch.cat([encoder(transform(some))[1] for some in torch.from_numpy(images).split(256)])
        sentences = [unseen.caption(picture) for picture in range(len(images))]
        described = encode_sentences(clip, tokenized(sentences, clip.context_length))
        classes = torch.stack([_mean_feature(clip, naming_upper(colour)) for colour in palette])
    return {
        "caption_recall_at_10": caption_recall(described, features, shown, shown),
        "upper_colour_accuracy": zero_shot_accuracy(classes, features, colours),
        "unseen_images": len(images),
        "unseen_persons": unseen.world.persons,
    }


def _mean_feature(clip: CLIP, sentences: Sequence[str]) -> Tensor:
    """The feature of what sentences have in common (E,): CLIP's ensemble of prompts."""
    return F.normalize(encode_sentences(clip, tokenized(sentences, clip.context_length))).mean(0)


def _drawn_pictures(captioned: CaptionedWorld, out: Path, described: Results) -> npt.NDArray[np.uint8]:
    """The pictures in ``out/pictures.npy``, drawn if they are not there yet; read from the disk as they are needed."""
    path, note_path = out / "pictures.npy", out / "world.json"
    if note_path.is_file() and json.loads(note_path.read_text("utf-8")) != described:
        raise InputError(f"{note_path}: the pictures there are of another world; use it or another output")
    if not note_path.is_file():
        shape = (len(captioned.pictures), 3, *captioned.size)
        with disk_errors(path):
            pictures = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
            with bar("drawing pictures", len(pictures)) as progress:
                captioned.draw(pictures, os.cpu_count() or 1, progress.advance)
            pictures.flush()
        write_text(note_path, json.dumps(described) + "\n")
    drawn: npt.NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return drawn


def begin_as(parent: Path, epoch: int, out: Path, config: Config) -> None:
    """Begin the run ``out`` as ``parent`` was at the start of an epoch of stage 2 that it kept (`train_run`).

    Nothing is done where ``out`` has begun already, or ``parent`` kept no such state: ``out`` then begins by itself.
    """
    if (out / "config.yaml").is_file():
        return
    settings = config.model_copy(update={"model": resolved(config.model)})
    if fork(parent, epoch, out, settings):
        write_text(out / "data.json", (parent / "data.json").read_text())
        write_text(out / "config.yaml", dump(settings))  # last: without it the run begins anew


def demo(out: Path) -> dict[str, Results]:
    """Draw a synthetic world, train ``intra`` and CCAFL on it with equal steps, compare.

    ``out`` becomes the CCAFL run, with the world and the reference run in folders of it; both begin alike, which is
    trained once. An unfinished demo is gone on with.
    """
    world, config = out / "world", load_config("demo")
    if not (world / "manifest.csv").is_file():
        new_folder(out)
        synthesize_world(world, seed=0, persons=DEMO_PERSONS, cameras=DEMO_CAMERAS)
    intra = config.model_copy(update={"mode": "intra"})
    shared = shared_epochs(intra, config)
    runs = {"intra": train_run(intra, world, out / "intra", resume=True, keep=[shared])}
    begin_as(out / "intra", shared, out, config)
    runs["ccafl"] = train_run(config, world, out, resume=True)
    write_text(out / "results.json", json.dumps(runs["ccafl"] | {"intra": runs["intra"]}, indent=2) + "\n")
    return runs


def _check_trainable(config: Config, images: LabelledImages, truth: Tensor | None, data: Path, processes: int) -> None:
    stage2 = config.stage2
    if stage2.identities * stage2.images % processes:
        raise InputError(
            f"stage2: a batch of {stage2.identities} x {stage2.images} cannot be shared by {processes} processes; "
            "change stage2.identities or stage2.images"
        )
    if config.mode == "supervised" and truth is None:
        raise InputError(f"{data}: mode supervised needs the true person of every image; give a manifest with them")
    if config.mode == "ccafl" and len(images.camera_names) < 2:
        raise InputError(
            f"{data}: all training images are of one camera ({images.camera_names[0]}), nothing to join; "
            "add cameras or set mode=intra"
        )
    if len(images.identity_cameras) < 2:
        raise InputError(f"{data}: only one label to learn from; label more persons")


def _check_run_folder(out: Path, config: Config, resume: bool) -> None:
    """The run's folder is free, or the one to go on with has these settings."""
    settings = out / "config.yaml"
    if resume and settings.is_file():
        before = load_config(str(settings))
        if before != config:
            raise InputError(
                f"{settings}: has other settings ({_differences(before, config)}); use them or another --out"
            )
    elif not (resume and (out / "world").is_dir()):
        check_free(out)


def _differences(before: Config, now: Config) -> str:
    """``key: before, now`` of the settings that differ."""
    old, new = _flat(before.model_dump()), _flat(now.model_dump())
    return "; ".join(f"{key}: {old[key]}, now {new[key]}" for key in old if old[key] != new[key])


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _readable(source: Source, data: Path, *, skip: bool | None, shown: bool) -> Source:
    """The source without its unreadable images, which are listed once; an error unless ``skip`` (None: not offered)."""
    if not source.train:
        raise InputError(f"{data}: holds no training images; give data that do")
    lists = (source.train, source.query, source.gallery)
    paths = [record.path for records in lists for record in records]
    kept = set(_readable_paths(paths, skip=skip, shown=shown))
    train, query, gallery = ([record for record in records if record.path in kept] for records in lists)
    if not train:
        raise InputError(f"{data}: no training image can be read; mend them or give other data")
    return replace(source, train=train, query=query, gallery=gallery)


def _readable_paths(paths: Sequence[Path], *, skip: bool | None, shown: bool) -> list[Path]:
    with bar("reading images", len(paths), shown=shown) as progress:
        bad = unreadable(paths, advance=progress.advance)
    if bad and not skip:
        path, reason = next(iter(bad.items()))
        others = (
            f" (and {len(bad) - 1} more: {', '.join(str(path) for path in list(bad)[1:6])})" if len(bad) > 1 else ""
        )
        or_skip = "" if skip is None else ", or skip such images with --skip-unreadable"
        raise InputError(f"{path}: {reason}{others}; mend or remove{or_skip}")
    if bad and shown:
        lines = (f"  {path}: {why}" for path, why in bad.items())
        note("\n".join((f"skipped {len(bad)} unreadable images:", *lines)))
    return [path for path in paths if path not in bad]


def _pictures(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; give a picture or a folder of pictures")
    pictures = sorted(images_below(path))
    if not pictures:
        raise InputError(f"{path}: holds no pictures ({', '.join(sorted(IMAGE_SUFFIXES))}); give a folder that does")
    return pictures


def _links(table: str | Path, images: LabelledImages, *, shown: bool) -> IdentityLinks:
    """The corrections of a table, and a word on those that are not of these images."""
    links = links_between(Path(table), images)
    if links.left_out and shown:
        note(f"{table}: lines left out, naming labels that the training images do not have: {links.left_out}")
    return links


def _counts(links: IdentityLinks | None) -> Results:
    return {} if links is None else {"links": {"must_link": len(links.must), "cannot_link": len(links.cannot)}}


def _store(paths: Sequence[Path], config: Config, budget: CacheBudget, title: str, shown: bool) -> ImageStore:
    """Images of ``paths``, decoded once where the budget allows, and a word on where they are kept."""
    with bar(f"{title}: decoding", len(paths), shown=shown) as progress:
        store = ImageStore(paths, config.model.image_size, budget, progress.advance)
    if shown:
        advice = "" if store.kept else "; raise data.cache_mb or data.cache_disk_mb to decode them once"
        remark(f"{title}: {len(paths):,} images, {store.mib:,.0f} MiB resized, {store.place}{advice}")
    return store


def _rankable(source: Source, data: Path) -> tuple[EvaluationImages, EvaluationImages]:
    query, gallery = evaluation_images(source.query, source.gallery)
    if len(unmatched_queries(query, gallery)) == len(query):
        raise InputError(
            f"{data}: no query's person is in the gallery in another camera, nothing to measure; see ccafl data check"
        )
    return query, gallery


def _ranked_set(
    test: tuple[EvaluationImages, EvaluationImages] | None,
    trained_cameras: tuple[str, ...],
    config: Config,
    budget: CacheBudget,
    shown: bool,
) -> RankedSet | None:
    if test is None:
        return None
    query, gallery = test
    query_store = _store(query.paths, config, budget, "queries", shown)
    gallery_store = _store(gallery.paths, config, budget, "gallery", shown)
    return RankedSet(query, gallery, query_store, gallery_store, trained_cameras)


def _embedded(embedder: Embedder, images: LabelledImages | EvaluationImages, title: str) -> Tensor:
    with bar(title, len(images)) as progress:
        parts = []
        for features in embedder.stream(images.paths, (images.camera_names[camera] for camera in images.cameras)):
            parts.append(features)
            progress.advance(len(features))
    return torch.cat(parts)


def _results(config: Config, source: Source, data: Path, images: LabelledImages, trained: Trained) -> Results:
    ranks: Results = {name: trained.figures.get(name) for name in ("mAP", "rank1", "rank5", "rank10", "unmatched")}
    quality = {
        name.removeprefix("association_"): value
        for name, value in trained.figures.items()
        if name.startswith("association_")
    }
    told = trained.figures
    camera = ("camera_probe", "camera_chance", "own_camera_neighbours", "own_camera_chance")
    mass = ("same_person_mass_before", "same_person_mass")
    return (
        ranks
        | {name: told[name] for name in (*camera, *mass) if name in told}
        | {
            "association": quality or None,
            "dataset": _dataset(source, data),
            "mode": config.mode,
            "seed": config.seed,
            "seconds": round(trained.seconds, 1),
            "epochs": config.stage2.epochs,
            "steps": config.stage2.epochs * config.stage2.steps_per_epoch,
            "images": len(images),
            "cameras": len(images.camera_names),
            "identities": len(images.identity_cameras),
        }
    )


def _dataset(source: Source, data: Path) -> str:
    return f"{source.kind}:{data.resolve().name}"


def _association_table(images: LabelledImages, association: Tensor) -> str:
    """CSV: camera, label, identity (the associated identity, -1 for a label left alone)."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["camera", "label", "identity"])
    cameras = (images.camera_names[camera] for camera in images.identity_cameras.tolist())
    table.writerows(zip(cameras, images.identity_labels, association.tolist(), strict=True))
    return text.getvalue()
