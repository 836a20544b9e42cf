"""The work of each command, from paths to files. It joins the rooms; `ccafl.cli` only calls these functions."""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from ccafl import own
from ccafl.config import Config, changed, load_config, settings_of
from ccafl.data.batches import seed_for
from ccafl.data.check import Report, check, how_to_test
from ccafl.data.drawn import drawn_by_ccafl
from ccafl.data.folder import MisplacedError
from ccafl.data.identity_links import IdentityLinks, links_between, merged
from ccafl.data.left_out import left_out, sentences
from ccafl.data.listing import pictures_below
from ccafl.data.manifest import write as write_manifest
from ccafl.data.numbering import EvaluationImages, LabelledImages, accumulate, persons_of
from ccafl.data.opening import rankable, readable, readable_paths, require_training
from ccafl.data.records import Source
from ccafl.data.source import read_source
from ccafl.data.split import split
from ccafl.data.store import CacheBudget, ImageStore
from ccafl.data.trusted import trust
from ccafl.errors import InputError, UnwrittenError
from ccafl.evaluation.association_quality import association_quality
from ccafl.evaluation.camera_standardisation import standardised_by_camera
from ccafl.evaluation.embedder import embed_images, load_model, load_run, named_weights
from ccafl.evaluation.features import write_features
from ccafl.evaluation.monitor import Monitor, RankedSet, figures
from ccafl.evaluation.ranking import rank, rank_by_distance
from ccafl.evaluation.reranking import k_reciprocal_by_features
from ccafl.files import check_suffix, lock, new_folder, without_nan, write_json
from ccafl.method.association import of_members
from ccafl.method.topology import CameraTopology
from ccafl.model.network import build_network, check_backbone, resolved
from ccafl.run_folder import RunFolder, write_association
from ccafl.synthetic.film import film, settings_for
from ccafl.synthetic.write import count_images, synthesize
from ccafl.terminal import bar, duration, note, remark
from ccafl.training.association import associate_identities
from ccafl.training.checkpoint import fork
from ccafl.training.clock import Clock
from ccafl.training.fabric import make_fabric
from ccafl.training.run import Trained, Training
from ccafl.training.schedule import shared_epochs
from ccafl.training.topology import camera_topology, counts_of
from ccafl.words import listed_names

Results = dict[str, Any]

DEMO_PERSONS, DEMO_CAMERAS = 150, 6
_LEAST_CERTAIN = 5  # joins shown at the end of a training
_DEMO_LOCK = "demo.lock"  # the folder is a run's, too, which has its own


def choose_config(
    name: str,
    overrides: Sequence[str] | None,
    data: Path,
    *,
    kind: str | None = None,
    outside: bool = False,
    run: Path | None = None,
    camera_statistics: bool = True,
) -> tuple[Config, list[str]]:
    """The settings that ``name`` stands for, and why: those of ``own`` follow from the data, all others are as read.

    Args:
        name: as for `load_config`; ``own+other`` lays the settings of ``other`` over those chosen.
        overrides: ``key.path=value``, which have the last word.
        data, kind, outside: as for `train_run`.
        run: folder of a run that is to be resumed; if it has begun, its settings are kept, and nothing is chosen.
        camera_statistics: whether ``own`` may choose them.

    Raises:
        InputError: as `load_config`, or the data cannot be used.
    """
    first, *others = name.split("+")
    if first != own.NAME or Path(name).is_file():
        return load_config(name, list(overrides or [])), []
    wishes = settings_of(others, overrides)
    if run is not None and RunFolder(run).begun:
        return changed(RunFolder(run).read_config(), wishes, name), []
    source = _trainable_source(data, kind, outside)
    model, runtime = (wishes.get(part) or {} for part in ("model", "runtime"))
    wished = (str(model["architecture"]), "you asked for it") if "architecture" in model else None
    network = wished or own.network_here(str(runtime.get("accelerator", "auto")), fetch=True)
    config, reasons = own.own_settings(own.find(source, data, network), camera_statistics=camera_statistics)
    config = changed(config, wishes, name)
    if "epochs" not in (wishes.get("stage1") or {}):
        config = own.with_prompts(config)
    return config, [*reasons, *([f"changed: {', '.join(overrides)}"] if overrides else [])]


