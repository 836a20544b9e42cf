"""The ``ccafl`` command. Each subcommand passes its arguments to `ccafl.pipeline` or to the ``commands`` of
`ccafl.footage`, `ccafl.gallery` or `ccafl.service`, and shows the result. Heavy libraries are imported inside them, so
that help appears at once.
"""

import io
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ccafl import __version__
from ccafl.errors import InputError, UnwrittenError
from ccafl.gallery.filters import Filters
from ccafl.options import (
    STDOUT,
    CameraTable,
    Configuration,
    Data,
    Db,
    DryRun,
    Encoder,
    Fusion,
    Images,
    Json,
    Kind,
    MilvusToken,
    MilvusUri,
    Model,
    Outside,
    Run,
    Runs,
    Settings,
    Skip,
    Standardise,
    Yes,
    command,
    existing,
    json_to_stdout,
    with_filters,
)
from ccafl.signals import Stopped, stoppable
from ccafl.words import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a fault of ccafl itself, 2 the input cannot be used, 130 Ctrl-C, 143 SIGTERM.",
)
data_app = typer.Typer(help="Check, draw and split data.", no_args_is_help=True)
app.add_typer(data_app, name="data")
gallery_app = typer.Typer(help="Keep a gallery of pictures to search.", no_args_is_help=True)
app.add_typer(gallery_app, name="gallery")

STOPPED = (130, 143)  # exit codes after Ctrl-C and SIGTERM
_STOPPED = "stopped; what is finished is kept: resume train with --resume, other commands by repeating them\n"


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"ccafl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Person re-identification from labels made camera by camera."""


