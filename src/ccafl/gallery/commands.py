"""What ``ccafl gallery ...`` and ``ccafl search`` do, from paths to files; `ccafl.cli` only calls these."""

import csv
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ccafl.calibration import verdict
from ccafl.data import records
from ccafl.data.drawn import all_drawn
from ccafl.data.images import SMALLEST_SIDE, load_image
from ccafl.data.links import CANNOT_LINK, MUST_LINK, Link
from ccafl.data.tables import cell, table_text
from ccafl.encoders.encoder import PictureEncoder, open_encoder
from ccafl.errors import InputError
from ccafl.files import check_suffix, digest_of, write_text, written_whole
from ccafl.gallery.adding import Picture, add_pictures, listed
from ccafl.gallery.corrections import corrections, corrections_csv, join, linked
from ccafl.gallery.entries import Entry, Found, Group, Hit
from ccafl.gallery.filters import Filters
from ccafl.gallery.gallery import Gallery, GalleryInfo, source_of
from ccafl.gallery.ledger import Tracklet
from ccafl.gallery.milvus import check_milvus
from ccafl.gallery.query import Fusion, group_by_identity, search, some_of_track
from ccafl.gallery.strangers import strangers_share
from ccafl.run_folder import RunFolder, read_association
from ccafl.signals import stop_between_steps
from ccafl.terminal import bar, note
from ccafl.words import counted, listed_names

Results = dict[str, Any]

_COLUMNS = ("key", "camera", "time", "source", "label", "identity", "name")  # of an export
_NAMED = 5  # cameras in a message


def add(
    model: Path | str,
    paths: Sequence[Path],
    db: Path,
    *,
    camera: str | None = None,
    kind: str | None = None,
    outside: bool = False,
    association: Path | None = None,
    skip_unreadable: bool = False,
    uri: str | None = None,
    token: str | None = None,
) -> Results:
    """Add pictures to the gallery ``db``, created if missing; those already there are skipped.

    Identities are those of ``association``. Without it, a gallery that has none yet takes the run's own.

    Args:
        model: a run's folder, an exported ONNX file, or an architecture with weights.
        paths: pictures, folders, manifests or data sets.
        db: the gallery's folder.
        camera: the one that took all of them; by default as the data say.
        kind: of data source; recognised by default.
        outside: let a manifest name pictures outside of its folder.
        association: table of camera,label,identity.
        skip_unreadable: leave out pictures that cannot be read, listing them.
        uri: of a Milvus server that holds the vectors of a new gallery.
        token: for a Milvus server that requires one.

    After Ctrl-C or SIGTERM, which are looked at between batches, it ends with `ccafl.signals.Stopped`.

    Returns:
        numbers of pictures: added, known, duplicates, skipped, and in the gallery.

    Raises:
        InputError: the model, the pictures, the table or the gallery cannot be used; pictures already added stay.
    """
    if uri is not None:
        check_milvus(uri)
    own = RunFolder(Path(model)).association
    identities = _joined(association) if association else _joined(own) if own.is_file() else {}
    with ExitStack() as opened:
        gallery = _open_existing(db, uri, token)
        if gallery is not None:
            opened.enter_context(gallery)
        pictures = [picture for path in paths for picture in listed(path, camera=camera, kind=kind, outside=outside)]
        encoder = open_encoder(model)
        if gallery is None:
            gallery = opened.enter_context(Gallery.create(db, encoder, uri=uri, token=token))
        with bar("adding pictures", len(pictures)) as progress, stop_between_steps() as check:

            def advance(steps: int) -> None:
                progress.advance(steps)
                check()

            done = add_pictures(gallery, encoder, pictures, skip_unreadable=skip_unreadable, advance=advance)
        if done.skipped:
            lines = (f"  {why}" for why in done.skipped.values())
            note(f"skipped {counted(len(done.skipped), 'unreadable picture')}:", *lines)
        _say_if_drawn(encoder, pictures)
        if done.added and (seen := _in_training(RunFolder(Path(model)), pictures)):
            were = "was" if seen == 1 else "were"
            note(
                f"{counted(seen, 'picture')} {were} in the training of {model}: searches for them look better than "
                "they will for others"
            )
        if association or (identities and not gallery.ledger.identities()):
            join(gallery, identities)
        _judge(gallery)
        say_unknown_cameras(encoder, "--camera", [one.camera for one in pictures])
        counts = {"added": done.added, "known": done.known, "duplicates": done.duplicates}
        return counts | {"skipped": len(done.skipped), "in the gallery": len(gallery)}