def plan_own(data: Path, *, kind: str | None = None, outside: bool = False) -> list[str]:
    """What ``own`` would choose for ``data`` and how long it would train, in lines; none without training images.

    Raises:
        InputError: the data cannot be read.
    """
    source = read_source(data, kind, outside=outside)
    if not source.train:
        return []
    config, reasons = own.own_settings(own.find(source, data, own.network_here(fetch=False)))
    tested = len(source.query) + len(source.gallery)
    seconds = own.estimated_seconds(config, accumulate(source.train), tested)
    return ["ccafl train own:", *(f"  {reason}" for reason in reasons), f"  time: about {duration(seconds)} here"]


def train_run(
    config: Config,
    data: Path,
    out: Path,
    *,
    kind: str | None = None,
    outside: bool = False,
    resume: bool = False,
    skip_unreadable: bool = False,
    keep: Collection[int] = (),
    reasons: Sequence[str] = (),
) -> Results:
    """Train on the images of ``data`` into the run folder ``out``; returns what ``results.json`` holds.

    Args:
        config: the settings.
        data: with training images.
        out: the run's folder.
        kind: of the data; recognised if not given.
        outside: let a manifest name images outside of its folder.
        resume: continue from the last checkpoint in the folder.
        skip_unreadable: leave out images that cannot be read, listing them.
        keep: epochs of stage 2 at whose start the state is kept, for other runs to start from.
        reasons: lines about the settings, to be shown.

    Raises:
        InputError: the data, the settings or the folder cannot be used, or the training diverges.
    """
    clock = Clock()
    config, folder = _resolved(config), RunFolder(out)
    check_backbone(config)
    source = read_source(data, kind, outside=outside)
    fabric = make_fabric(config.runtime)
    fabric.launch()
    with ExitStack() as held:  # the folder's lock
        begun = folder.begun
        if begun:  # before any work
            _claim(folder, config, fabric, held, resume=resume)
        shown = fabric.is_global_zero
        if shown and reasons:
            note(*reasons)
        aside = [part for part in left_out(data, source) if part.pictures] if shown else []
        if aside:
            note(*sentences(aside))
        with clock.part("images"):
            source = readable(source, data, skip=skip_unreadable, shown=shown)
        images, truth = accumulate(source.train), persons_of(source.train)
        labelled, groups = images, torch.arange(len(images.identity_cameras))
        supervised = config.mode == "supervised"
        links = _links(config.data.links, images, shown=shown) if config.data.links and not supervised else None
        link_counts = _counts(links)
        if links is not None:  # labels of a camera that are one person for certain are one label
            same = merged(images, links)
            images, groups, links = same.images, same.groups, links.grouped(same.groups)
            truth = None if truth is None else truth[same.first]
        _check_trainable(config, images, truth, data, fabric.world_size)
        topology = (
            _topology(config.data.topology, images, shown=shown) if config.data.topology and not supervised else None
        )
        test = rankable(source, data) if source.query and source.gallery else None
        folder.check_usable(config, resume=resume)
        network = build_network(
            config.model, len(images.identity_cameras), len(images.camera_names), seed_for(config.seed, 0)
        )
        if shown and network.prompts is None and config.stage1.epochs:
            note(f"{config.model.architecture} has no text tower: stage 1 has nothing to learn and is left out")
        if not begun:
            _claim(folder, config, fabric, held, resume=resume)
            if fabric.is_global_zero:
                folder.write_config(config)
                folder.write_data(data, source.kind, drawn=drawn_by_ccafl(data))
                folder.write_environment()
        fabric.barrier()
        budget = CacheBudget(config.data.cache_mb << 20, config.data.cache_disk_mb << 20, out)
        with clock.part("images"):
            store = _store(images.paths, config, budget, "training images", shown)
            ranked = _ranked_set(test, images.camera_names, config, budget, shown)
        monitor = Monitor(truth, ranked, config.stage2.adversarial.scale)
        trained = Training(
            config,
            images,
            out,
            fabric,
            monitor,
            network=network,
            store=store,
            given_association=truth if supervised else None,
            links=links,
            topology=topology,
            keep=keep,
            clock=clock,
        ).run()
        results: Results = without_nan(
            _results(config, source, data, images, trained) | link_counts | counts_of(topology)
        )
        if fabric.is_global_zero:
            with _shown_anyway(results):
                write_association(folder.association, labelled, of_members(trained.association, groups))
                folder.write_results(results)
        return results


def _claim(folder: RunFolder, config: Config, fabric: Fabric, held: ExitStack, *, resume: bool) -> None:
    """Lock the folder until ``held`` closes, and check it; where one process refuses it, all do.

    Raises:
        InputError: another training has it, or as `RunFolder.check_usable`.
    """
    refusal = ""
    if fabric.is_global_zero:
        try:
            held.enter_context(folder.lock())
            folder.check_usable(config, resume=resume)
        except InputError as error:
            refusal = str(error)
    refusal = fabric.broadcast(refusal)
    if refusal:
        raise InputError(refusal)