@command(app, "demo", heavy="ccafl.pipeline")
def demo(out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo")) -> None:
    """Draw a synthetic world, train on it with and without joining the cameras, and compare."""
    from ccafl import pipeline, terminal
    from ccafl.evaluation.tables import comparison_table
    from ccafl.run_folder import RunFolder

    terminal.show(comparison_table(pipeline.demo(out)))
    terminal.say(f"written to {RunFolder(out).results}")


@command(app, "train own --data pictures --out runs/mine", heavy="ccafl.pipeline")
def train(
    config: Configuration,
    data: Data,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/CONFIG if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint in the folder.")] = False,
    settings: Settings = None,
    source: Kind = None,
    allow_outside: Outside = False,
    skip_unreadable: Skip = False,
    json: Json = None,
) -> None:
    """Train on images labelled camera by camera, and join the cameras' labels."""
    from ccafl import pipeline
    from ccafl.evaluation.tables import trained_table
    from ccafl.run_folder import RunFolder

    out = out or Path("runs") / Path(config).stem
    chosen, reasons = pipeline.choose_config(
        config, settings, data, kind=source, outside=allow_outside, run=out if resume else None
    )
    results = pipeline.train_run(
        chosen,
        data,
        out,
        kind=source,
        outside=allow_outside,
        resume=resume,
        skip_unreadable=skip_unreadable,
        reasons=reasons,
    )
    _show(results, RunFolder(out).results, json=json, table=trained_table(results))


@command(app, "evaluate runs/mine --data pictures --rerank", heavy="ccafl.pipeline")
def evaluate(
    run: Encoder,
    data: Data,
    rerank: Annotated[bool, typer.Option("--rerank", help="Apply k-reciprocal re-ranking.")] = False,
    camera_standardise: Standardise = False,
    checkpoint: Annotated[str, typer.Option(help="last, or best (by mAP).")] = "last",
    out: Annotated[
        Path | None, typer.Option(help="JSON file for the results; in the run's folder if not given.")
    ] = None,
    source: Kind = None,
    allow_outside: Outside = False,
    json: Json = None,
) -> None:
    """Rank query and gallery: mAP and CMC."""
    from ccafl import pipeline

    results = pipeline.evaluate_run(
        run,
        data,
        kind=source,
        outside=allow_outside,
        rerank=rerank,
        camera_standardise=camera_standardise,
        checkpoint=checkpoint,
        out=out,
    )
    in_the_run = None if "weights" in results else Path(run)
    _show(results, out or in_the_run, json=json)


@command(app, "ablate own --data pictures --out runs/ablation --rows icdl,ccafl --seeds 0", heavy="ccafl.pipeline")
def ablate(
    config: Configuration,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for all runs and the table.", show_default=False)],
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0,1,2.")] = "0,1,2",
    rows: Annotated[str | None, typer.Option(help="Rows, such as icdl,ccafl; all if not given.")] = None,
    settings: Settings = None,
    source: Kind = None,
    allow_outside: Outside = False,
    skip_unreadable: Skip = False,
) -> None:
    """Train CCAFL with and without each of its parts; continue where an earlier call stopped."""
    import shlex

    from ccafl import ablation, pipeline, terminal

    chosen, reasons = pipeline.choose_config(
        config, settings, data, kind=source, outside=allow_outside, camera_statistics=False
    )
    for reason in reasons:
        terminal.note(reason)
    table = ablation.ablate(
        chosen,
        data,
        out,
        seeds=ablation.parse_seeds(seeds),
        command=shlex.join(["ccafl", *sys.argv[1:]]),
        only=rows.split(",") if rows else None,
        kind=source,
        outside=allow_outside,
        skip_unreadable=skip_unreadable,
    )
    terminal.say(ablation.markdown(table))
    terminal.say(f"written to {out / 'ablation.md'}")


@command(app, "extract runs/mine --images pictures --out features.parquet", heavy="ccafl.pipeline")
def extract(
    run: Encoder,
    images: Annotated[Path, typer.Option(help="A picture, or a folder of pictures.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Parquet file with columns image and feature.", show_default=False)],
    camera: Annotated[
        str | None, typer.Option(help="The camera of all pictures; used by runs with model.camera_norm.")
    ] = None,
    skip_unreadable: Skip = False,
) -> None:
    """Turn pictures into features."""
    from ccafl import pipeline, terminal

    count = pipeline.extract_run(run, images, out, camera=camera, skip_unreadable=skip_unreadable)
    terminal.say(f"{counted(count, 'feature')} in {out}")


@command(app, "associate runs/mine --data pictures --out joined.csv", heavy="ccafl.pipeline")
def associate(
    run: Run,
    data: Data,
    out: Annotated[Path, typer.Option(help="CSV with columns camera, label and identity.", show_default=False)],
    source: Kind = None,
    allow_outside: Outside = False,
    links: Annotated[
        Path | None, typer.Option(help="Table of corrected joins to respect, from ccafl gallery corrections.")
    ] = None,
    topology: CameraTable = None,
    json: Json = None,
) -> None:
    """Join labels made camera by camera: find which of them are one person."""
    from ccafl import pipeline

    results = pipeline.associate_run(run, data, out, kind=source, outside=allow_outside, links=links, topology=topology)
    _show(results, out, json=json)


@command(app, "report runs/mine runs/other --out compared.html", heavy="ccafl.report.run_report")
def report(
    runs: Runs,
    data: Annotated[Path | None, typer.Option(help="The images, if they have moved.", show_default=False)] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page; report.html in the run's folder if not given. Several runs need it."),
    ] = None,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="Show pictures of real persons, too; synthetic ones are always shown.")
    ] = False,
    source: Kind = None,
    allow_outside: Outside = False,
) -> None:
    """Show a run, or several side by side, on one offline page.

    It has results with intervals, losses, joins and their errors, CMC and ROC curves, and scores; of one run also
    figure 5, the embedding, rank lists and activation maps.
    """
    from ccafl import terminal
    from ccafl.report.run_report import report_run

    place = report_run(*runs, data=data, kind=source, outside=allow_outside, out=out, with_images=with_images)
    terminal.say(f"report in {place}")


@command(app, "search someone.jpg --db people.db --exclude-camera entrance --sheet found.jpg")
@with_filters
def search(
    *,
    db: Db,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Pictures of the same person.", show_default=False)
    ] = None,
    text: Annotated[str | None, typer.Option(help="A description, instead of pictures.", show_default=False)] = None,
    model: Model = None,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="CAMERA/TRACK", help="A track of the gallery, to search with all its pictures."),
    ] = None,
    by_track: Annotated[bool, typer.Option("--by-track", help="Find tracks, each by its best picture.")] = False,
    box: Annotated[
        list[str] | None, typer.Option(help="x,y,width,height of the person in a picture; once per picture, or never.")
    ] = None,
    taken_by: Annotated[
        str | None, typer.Option(help="The camera of the pictures; known of those in the gallery.")
    ] = None,
    camera_standardise: Standardise = False,
    filters: Filters,
    fusion: Annotated[
        Fusion, typer.Option(help="Several pictures: by their mean, or by the nearest of them.")
    ] = Fusion.mean,
    rerank: Annotated[bool, typer.Option("--rerank", help="Order the 200 nearest by k-reciprocal re-ranking.")] = False,
    limit: Annotated[int, typer.Option(help="How many to find.", min=1)] = 24,
    sheet: Annotated[
        Path | None, typer.Option(help="JPEG or PNG file for a contact sheet.", show_default=False)
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="CSV file for what was found.", show_default=False)] = None,
    json: Json = None,
    uri: MilvusUri = None,
    token: MilvusToken = None,
) -> None:
    """Find a person in a gallery, by pictures or by a description."""
    from ccafl.gallery import commands
    from ccafl.gallery.render import render_found

    found = commands.find(
        images or [],
        db,
        model=model,
        text=text,
        boxes=box or [],
        tracks=track or [],
        by_track=by_track,
        taken_by=taken_by,
        camera_standardise=camera_standardise,
        filters=filters,
        fusion=fusion.value,
        rerank=rerank,
        limit=limit,
        sheet=sheet,
        table=csv,
        uri=uri,
        token=token,
    )
    _show(commands.as_json(found), sheet, csv, json=json, table=render_found(found))