def rejoin(
    db: Path,
    *,
    association: Path | None = None,
    topology: Path | None = None,
    uri: str | None = None,
    token: str | None = None,
) -> Results:
    """Join the labels of all cameras anew, keeping people's corrections.

    Without a table, the gallery's own labelled pictures are associated across cameras, with the settings of the run
    that made the features, or the defaults if the run is gone, and as ``topology``, a table of the cameras, allows.

    Raises:
        InputError: no such gallery, no such table, both tables, or torch, which association needs, is missing.
    """
    if association and topology:
        raise InputError("--topology: has no effect on the joins of --association; leave one out")
    with Gallery.open(db, uri=uri, token=token) as gallery:
        join(gallery, _joined(association) if association else _associated(gallery, topology))
        _judge(gallery)
        identities = gallery.ledger.identities()
        if not identities and association is None:
            note("no labels are probably one person; a run trained on these pictures, or on more, may tell better")
        return {
            "joined labels": len(identities),
            "identities": len(set(identities.values())),
            "corrections applied": len(corrections(gallery)),
        }


def remove(
    paths: Sequence[Path], db: Path, *, dry_run: bool = False, uri: str | None = None, token: str | None = None
) -> int:
    """Erase the pictures that came from these files or folders, or only count them; returns how many.

    Raises:
        InputError: no such gallery, or it has no picture from one of them; then nothing is erased.
    """
    with Gallery.open(db, read_only=dry_run, uri=uri, token=token) as gallery:
        found: dict[str, None] = {}
        for path in paths:
            keys = gallery.keys_where(under=path)
            if not keys:
                raise InputError(f"{path}: {db} has no picture from there; ccafl search shows where pictures came from")
            found |= dict.fromkeys(keys)
        return len(found) if dry_run else gallery.erase(list(found))


def forget(
    db: Path,
    *,
    person: str | None = None,
    camera: str | None = None,
    before: datetime | None = None,
    dry_run: bool = False,
    uri: str | None = None,
    token: str | None = None,
) -> int:
    """Erase all pictures of an identity, of a camera, or taken before a time, or only count them; returns how many.

    Raises:
        InputError: not exactly one of the three, no such gallery, or no such identity or camera.
    """
    if sum(asked is not None for asked in (person, camera, before)) != 1:
        raise InputError("not clear what to forget; give exactly one of: a person's identity, --camera, --before")
    with Gallery.open(db, read_only=dry_run, uri=uri, token=token) as gallery:
        if camera is not None:
            _check_cameras(gallery, [("--camera", camera)])
        if person is not None and not dry_run:
            return gallery.forget(person)
        if person is not None:
            gallery.check_identity(person)
        keys = gallery.keys_where(identity=person, camera=camera, before=before)
        return len(keys) if dry_run else gallery.erase(keys)


def info(db: Path, *, uri: str | None = None, token: str | None = None) -> GalleryInfo:
    """What a gallery holds."""
    with Gallery.open(db, read_only=True, uri=uri, token=token) as gallery:
        return gallery.info()


def export(db: Path, out: Path, *, uri: str | None = None, token: str | None = None) -> int:
    """Write all pictures to a table: key, camera, time, source, label, identity, its name; returns how many.

    Parquet also has ``features`` and, with a trained text tower, ``image_text``: features to compare with sentences.

    Raises:
        InputError: no such gallery, or the file cannot be written or is named neither .parquet nor .csv.
    """
    check_suffix(out, (".parquet", ".csv"), "a table of pictures")
    if out.suffix.lower() == ".csv":
        return _export_csv(db, out, uri, token)
    import pyarrow as pa
    import pyarrow.parquet as pq

    with Gallery.open(db, read_only=True, uri=uri, token=token) as gallery:
        texts = [(name, pa.string()) for name in ("source", "label", "identity", "name")]
        columns = [("key", pa.string()), ("camera", pa.string()), ("time", pa.timestamp("ms", "UTC")), *texts]
        columns.append(("features", pa.list_(pa.float32(), gallery.dim)))
        if gallery.text_dim is not None:
            columns.append(("image_text", pa.list_(pa.float32(), gallery.text_dim)))
        schema = pa.schema(columns)
        with (
            written_whole(out) as temporary,
            pq.ParquetWriter(temporary, schema) as writer,
            bar("writing", len(gallery)) as progress,
        ):
            count = 0
            for entries, encoded in gallery.all():
                known = [pa.array([getattr(e, name) for e in entries], kind) for name, kind in columns[: len(_COLUMNS)]]
                vectors = [encoded.features] + ([] if encoded.image_text is None else [encoded.image_text])
                lists = [pa.FixedSizeListArray.from_arrays(pa.array(part.ravel()), part.shape[1]) for part in vectors]
                writer.write_batch(pa.record_batch([*known, *lists], schema=schema))
                count += len(entries)
                progress.advance(len(entries))
        return count