@contextmanager
def _shown_anyway(results: Results) -> Iterator[None]:
    """Let the command line show results that cannot be written."""
    try:
        yield
    except InputError as error:
        raise UnwrittenError(str(error), results) from error


def evaluate_run(
    model: Path | str,
    data: Path,
    *,
    kind: str | None = None,
    outside: bool = False,
    rerank: bool = False,
    camera_standardise: bool = False,
    checkpoint: str = "last",
    out: Path | None = None,
) -> Results:
    """Rank query and gallery of ``data`` with an encoder.

    Args:
        model: a run's folder, or an architecture with weights, such as ``clip-synth``.
        data: with query and gallery.
        kind: of the data; recognised if not given.
        outside: as for `train_run`.
        rerank: by k-reciprocal re-ranking.
        camera_standardise: standardise the features by camera, over the images of query and gallery together.
        checkpoint: of a run: ``last`` or ``best``.
        out: JSON file for the results; by default ``evaluation.json`` in the run's folder, and none without a run.

    Raises:
        InputError: the model or the data cannot be used, or the data has no query and gallery.
    """
    if out is not None:
        check_suffix(out, (".json",), "the results")
    embedder, weights = load_model(model, checkpoint=checkpoint), named_weights(model)
    source = read_source(data, kind, outside=outside)
    if not source.query or not source.gallery:
        raise InputError(f"{data}: has no query and gallery to evaluate on; {how_to_test(source.train)}")
    query, gallery = rankable(source, data)
    features = embed_images(embedder, query, "query"), embed_images(embedder, gallery, "gallery")
    if camera_standardise:
        together = standardised_by_camera(torch.cat(features), torch.cat([query.cameras, gallery.cameras]))
        features = together[: len(query)], together[len(query) :]
    truth = (query.persons, query.cameras, gallery.persons, gallery.cameras)
    ranking = rank_by_distance(k_reciprocal_by_features(*features), *truth) if rerank else rank(*features, *truth)
    results = {
        "dataset": _dataset(source, data),
        **({"weights": str(weights)} if weights else {"checkpoint": embedder.checkpoint}),
        "rerank": rerank,
        "camera_standardise": camera_standardise,
        "queries": len(query),
        "gallery": len(gallery),
    } | figures(ranking)
    if out is None and weights is None:
        out = RunFolder(Path(model)).evaluation(rerank=rerank, standardised=camera_standardise)
    if out is not None:
        with _shown_anyway(results):
            write_json(out, results)
    return results


def extract_run(
    model: Path | str, images: Path, out: Path, *, camera: str | None = None, skip_unreadable: bool = False
) -> int:
    """Write the features of one picture, or of all pictures below a folder, to a Parquet file; returns their number.

    ``model`` is a run's folder, or an architecture with weights; ``camera`` names the camera of all pictures, for a
    run that keeps statistics per camera.

    Raises:
        InputError: no such model, nothing to read, an unreadable picture, an unknown camera, or the file cannot be
            written.
    """
    check_suffix(out, (".parquet",), "the features")
    embedder = load_model(model, fast=True)
    if camera is not None and not embedder.camera_names:
        raise InputError(f"--camera {camera}: {model} was trained on no cameras; leave it out")
    if camera is not None and camera not in embedder.camera_names:
        raise InputError(
            f"--camera {camera}: the run was not trained on it; {listed_names(embedder.camera_names, camera)}"
        )
    paths = readable_paths(_pictures(images), skip=skip_unreadable)
    with bar("features", len(paths)) as progress:
        write_features(embedder, paths, out, progress.advance, camera=camera)
    return len(paths)