@command(app, "ingest hall=hall.mp4 yard=recordings/ --out site")
def ingest(
    footage: Annotated[
        list[str],
        typer.Argument(
            metavar="CAMERA=VIDEO...",
            help="Each camera's video, folder of frames or of videos, or pattern such as 'hall=rec/hall-*.mp4'.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the pictures and their manifest.", show_default=False)],
    detector: Annotated[
        str,
        typer.Option(
            help="motion (fixed cameras), torchvision[:NAME[:FILE]] or onnx:[LAYOUT:]FILE; auto is torchvision where "
            "its weights have been downloaded, else motion."
        ),
    ] = "auto",
    detections: Annotated[
        list[str] | None, typer.Option(metavar="CAMERA=FILE", help="Detections, MOTChallenge's; may be repeated.")
    ] = None,
    tracks: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CAMERA=FILE",
            help="Tracks: MOTChallenge, CVAT (.xml), COCO or Label Studio (.json); may be repeated.",
        ),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(metavar="CAMERA=TIME", help="When its footage begins, such as 2026-05-01T14:03; may be repeated."),
    ] = None,
    cameras: Annotated[
        Path | None, typer.Option(help="Table of camera, start, fps (of folders of frames).", show_default=False)
    ] = None,
    fps: Annotated[float | None, typer.Option(help="Frames a second to look at; all if not given.")] = None,
    roi: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CAMERA=REGION",
            help="Where persons count, by their feet: x,y,width,height or corners x,y;x,y;x,y; may be repeated.",
        ),
    ] = None,
    crops: Annotated[int, typer.Option(help="Pictures kept of a track, at most.", min=1)] = 8,
) -> None:
    """Turn footage into pictures with camera, label and time; the same command resumes after an interruption."""
    from ccafl import terminal
    from ccafl.footage import commands
    from ccafl.footage.render import render_counts

    counts = commands.ingest(
        footage,
        out,
        detector=detector,
        detections=detections or [],
        tracks=tracks or [],
        starts=start or [],
        cameras=cameras,
        fps=fps,
        regions=roi or [],
        crops=crops,
    )
    terminal.show(render_counts(counts))
    terminal.say(f"written to {out / 'manifest.csv'}")