def _export_csv(db: Path, out: Path, uri: str | None, token: str | None) -> int:
    with Gallery.open(db, read_only=True, uri=uri, token=token) as gallery:
        with (
            written_whole(out) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
            bar("writing", len(gallery)) as progress,
        ):
            table = csv.writer(file, lineterminator="\n")
            table.writerow(_COLUMNS)
            for entries in gallery.all_entries():
                rows = (_entry(entry) for entry in entries)
                table.writerows([cell(row[name] or "") for name in _COLUMNS] for row in rows)
                progress.advance(len(entries))
        return len(gallery)


def write_corrections(db: Path, out: Path, *, uri: str | None = None, token: str | None = None) -> int:
    """Write the corrections for training with ``--set data.links=OUT``; returns how many.

    Raises:
        InputError: no such gallery, or the file cannot be written or is not named .csv.
    """
    check_suffix(out, (".csv",), "a table of corrections")
    with Gallery.open(db, read_only=True, uri=uri, token=token) as gallery:
        write_text(out, corrections_csv(gallery))
        return len(corrections(gallery))


def find(
    images: Sequence[Path],
    db: Path,
    *,
    model: Path | None = None,
    text: str | None = None,
    boxes: Sequence[str] = (),
    tracks: Sequence[str] = (),
    by_track: bool = False,
    taken_by: str | None = None,
    camera_standardise: bool = False,
    filters: Filters | None = None,
    fusion: Fusion = "mean",
    rerank: bool = False,
    limit: int = 24,
    sheet: Path | None = None,
    table: Path | None = None,
    uri: str | None = None,
    token: str | None = None,
) -> Found:
    """Search a gallery by pictures of a person, or by a description.

    Args:
        images: pictures, all of the same person; none with ``text``.
        db: the gallery's folder.
        model: where the gallery's model is, if it has moved.
        text: a description.
        boxes: x,y,width,height of the person in each picture, in pixels of the upright picture, cut at its edges; empty
            for no boxes.
        tracks: ``CAMERA/TRACK`` of the gallery that show the person: all their pictures are searched with.
        by_track: find tracks, each by its best picture.
        taken_by: the camera of the pictures: one of the gallery's. Without it, that of the same files in the gallery.
        camera_standardise: compare features standardised by camera.
        filters: which pictures the search looks at.
        fusion: how several pictures are combined; see `Query`.
        rerank: order the nearest by k-reciprocal re-ranking.
        limit: how many to find.
        sheet: JPEG or PNG file for a contact sheet.
        table: CSV file for the hits.
        uri: of the gallery's Milvus server, which a token needs.
        token: for a Milvus server that requires one.

    Raises:
        InputError: neither or both of pictures and text, unreadable pictures, boxes outside them, no such track,
            another model, or what `search` refuses.
    """
    if bool(images or tracks) == bool(text):
        raise InputError(
            "not clear what to search for; give either pictures of a person, or a description with --text, or --track"
        )
    if boxes and len(boxes) != len(images):
        raise InputError(
            f"--box: {counted(len(boxes), 'box', 'boxes')} for {counted(len(images), 'picture')}; "
            "give one per picture, in the same order"
        )
    if sheet is not None:
        check_suffix(sheet, (".jpg", ".jpeg", ".png"), "a contact sheet")
    if table is not None:
        check_suffix(table, (".csv",), "what was found")
    queries = [load_image(image) for image in images]
    if boxes:
        queries = [_cropped(query, box) for query, box in zip(queries, boxes, strict=True)]
    with Gallery.open(db, read_only=True, uri=uri, token=token) as gallery:
        encoder = model_of(gallery, model)
        if text and not encoder.describes:
            raise InputError(f"{encoder.place}: has no trained text tower for descriptions; search by picture")
        wanted = [] if taken_by is None else [("--taken-by", taken_by)]
        _check_cameras(gallery, [*wanted, *(("--camera", name) for name in (filters or Filters()).camera_names())])
        digests = [digest_of(image) for image in images]
        known = gallery.cameras_of(digests)
        cameras = tuple(taken_by or known.get(digest, "") for digest in digests)
        say_unknown_cameras(encoder, "--taken-by", cameras)
        parts = [encoder.encode_text([text])] if text else []
        if queries:
            parts.append(encoder.encode(queries, cameras).features)
        for entries in (track_named(gallery, name) for name in tracks):
            parts.append(gallery.vectors([entry.key for entry in entries]))
            cameras += tuple(entry.camera for entry in entries)
        features = np.concatenate(parts)
        found = search(
            gallery,
            features,
            by_text=bool(text),
            fusion=fusion,
            filters=filters,
            rerank=rerank,
            limit=limit,
            standardise=camera_standardise,
            cameras=cameras,
            group="track" if by_track else None,
        )
        if sheet is not None:
            _write_sheet(sheet, queries, found, gallery)
        if by_track:
            found = _with_whole_tracks(gallery, found)
        if images:
            _say_if_drawn(encoder, [Picture(image) for image in images])
        else:
            say_if_drawn(gallery, encoder)
        if not text:
            say_if_uncalibrated(gallery)
    if table is not None:
        _write_found(found, table)
    return found