def associate_run(
    run: Path,
    data: Path,
    out: Path,
    *,
    kind: str | None = None,
    outside: bool = False,
    links: Path | None = None,
    topology: Path | None = None,
) -> Results:
    """Join the labels of ``data``'s training images across cameras, written to ``out`` as camera,label,identity.

    ``links`` is a table of corrections to respect, ``topology`` one of the cameras; those that the run was trained with
    count only if given again.

    Returns:
        The numbers of labels, joined labels and identities, and the quality if the true persons are known.

    Raises:
        InputError: the run, the data or a table cannot be used.
    """
    check_suffix(out, (".csv",), "the association")
    embedder = load_run(run)
    source = readable(read_source(data, kind, outside=outside), data, skip=None)
    images, truth = accumulate(source.train), persons_of(source.train)
    known = None if links is None else _links(links, images, shown=True)
    places = None if topology is None else _topology(topology, images, shown=True)
    features = embed_images(embedder, images, "training images")
    settings = embedder.config.stage2.association
    found = associate_identities(
        features, images.identities, images.identity_cameras, settings, known, places, tracks=images.tracks
    )
    association = found.identities
    joined = association[association >= 0]
    counts: Results = {"labels": len(association), "joined_labels": len(joined), "identities": len(joined.unique())}
    counts |= _counts(known) | counts_of(places)
    if found.estimated_precision is not None:
        counts["estimated_precision"] = found.estimated_precision
    if truth is not None:
        counts |= asdict(association_quality(association, truth))
    with _shown_anyway(counts):
        write_association(out, images, association)
    return counts


def check_data(path: Path, *, kind: str | None = None, outside: bool = False) -> Report:
    """What the data contain, and which problems to expect; a picture in the wrong place is one of them."""
    try:
        source, misplaced = read_source(path, kind, outside=outside), None
    except MisplacedError as error:
        source, misplaced = error.rest, error
    with bar("reading images", len(source.records)) as progress:
        return check(source, path, progress.advance, misplaced)


def split_data(path: Path, out: Path, seed: int, *, kind: str | None = None, outside: bool = False) -> Path:
    """Split the training images of ``path`` by person and write the manifest; returns its path."""
    manifest = out if out.suffix in (".csv", ".parquet") else out / "manifest.csv"
    if manifest.exists():
        raise InputError(f"{manifest}: exists already; choose another output or remove it")
    source = read_source(path, kind, outside=outside)
    try:
        parts = split(source.train, seed)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    write_manifest(manifest, parts)
    trust(manifest)
    return manifest


def synthesize_world(
    out: Path, *, seed: int, persons: int = 150, cameras: int = 6, images: int = 6, visits: str = "usual"
) -> str:
    """Draw a synthetic world's pictures with a progress bar; returns what was drawn and where, in words."""
    total = count_images(seed=seed, persons=persons, cameras=cameras, images=images, visits=visits)
    with bar("drawing the synthetic world", total) as progress:
        manifest = synthesize(
            out,
            seed=seed,
            persons=persons,
            cameras=cameras,
            images=images,
            visits=visits,
            processes=os.cpu_count() or 1,
            advance=progress.advance,
        )
    return f"{persons} persons in {cameras} cameras: {manifest}"


def synthesize_footage(out: Path, *, size: str | None = None, **numbers: Any) -> str:
    """Draw a synthetic world as video with a progress bar; returns what was drawn and where, in words.

    Args:
        out: new or empty folder.
        size: ``WIDTHxHEIGHT`` in pixels.
        numbers: of `film.settings_for`.

    Raises:
        InputError: as there, or ``size`` has another form.
    """
    if size is not None:
        found = re.fullmatch(r"(\d+)x(\d+)", size)
        if not found:
            raise InputError(f"size {size}: not of the form WIDTHxHEIGHT; give for example 640x480")
        numbers["size"] = int(found[2]), int(found[1])
    settings = settings_for(**numbers)
    with bar("drawing footage", settings.cameras * settings.frames) as progress:
        film(out, settings, processes=os.cpu_count() or 1, advance=progress.advance)
    return f"{settings.persons} persons in {settings.cameras} videos of {settings.minutes:g} minutes: {out}"


def begin_as(parent: Path, epoch: int, out: Path, config: Config) -> None:
    """Begin the run ``out`` with the state that ``parent`` kept at the start of an epoch of stage 2 (`train_run`).

    Does nothing if ``out`` has begun already or ``parent`` kept no such state: ``out`` then trains from the start.
    """
    if not RunFolder(out).begun:
        fork(RunFolder(parent), epoch, RunFolder(out), _resolved(config))


def demo(out: Path) -> dict[str, Results]:
    """Draw a synthetic world, train ``intra`` and CCAFL on it with equal steps, and compare them.

    ``out`` becomes the CCAFL run, with the world and the ``intra`` run in its subfolders. The epochs that both runs
    share are trained once. An unfinished demo is continued.
    """
    folder, config = RunFolder(out), load_config("demo")
    world = folder.world
    if not (world / "manifest.csv").is_file():
        new_folder(out, but=_DEMO_LOCK)
    with lock(out / _DEMO_LOCK):
        if not (world / "manifest.csv").is_file():
            synthesize_world(world, seed=0, persons=DEMO_PERSONS, cameras=DEMO_CAMERAS)
        intra = config.model_copy(update={"mode": "intra"})
        shared = shared_epochs(intra, config)
        runs = {"intra": train_run(intra, world, out / "intra", resume=True, keep=[shared])}
        begin_as(out / "intra", shared, out, config)
        runs["ccafl"] = train_run(config, world, out, resume=True)
        folder.write_results(runs["ccafl"] | {"intra": runs["intra"]})
        return runs