@command(app, "serve --db people.db")
def serve(
    db: Db,
    model: Annotated[
        Path | None,
        typer.Option("--model", "--onnx", help="The gallery's model, a run or an ONNX file, if it has moved."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines can reach needs a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = 8000,
    token: Annotated[
        str | None,
        typer.Option(help="Required of every client; other users can see it here, so use CCAFL_TOKEN or --token-file."),
    ] = None,
    milvus_uri: Annotated[
        str | None,
        typer.Option(envvar="MILVUS_URI", help="The gallery's Milvus server; its token goes to no other address."),
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File of one line with the token.")] = None,
    certfile: Annotated[Path | None, typer.Option(help="Certificate for HTTPS, with its chain (PEM).")] = None,
    keyfile: Annotated[Path | None, typer.Option(help="The certificate's key, if not in the same file (PEM).")] = None,
    milvus_token: Annotated[
        str | None, typer.Option(envvar="MILVUS_TOKEN", help="For a Milvus server that requires one.")
    ] = None,
) -> None:
    """Serve a gallery: a page to search it in the browser, and an HTTP API."""
    from ccafl.service import commands

    commands.serve(
        db,
        model=model,
        host=host,
        port=port,
        token=token,
        token_file=token_file,
        certificate=certfile,
        key=keyfile,
        milvus_uri=milvus_uri,
        milvus_token=milvus_token,
    )


@command(app, "label site --camera hall", heavy="ccafl.labelling.opening")
def label(
    site: Annotated[
        Path,
        typer.Argument(
            metavar="SITE", help="Folder made by ccafl ingest, or a manifest.", show_default=False, callback=existing
        ),
    ],
    camera: Annotated[
        list[str] | None, typer.Option(help="Camera to ask about; may be repeated; all if not given.")
    ] = None,
    encoder: Annotated[
        str, typer.Option(help="What compares the tracks: a run, model.onnx, or weights such as RN50:openai.")
    ] = "clip-synth",
    links: Annotated[
        Path | None, typer.Option(help="CSV file for the answers; links.csv in SITE if not given.", show_default=False)
    ] = None,
    source: Kind = None,
    allow_outside: Outside = False,
    port: Annotated[int, typer.Option(help="Port of the page, on this machine only.", min=0, max=65535)] = 8010,
) -> None:
    """Say on a page which tracks of a camera are one person, by yes and no; training reads the answers."""
    from ccafl.service import commands

    commands.label(
        site, cameras=camera or [], encoder=encoder, links=links, kind=source, outside=allow_outside, port=port
    )


@command(app, "export runs/mine --out exported", heavy="ccafl.export.write")
def export(
    run: Run,
    onnx: Annotated[bool, typer.Option("--onnx", help="For ONNX Runtime; the default.")] = False,
    program: Annotated[bool, typer.Option("--program", help="For PyTorch (torch.export); needs no ccafl.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; export in the run's folder if not given.")
    ] = None,
    json: Json = None,
) -> None:
    """Write the image encoder as a file for other programs, checked against torch, with a model card."""
    from ccafl.export import export_run
    from ccafl.run_folder import RunFolder

    folder = out or RunFolder(run).export
    _show(export_run(run, folder, onnx=onnx or not program, program=program), folder, json=json)


@command(gallery_app, "gallery add runs/mine pictures --db people.db")
def add(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN",
            help="Folder of a trained run; an exported ONNX file; or weights without training, such as clip-synth.",
            show_default=False,
        ),
    ],
    paths: Annotated[list[Path], typer.Argument(help="Pictures, folders, manifests or data sets.", show_default=False)],
    db: Db,
    camera: Annotated[str | None, typer.Option(help="The camera of all pictures; by default as the data say.")] = None,
    source: Kind = None,
    allow_outside: Outside = False,
    association: Annotated[
        Path | None, typer.Option(help="Table of camera,label,identity; by default a new gallery takes the run's own.")
    ] = None,
    skip_unreadable: Skip = False,
    uri: Annotated[
        str | None, typer.Option(help="Milvus server for a new gallery's vectors; by default they are in its folder.")
    ] = None,
    token: MilvusToken = None,
    json: Json = None,
) -> None:
    """Add pictures, skipping those already there; the same command resumes after an interruption."""
    from ccafl.gallery import commands

    results = commands.add(
        run,
        paths,
        db,
        camera=camera,
        kind=source,
        outside=allow_outside,
        association=association,
        skip_unreadable=skip_unreadable,
        uri=uri,
        token=token,
    )
    _show(results, db, json=json)


@command(gallery_app, "gallery join --db people.db")
def join(
    db: Db,
    association: Annotated[
        Path | None, typer.Option(help="Table of camera,label,identity; by default the gallery's own pictures decide.")
    ] = None,
    topology: CameraTable = None,
    uri: MilvusUri = None,
    token: MilvusToken = None,
    json: Json = None,
) -> None:
    """Join the cameras' labels anew, keeping people's corrections."""
    from ccafl.gallery import commands

    results = commands.rejoin(db, association=association, topology=topology, uri=uri, token=token)
    _show(results, db, json=json)


@command(gallery_app, "gallery remove pictures/entrance/0001 --db people.db")
def remove(
    paths: Annotated[list[Path], typer.Argument(help="Picture files or folders.", show_default=False)],
    db: Db,
    dry_run: DryRun = False,
    yes: Yes = False,
    uri: MilvusUri = None,
    token: MilvusToken = None,
) -> None:
    """Erase pictures by the file or folder they came from."""
    from ccafl.gallery import commands

    _erase(partial(commands.remove, paths, db, uri=uri, token=token), db, dry_run=dry_run, yes=yes)


@command(gallery_app, "gallery forget --camera entrance --db people.db")
def forget(
    db: Db,
    person: Annotated[str | None, typer.Argument(help="A joined identity.", show_default=False)] = None,
    camera: Annotated[str | None, typer.Option(help="All pictures of this camera.")] = None,
    before: Annotated[str | None, typer.Option(help="All pictures taken before this time, such as 2026-05-01.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    uri: MilvusUri = None,
    token: MilvusToken = None,
) -> None:
    """Erase a person, a camera, or everything older than a date: vectors, metadata and thumbnails."""
    from ccafl.gallery import commands

    time = commands.parse_time(before, "--before") if before else None
    erasure = partial(commands.forget, db, person=person, camera=camera, before=time, uri=uri, token=token)
    _erase(erasure, db, dry_run=dry_run, yes=yes)


@command(gallery_app, "gallery info --db people.db")
def info(db: Db, uri: MilvusUri = None, token: MilvusToken = None, json: Json = None) -> None:
    """Show what a gallery holds."""
    from ccafl.gallery import commands
    from ccafl.gallery.render import render_info

    found = commands.info(db, uri=uri, token=token)
    _show(found.as_json(), json=json, table=render_info(found))


@command(gallery_app, "gallery export people.parquet --db people.db", name="export")
def export_gallery(
    out: Annotated[Path, typer.Argument(help="File to write, .parquet or .csv.", show_default=False)],
    db: Db,
    uri: MilvusUri = None,
    token: MilvusToken = None,
) -> None:
    """Write all pictures with their features to a table: Parquet, or CSV without the features."""
    from ccafl import terminal
    from ccafl.gallery import commands

    terminal.say(f"{counted(commands.export(db, out, uri=uri, token=token), 'picture')} in {out}")


@command(gallery_app, "gallery corrections corrections.csv --db people.db")
def corrections(
    out: Annotated[Path, typer.Argument(help="CSV file to write.", show_default=False)],
    db: Db,
    uri: MilvusUri = None,
    token: MilvusToken = None,
) -> None:
    """Write the corrected joins for training: ccafl train ... --set data.links=OUT."""
    from ccafl import terminal
    from ccafl.gallery import commands

    terminal.say(f"{counted(commands.write_corrections(db, out, uri=uri, token=token), 'correction')} in {out}")


@command(data_app, "data check pictures", heavy="ccafl.pipeline")
def check(
    path: Images,
    source: Kind = None,
    allow_outside: Outside = False,
    json: Json = None,
) -> None:
    """Show what the data contain, and which problems to expect."""
    from ccafl import pipeline
    from ccafl.data.check import render

    report = pipeline.check_data(path, kind=source, outside=allow_outside)
    plan = [] if report.refused else pipeline.plan_own(path, kind=source, outside=allow_outside)
    _show(report.as_json() | {"own": plan}, json=json, table=render(report, plan))
    if report.refused:
        raise InputError(report.refused)


@command(app, "pretrain runs/clip-synth", heavy="ccafl.pretraining.clip_synth")
def pretrain(
    out: Annotated[Path, typer.Argument(help="Folder to create, or to continue in.", show_default=False)],
    persons: Annotated[int, typer.Option(help="Persons drawn.")] = 3000,
    cameras: Annotated[int, typer.Option(help="Cameras drawn.")] = 80,
    views: Annotated[int, typer.Option(help="Pictures per person, each from another camera.")] = 4,
    epochs: Annotated[int, typer.Option(help="Number of times every picture is seen.")] = 24,
    start: Annotated[str | None, typer.Option("--from", help="Weights to begin with: a file, or shipped.")] = None,
    batch: Annotated[int, typer.Option(help="Pictures per step.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of the initial weights and the order.")] = 0,
    precision: Annotated[str, typer.Option(help="As runtime.precision: auto, 32-true, bf16-mixed, 16-mixed.")] = "auto",
) -> None:
    """Pretrain clip-synth, the CLIP that comes with the package, on persons and captions of a synthetic world."""
    from ccafl.pretraining.clip_synth import pretrain_clip
    from ccafl.pretraining.contrast import Pretraining
    from ccafl.run_folder import RunFolder

    settings = Pretraining(epochs=epochs, batch_size=batch, seed=seed, start=start)
    results = pretrain_clip(out, persons=persons, cameras=cameras, views=views, settings=settings, precision=precision)
    _show(results, RunFolder(out).results)


@command(data_app, "data synthesize world --persons 240", heavy="ccafl.pipeline")
def synthesize(
    out: Annotated[Path, typer.Argument(help="Folder to create.", show_default=False)],
    seed: Annotated[int, typer.Option(help="The same seed draws the same world.")] = 0,
    persons: Annotated[
        int | None,
        typer.Option(
            help="Persons: 150 by default, a third of them for testing; in footage two or three at once.",
            show_default=False,
        ),
    ] = None,
    cameras: Annotated[
        int | None, typer.Option(help="Cameras: 6 by default, in footage 4.", show_default=False)
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(help="Mean number of images of a person in a camera: 6 by default.", show_default=False),
    ] = None,
    visits: Annotated[
        str, typer.Option(help="Who passes which cameras: usual, pairs, chain, apart, uneven or half.")
    ] = "usual",
    footage: Annotated[
        bool, typer.Option("--footage", help="Draw a video of each camera, and the true boxes and persons.")
    ] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Footage: length of each video, 2 by default.", show_default=False)
    ] = None,
    fps: Annotated[
        int | None, typer.Option(help="Footage: frames a second, 10 by default.", show_default=False)
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Footage: WIDTHxHEIGHT, 640x480 by default.", show_default=False)
    ] = None,
) -> None:
    """Draw a synthetic world of persons and cameras: pictures, or footage."""
    from ccafl import pipeline, terminal

    only_pictures, only_footage = {"images": images}, {"minutes": minutes, "fps": fps, "size": size}
    for option, value in (only_pictures if footage else only_footage).items():
        if value is not None:
            raise InputError(f"--{option} {value}: {'not for' if footage else 'only for'} --footage; leave it out")
    numbers = {"persons": persons, "cameras": cameras} | (only_footage if footage else only_pictures)
    given: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    draw = pipeline.synthesize_footage if footage else pipeline.synthesize_world
    terminal.say(draw(out, seed=seed, visits=visits, **given))


@command(data_app, "data split pictures split --seed 0", heavy="ccafl.pipeline")
def split(
    path: Images,
    out: Annotated[Path, typer.Argument(help="Manifest (.csv, .parquet), or a folder for one.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    source: Kind = None,
    allow_outside: Outside = False,
) -> None:
    """Split data without an official test set: two thirds of the persons train, the rest are query and gallery."""
    from ccafl import pipeline, terminal

    terminal.say(f"split written to {pipeline.split_data(path, out, seed, kind=source, outside=allow_outside)}")


def _show(
    results: Mapping[str, Any], *written: Path | None, json: str | None = None, table: "RenderableType | None" = None
) -> None:
    """A command's results: as a table, followed by the files that were written, or as JSON."""
    from ccafl import terminal
    from ccafl.evaluation.tables import results_table
    from ccafl.files import strict_json, write_json

    if json == STDOUT:
        sys.stdout.write(strict_json(results, indent=2) + "\n")
        return
    file = Path(json) if json else None
    if file is not None:
        write_json(file, results)
    terminal.show(results_table(results) if table is None else table)
    for place in filter(None, (*written, file)):
        terminal.say(f"written to {place}")


def _erase(erasure: Callable[..., int], db: Path, *, dry_run: bool, yes: bool) -> None:
    """Erase pictures of a gallery; somebody at a terminal is told how many, and asked."""
    from ccafl import terminal

    if dry_run:
        terminal.say(f"{counted(erasure(dry_run=True), 'picture')} would be erased from {db}")
        return
    if not yes and sys.stdin.isatty():
        count = counted(erasure(dry_run=True), "picture")
        if not typer.confirm(f"erase {count} from {db}? this cannot be undone", err=True):
            raise InputError("nothing was erased")
    terminal.say(f"{counted(erasure(), 'picture')} erased from {db}")


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; bad input ends with one line on stderr and exit code 2, Ctrl-C with 130, SIGTERM with 143."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that the terminal or a log cannot encode
    try:
        with stoppable():
            return app(json_to_stdout(sys.argv[1:] if arguments is None else arguments))
    except InputError as error:
        message = str(error)
        if isinstance(error, UnwrittenError):
            _show(error.results)
    except OSError as error:
        message = f"{error.filename or 'input/output'}: {error.strerror or error}; free space or check the path"
    except Stopped as stop:
        sys.stderr.write(_STOPPED)
        sys.exit(128 + stop.number)
    except SystemExit as end:
        if end.code in STOPPED:
            sys.stderr.write(_STOPPED)
        raise
    from ccafl.terminal import printable

    sys.stderr.write("error: " + printable(" ".join(message.split("\n"))) + "\n")
    sys.exit(2)