def say_if_uncalibrated(gallery: Gallery) -> None:
    """Say that scores are no probabilities, where they are not."""
    if gallery.curve is None:
        note(f"{gallery.model_name}: was not calibrated by a training, so scores are cosines, not probabilities")
    elif gallery.calibration is None:
        note(
            f"{gallery.model_name}: takes strangers of these cameras for one person, so scores are cosines, not "
            "probabilities; train on pictures of these cameras with ccafl train own"
        )


def say_unknown_cameras(encoder: PictureEncoder, option: str, cameras: Iterable[str]) -> None:
    """Say which pictures are of no camera that the model has statistics of, if it has any: it finds fewer with them."""
    others = {camera for camera in cameras if camera not in encoder.camera_names}
    if encoder.takes_cameras and others:
        which = ", ".join(sorted(filter(None, others))[:_NAMED]) or "unknown"
        note(
            f"camera {which}: the model was trained with statistics of each of its cameras and finds less with others; "
            f"{listed_names(encoder.camera_names)}: if one of them took the pictures, give it with {option}"
        )


def _judge(gallery: Gallery) -> None:
    """Measure anew whether the model's probabilities hold for the gallery."""
    if gallery.curve is not None:
        held = gallery.calibration is not None
        gallery.keep_strangers(strangers_share(gallery, gallery.curve))
        if held and gallery.calibration is None:
            say_if_uncalibrated(gallery)


def say_if_drawn(gallery: Gallery, encoder: PictureEncoder) -> None:
    """Say that the model has only seen drawn persons, where the gallery's first pictures show others."""
    entries = next(gallery.all_entries(), []) if encoder.drawn else []
    _say_if_drawn(encoder, [Picture(Path(entry.source), origin=entry.origin) for entry in entries])


def _say_if_drawn(encoder: PictureEncoder, pictures: Sequence[Picture]) -> None:
    files = (Path(one.origin.footage) if one.origin else one.path for one in pictures)
    if encoder.drawn and not all_drawn(files):
        note(
            f"{encoder.name}: was trained on drawn persons only, and finds others less well; "
            "train on your own pictures with ccafl train own"
        )


def _check_cameras(gallery: Gallery, wanted: Sequence[tuple[str, str]]) -> None:
    """Refuse a camera, given with its option, that the gallery has no picture of, rather than find nothing."""
    known = gallery.info().cameras if wanted else {}
    for option, name in wanted:
        if name not in known:
            raise InputError(f"{option} {name}: no camera of this gallery; {listed_names(filter(None, known), name)}")


def model_of(gallery: Gallery, place: Path | str | None = None) -> PictureEncoder:
    """The gallery's model, from ``place`` or where it was when the gallery was created.

    Raises:
        InputError: it is not there, or is another model.
    """
    if place is None and isinstance(gallery.model_place, Path) and not gallery.model_place.exists():
        raise InputError(
            f"{gallery.model_place}: the gallery's model has moved or is gone; give its place with --model"
        )
    encoder = open_encoder(place or gallery.model_place)
    gallery.check_model(encoder)
    return encoder