def _trainable_source(data: Path, kind: str | None, outside: bool) -> Source:
    source = read_source(data, kind, outside=outside)
    require_training(source, data)
    return source


def _resolved(config: Config) -> Config:
    """The settings as stored in a run's folder."""
    return config.model_copy(update={"model": resolved(config.model)})


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
            f"{data}: all training images are from one camera ({images.camera_names[0]}), so there is nothing to join; "
            "add cameras or set mode=intra"
        )
    if stage2.identities * stage2.images // processes < 2:
        raise InputError(
            "stage2: a batch of one image in a process has no statistics; raise stage2.identities or stage2.images"
        )
    if len(images.identity_cameras) < 2:
        raise InputError(f"{data}: only one label to learn from; label more persons")


def _pictures(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; give a picture or a folder of pictures")
    return sorted(pictures_below(path))


def _links(table: str | Path, images: LabelledImages, *, shown: bool) -> IdentityLinks:
    """The corrections in a table; those of labels that the images do not have are counted on the terminal."""
    links = links_between(Path(table), images)
    if links.left_out and shown:
        note(f"{table}: lines left out because the training images do not have their labels: {links.left_out}")
    return links


def _topology(table: str | Path, images: LabelledImages, *, shown: bool) -> CameraTopology:
    """What a table says of the images' cameras."""
    return camera_topology(
        Path(table), images.camera_names, images.identity_cameras, images.identities, images.times, shown=shown
    )


def _counts(links: IdentityLinks | None) -> Results:
    return {} if links is None else {"links": {"must_link": len(links.must), "cannot_link": len(links.cannot)}}


def _store(paths: Sequence[Path], config: Config, budget: CacheBudget, title: str, shown: bool) -> ImageStore:
    """Images of ``paths``, decoded once if the budget allows; the terminal shows where they are kept."""
    with bar(f"{title}: decoding", len(paths), shown=shown) as progress:
        store = ImageStore(paths, config.model.image_size, budget, progress.advance)
    if shown:
        advice = "" if store.kept else "; raise data.cache_mb or data.cache_disk_mb to decode them once"
        remark(f"{title}: {len(paths):,} images, {store.mib:,.0f} MiB resized, {store.place}{advice}")
    return store


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


def _results(config: Config, source: Source, data: Path, images: LabelledImages, trained: Trained) -> Results:
    ranks: Results = {name: trained.figures.get(name) for name in ("mAP", "rank1", "rank5", "rank10", "unmatched")}
    quality = {
        name.removeprefix("association_"): value
        for name, value in trained.figures.items()
        if name.startswith("association_")
    }
    camera = ("camera_probe", "camera_chance", "own_camera_neighbours", "own_camera_chance")
    mass = ("same_person_mass_before", "same_person_mass")
    return (
        ranks
        | {name: trained.figures[name] for name in (*camera, *mass) if name in trained.figures}
        | {
            "association": quality or None,
            "calibration": None if trained.calibration is None else asdict(trained.calibration),
            "joins": None if config.mode != "ccafl" else joins_of(images, trained),
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


def joins_of(images: LabelledImages, trained: Trained) -> Results:
    """How many labels were joined into how many persons, and the links that are least certain."""
    association = trained.association
    joined = association[association >= 0]
    counts: Results = {"labels": len(association), "joined": len(joined), "persons": len(joined.unique())}
    if trained.believed is None:
        return counts
    links, probability = trained.believed.links, trained.believed.probability
    made = (association[links] >= 0).all(dim=1) & (association[links[:, 0]] == association[links[:, 1]])
    links, probability = links[made], probability[made]
    labels = [
        [images.camera_names[camera], label]
        for camera, label in zip(images.identity_cameras.tolist(), images.identity_labels, strict=True)
    ]
    return counts | {
        "least_certain": [
            {
                "one": labels[links[at, 0]],
                "other": labels[links[at, 1]],
                "probability": round(float(probability[at]), 4),
            }
            for at in probability.argsort()[:_LEAST_CERTAIN]
        ]
    }


def _dataset(source: Source, data: Path) -> str:
    return f"{source.kind}:{data.resolve().name}"