def track_named(gallery: Gallery, name: str) -> list[Entry]:
    """The pictures of the track ``CAMERA/TRACK``, at most `MOST_OF_TRACK`; either name may contain a ``/``.

    Raises:
        InputError: the gallery has no such track.
    """
    parts = name.split("/")
    splits = (("/".join(parts[:n]), "/".join(parts[n:])) for n in range(1, len(parts)))
    found = next((entries for camera, label in splits if label and (entries := gallery.of_track(camera, label))), [])
    if not found:
        near = listed_names(sorted(_tracks(gallery)), name)
        raise InputError(f"--track {name}: no such track; write it as CAMERA/TRACK, as ccafl search shows it: {near}")
    return some_of_track(found)


def _tracks(gallery: Gallery) -> set[str]:
    """All tracks and labels, as ``CAMERA/TRACK``."""
    pages = gallery.all_entries()
    return {f"{entry.camera}/{entry.label}" for entries in pages for entry in entries if entry.label}


def parse_time(text: str, option: str) -> datetime:
    """The time given by an option; UTC without an offset.

    Raises:
        InputError: it is not a time.
    """
    try:
        return records.parse_time(text)
    except ValueError as error:
        raise InputError(f"{option} {text}: is not a time; write it like 2026-05-01 or 2026-05-01T14:03:00Z") from error


def _open_existing(db: Path, uri: str | None, token: str | None) -> Gallery | None:
    """The gallery, if there is one; an address in the environment is named for its token, but moves no gallery."""
    if not (db / "gallery.sqlite").is_file():
        return None
    gallery = Gallery.open(db, uri=uri or os.environ.get("MILVUS_URI"), token=token)
    if uri is not None and uri != str(gallery.where):
        gallery.close()
        raise InputError(f"{db}: has its vectors in {gallery.where}; leave out --uri, or create another gallery")
    return gallery


def _in_training(run: RunFolder, pictures: Sequence[Picture]) -> int:
    """How many of the pictures the run was trained on; 0 if its data are not where they were."""
    known = run.read_data()
    if known is None:
        return 0
    from ccafl.data.source import read_source

    try:
        source = read_source(*known, outside=True)
    except InputError:
        return 0
    trained = {source_of(record.path) for record in source.train}
    return sum(source_of(picture.path) in trained for picture in pictures)


def _joined(table: Path) -> dict[Tracklet, str]:
    """The identities in a table, without labels that were joined with no other."""
    return {label: identity for label, identity in read_association(table).items() if identity is not None}


def _associated(gallery: Gallery, topology: Path | None) -> dict[Tracklet, str]:
    """Identities by associating the gallery's own labelled pictures.

    Labels of pictures that were cut out of footage are tracks: those of one camera may be one person, too.
    """
    try:
        import torch

        from ccafl.data.identity_links import numbered
        from ccafl.data.numbering import seconds_of, tracks_of
        from ccafl.training.association import associate_identities
        from ccafl.training.topology import camera_topology
    except ImportError as error:
        raise InputError("association needs torch; install it, or give --association") from error
    from ccafl.config import Association

    run = RunFolder(Path(gallery.model_place))
    settings = run.read_config().stage2.association if run.begun else Association(rate="auto", centred_by_camera=True)
    entries, vectors = _labelled(gallery)
    tracklets = sorted({(entry.camera, entry.label) for entry in entries})
    if not tracklets:
        raise InputError("the gallery has no labelled pictures, so nothing can be joined; add pictures with labels")
    place = {tracklet: number for number, tracklet in enumerate(tracklets)}
    names = {camera: number for number, camera in enumerate(sorted({camera for camera, _ in tracklets}))}
    cameras = torch.tensor([names[camera] for camera, _ in tracklets])
    of_pictures = [place[entry.camera, entry.label] for entry in entries]
    features, identities = torch.from_numpy(vectors), torch.tensor(of_pictures)
    links = numbered(
        [Link(kind, *pair, place="") for kind in (MUST_LINK, CANNOT_LINK) for pair in linked(gallery, kind)], tracklets
    )
    places = None
    if topology is not None:
        places = camera_topology(
            topology, list(names), cameras, identities, seconds_of([entry.time for entry in entries])
        )
    tracks = tracks_of(_spans(entries, of_pictures))
    settings = settings.model_copy(update={"tracks": tracks is not None})
    found = associate_identities(features, identities, cameras, settings, links, places, tracks=tracks).identities
    return {t: str(identity) for t, identity in zip(tracklets, found.tolist(), strict=True) if identity >= 0}


def _labelled(gallery: Gallery) -> tuple[list[Entry], NDArray[np.float32]]:
    """The pictures with a label, in the order of time, and their features (n, D)."""
    labelled: list[Entry] = []
    parts = []
    with bar("reading features", len(gallery)) as progress:
        for entries, encoded in gallery.all():
            numbers = [number for number, entry in enumerate(entries) if entry.label]
            labelled += [entries[number] for number in numbers]
            parts.append(encoded.features[numbers])
            progress.advance(len(entries))
    earliest = datetime.min.replace(tzinfo=UTC)
    order = sorted(range(len(labelled)), key=lambda number: labelled[number].time or earliest)
    vectors = np.concatenate([*parts, np.empty((0, gallery.dim), np.float32)])
    return [labelled[number] for number in order], vectors[order]


def _spans(entries: Sequence[Entry], labels: Sequence[int]) -> dict[int, tuple[datetime, datetime]]:
    """When each label's pictures begin and end, of the labels that were cut out of footage."""
    spans: dict[int, tuple[datetime, datetime]] = {}
    for entry, label in zip(entries, labels, strict=True):
        if entry.origin is not None and entry.time is not None:
            spans[label] = (spans.get(label, (entry.time,))[0], entry.time)
    return spans


def _cropped(picture: Image.Image, box: str) -> Image.Image:
    try:
        x, y, width, height = (round(float(number)) for number in box.split(","))
    except (ValueError, OverflowError) as error:
        raise InputError(f"--box {box}: is not x,y,width,height in pixels; write it like 10,20,60,120") from error
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + width, picture.width), min(y + height, picture.height)
    if min(right - left, bottom - top) < SMALLEST_SIDE:
        raise InputError(
            f"--box {box}: covers too little of the picture of {picture.width}x{picture.height} pixels; change it"
        )
    return picture.crop((left, top, right, bottom))


def _write_sheet(path: Path, queries: Sequence[Image.Image], found: Found, gallery: Gallery) -> None:
    from ccafl.gallery.sheet import contact_sheet

    thumbnails = [gallery.thumbnail(hit.entry.key) for hit in found.hits]
    with written_whole(path) as temporary:
        contact_sheet(queries, found.hits, thumbnails).save(temporary, quality=90)


def as_json(found: Found) -> Results:
    """The hits and their identities, for scripts."""
    hits = [_entry(hit.entry) | _score(hit) for hit in found.hits]
    groups = [
        {"identity": group.identity, "score": group.score, "keys": [hit.entry.key for hit in group.hits]}
        for group in group_by_identity(found.hits)
    ]
    tracks = (
        {"tracks": [_track(group) for group in found.groups]} if any(group.entries for group in found.groups) else {}
    )
    return {"hits": hits, "identities": groups, "more": found.more, "nobody": found.nobody} | tracks


def _write_found(found: Found, out: Path) -> None:
    """Write the hits as CSV, best first."""
    columns = ("score", "probability", "verdict", "key", "camera", "time", "source", "label", "identity")
    rows = ([hit[name] for name in columns] for hit in as_json(found)["hits"])
    write_text(out, table_text(columns, (["" if value is None else value for value in row] for row in rows)))


def _score(hit: Hit) -> Results:
    likely = None if hit.probability is None else verdict(hit.probability)
    return {"score": hit.score, "probability": hit.probability, "verdict": likely}


def _with_whole_tracks(gallery: Gallery, found: Found) -> Found:
    """What was found, with all pictures of each track, in the order of time."""

    def whole(best: Entry) -> tuple[Entry, ...]:
        return tuple(gallery.of_track(best.camera, best.label)) if best.label else (best,)

    groups = (replace(group, entries=whole(group.hits[0].entry)) for group in found.groups)
    return replace(found, groups=tuple(groups))


def _track(group: Group) -> Results:
    best = group.hits[0].entry
    about = {"camera": best.camera, "track": best.label, "identity": best.identity, "score": group.score}
    return about | {"best": best.key, "pictures": [_entry(entry) for entry in group.entries]}


def _entry(entry: Entry) -> Results:
    return {
        "key": entry.key,
        "camera": entry.camera,
        "time": entry.time.isoformat() if entry.time else None,
        "source": entry.source,
        "label": entry.label,
        "identity": entry.identity,
        "name": entry.name,
    } | ({} if entry.origin is None else asdict(entry.origin))
