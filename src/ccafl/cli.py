"""The ``ccafl`` command. Each subcommand passes its arguments to `ccafl.pipeline` or to the ``commands`` of
`ccafl.footage`, `ccafl.gallery` or `ccafl.service`, and shows the result. Heavy libraries are imported inside them, so
that help appears at once.
"""

import inspect
import io
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from ccafl import __version__
from ccafl.data.source import KINDS
from ccafl.errors import InputError, UnwrittenError
from ccafl.gallery.filters import FILTERS, Filters, ValueKind
from ccafl.signals import Stopped, stoppable

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Check, draw and split data.", no_args_is_help=True)
app.add_typer(data_app, name="data")
gallery_app = typer.Typer(help="Keep a gallery of pictures to search.", no_args_is_help=True)
app.add_typer(gallery_app, name="gallery")

STOPPED = (130, 143)  # exit codes after Ctrl-C and SIGTERM
_STOPPED = "stopped; what is finished is kept: resume train with --resume, other commands by repeating them\n"


class Fusion(StrEnum):
    """How several pictures are combined in one search."""

    mean = "mean"
    max = "max"


Run = Annotated[Path, typer.Argument(help="Folder of a trained run.", show_default=False)]
Encoder = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Folder of a trained run; or weights without training: clip-synth, RN50:openai, NAME:FILE.",
        show_default=False,
    ),
]
Configuration = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="own for your own pictures, another shipped configuration, or a YAML file.",
        show_default=False,
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        help="Images: an official data set's folder, <camera>/<label>/ folders, or a .csv or .parquet manifest.",
        show_default=False,
    ),
]
Kind = Annotated[
    str | None,
    typer.Option("--source", help=f"{', '.join(KINDS[:-1])} or {KINDS[-1]}; detected if not given."),
]
Outside = Annotated[bool, typer.Option("--allow-outside", help="Let a manifest name pictures outside of its folder.")]
Skip = Annotated[bool, typer.Option("--skip-unreadable", help="Leave out unreadable images, listing them once.")]
Standardise = Annotated[
    bool, typer.Option("--camera-standardise", help="Standardise features by camera: remove what its images share.")
]
CameraTable = Annotated[
    Path | None,
    typer.Option("--topology", help="Table of which cameras share persons, CSV or YAML (docs/topology.md)."),
]
Db = Annotated[Path, typer.Option("--db", help="The gallery's folder.", show_default=False)]
Model = Annotated[Path | None, typer.Option(help="The gallery's model, a run or an ONNX file, if it has moved.")]
MilvusUri = Annotated[
    str | None,
    typer.Option("--uri", envvar="MILVUS_URI", help="The gallery's Milvus server; a token goes to no other address."),
]
MilvusToken = Annotated[
    str | None, typer.Option("--token", envvar="MILVUS_TOKEN", help="For a Milvus server that requires one.")
]


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


def _with_filters(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each search filter in place of its parameter ``filters``."""
    options = [
        inspect.Parameter(
            filter_.parameter,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[list[str] | None, typer.Option(help=f"{filter_.description}; may be repeated.")]
            if filter_.kind is ValueKind.NAMES
            else Annotated[str | None, typer.Option(help=f"{filter_.description}, such as 2026-05-01T14:03.")],
        )
        for filter_ in FILTERS.values()
    ]

    @wraps(command)
    def with_options(**values: Any) -> None:
        from ccafl.gallery.commands import parse_time

        given = {option.name: values.pop(option.name) for option in options}
        for filter_ in FILTERS.values():
            if filter_.kind is ValueKind.TIME and given[filter_.parameter] is not None:
                given[filter_.parameter] = parse_time(given[filter_.parameter], f"--{filter_.parameter}")
        command(**values, filters=Filters.of(given))

    signature = inspect.signature(command)
    parameters = [new for old in signature.parameters.values() for new in (options if old.name == "filters" else [old])]
    with_options.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


@app.command()
def demo(out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo")) -> None:
    """Draw a synthetic world, train on it with and without joining the cameras, and compare."""
    from ccafl import pipeline, terminal
    from ccafl.evaluation.tables import comparison_table
    from ccafl.run_folder import RunFolder

    terminal.show(comparison_table(pipeline.demo(out)))
    terminal.say(f"written to {RunFolder(out).results}")


@app.command()
def train(
    config: Configuration,
    data: Data,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/CONFIG if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from the last checkpoint in the folder.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, such as stage2.epochs=40; may be repeated.")
    ] = None,
    source: Kind = None,
    allow_outside: Outside = False,
    skip_unreadable: Skip = False,
) -> None:
    """Train on images labelled camera by camera, and join the cameras' labels."""
    from ccafl import pipeline
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
    _show_results(results, RunFolder(out).results)


@app.command()
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
    _show_results(results, out or in_the_run)


@app.command()
def ablate(
    config: Configuration,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for all runs and the table.", show_default=False)],
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0,1,2.")] = "0,1,2",
    rows: Annotated[str | None, typer.Option(help="Rows, such as icdl,ccafl; all if not given.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, such as stage2.epochs=40; may be repeated.")
    ] = None,
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


@app.command()
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
    terminal.say(f"{count} features in {out}")


@app.command()
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
) -> None:
    """Join labels made camera by camera: find which of them are one person."""
    from ccafl import pipeline

    _show_results(
        pipeline.associate_run(run, data, out, kind=source, outside=allow_outside, links=links, topology=topology), out
    )


@app.command()
def report(
    run: Run,
    data: Annotated[Path | None, typer.Option(help="The run's images, if they have moved.", show_default=False)] = None,
    out: Annotated[Path | None, typer.Option(help="The page; report.html in the run's folder if not given.")] = None,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="Show pictures of real persons, too; synthetic ones are always shown.")
    ] = False,
    source: Kind = None,
    allow_outside: Outside = False,
) -> None:
    """Show a run on one offline page: losses, association, figure 5, embedding, rank lists, activation maps."""
    from ccafl import terminal
    from ccafl.report.run_report import report_run

    terminal.say(
        f"report in {report_run(run, data=data, kind=source, outside=allow_outside, out=out, with_images=with_images)}"
    )


@app.command()
@_with_filters
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
    taken_by: Annotated[str | None, typer.Option(help="The camera of the pictures, if known.")] = None,
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
    table: Annotated[
        Path | None, typer.Option("--json", help="JSON file for what is found.", show_default=False)
    ] = None,
    uri: MilvusUri = None,
    token: MilvusToken = None,
) -> None:
    """Find a person in a gallery, by pictures or by a description."""
    from ccafl import terminal
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
        table=table,
        uri=uri,
        token=token,
    )
    terminal.show(render_found(found))
    for written in filter(None, (sheet, table)):
        terminal.say(f"written to {written}")


@app.command()
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
        str, typer.Option(help="motion (fixed cameras), torchvision[:NAME[:FILE]] or onnx:[LAYOUT:]FILE.")
    ] = "motion",
    detections: Annotated[
        list[str] | None, typer.Option(metavar="CAMERA=FILE", help="Detections, MOTChallenge's; may be repeated.")
    ] = None,
    tracks: Annotated[
        list[str] | None,
        typer.Option(metavar="CAMERA=FILE", help="Tracks, MOTChallenge's or CVAT's (.xml); may be repeated."),
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


@app.command()
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


@app.command()
def export(
    run: Run,
    onnx: Annotated[bool, typer.Option("--onnx", help="For ONNX Runtime; the default.")] = False,
    program: Annotated[bool, typer.Option("--program", help="For PyTorch (torch.export); needs no ccafl.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to; export in the run's folder if not given.")
    ] = None,
) -> None:
    """Write the image encoder as a file for other programs, checked against torch, with a model card."""
    from ccafl.export import export_run
    from ccafl.run_folder import RunFolder

    folder = out or RunFolder(run).export
    _show_results(export_run(run, folder, onnx=onnx or not program, program=program), folder)


@gallery_app.command()
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
    _show_results(results, db)


@gallery_app.command()
def join(
    db: Db,
    association: Annotated[
        Path | None, typer.Option(help="Table of camera,label,identity; by default the gallery's own pictures decide.")
    ] = None,
    topology: CameraTable = None,
    uri: MilvusUri = None,
    token: MilvusToken = None,
) -> None:
    """Join the cameras' labels anew, keeping people's corrections."""
    from ccafl.gallery import commands

    _show_results(commands.rejoin(db, association=association, topology=topology, uri=uri, token=token), db)


@gallery_app.command()
def remove(
    paths: Annotated[list[Path], typer.Argument(help="Picture files or folders.", show_default=False)],
    db: Db,
    uri: MilvusUri = None,
    token: MilvusToken = None,
) -> None:
    """Erase pictures by the file or folder they came from."""
    from ccafl import terminal
    from ccafl.gallery import commands

    terminal.say(f"{commands.remove(paths, db, uri=uri, token=token)} pictures erased from {db}")


@gallery_app.command()
def forget(
    db: Db,
    person: Annotated[str | None, typer.Argument(help="A joined identity.", show_default=False)] = None,
    camera: Annotated[str | None, typer.Option(help="All pictures of this camera.")] = None,
    before: Annotated[str | None, typer.Option(help="All pictures taken before this time, such as 2026-05-01.")] = None,
    uri: MilvusUri = None,
    token: MilvusToken = None,
) -> None:
    """Erase a person, a camera, or everything older than a date: vectors, metadata and thumbnails."""
    from ccafl import terminal
    from ccafl.gallery import commands

    time = commands.parse_time(before, "--before") if before else None
    count = commands.forget(db, person=person, camera=camera, before=time, uri=uri, token=token)
    terminal.say(f"{count} pictures erased from {db}")


@gallery_app.command()
def info(db: Db, uri: MilvusUri = None, token: MilvusToken = None) -> None:
    """Show what a gallery holds."""
    from ccafl import terminal
    from ccafl.gallery import commands
    from ccafl.gallery.render import render_info

    terminal.show(render_info(commands.info(db, uri=uri, token=token)))


@gallery_app.command("export")
def export_gallery(
    out: Annotated[Path, typer.Argument(help="Parquet file to write.", show_default=False)],
    db: Db,
    uri: MilvusUri = None,
    token: MilvusToken = None,
) -> None:
    """Write all pictures with their features to a Parquet table."""
    from ccafl import terminal
    from ccafl.gallery import commands

    terminal.say(f"{commands.export(db, out, uri=uri, token=token)} pictures in {out}")


@gallery_app.command()
def corrections(
    out: Annotated[Path, typer.Argument(help="CSV file to write.", show_default=False)],
    db: Db,
    uri: MilvusUri = None,
    token: MilvusToken = None,
) -> None:
    """Write the corrected joins for training: ccafl train ... --set data.links=OUT."""
    from ccafl import terminal
    from ccafl.gallery import commands

    terminal.say(f"{commands.write_corrections(db, out, uri=uri, token=token)} corrections in {out}")


@data_app.command()
def check(
    path: Annotated[Path, typer.Argument(help="Images, as for --data of train.", show_default=False)],
    source: Kind = None,
    allow_outside: Outside = False,
) -> None:
    """Show what the data contain, and which problems to expect."""
    from ccafl import pipeline, terminal
    from ccafl.data.check import render

    terminal.show(render(pipeline.check_data(path, kind=source, outside=allow_outside)))
    for line in pipeline.plan_own(path, kind=source, outside=allow_outside):
        terminal.say(line)


@app.command()
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
    _show_results(results, RunFolder(out).results)


@data_app.command()
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


@data_app.command()
def split(
    path: Annotated[Path, typer.Argument(help="Images, as for --data of train.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Manifest (.csv, .parquet), or a folder for one.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    source: Kind = None,
    allow_outside: Outside = False,
) -> None:
    """Split data without an official test set: two thirds of the persons train, the rest are query and gallery."""
    from ccafl import pipeline, terminal

    terminal.say(f"split written to {pipeline.split_data(path, out, seed, kind=source, outside=allow_outside)}")


def _show_results(results: Mapping[str, Any], written_to: Path | None) -> None:
    """A table of a command's results, and where a script finds them if they were written."""
    from ccafl import terminal
    from ccafl.evaluation.tables import results_table

    terminal.show(results_table(results))
    if written_to is not None:
        terminal.say(f"written to {written_to}")


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; bad input ends with one line on stderr and exit code 2, Ctrl-C with 130, SIGTERM with 143."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names that the terminal or a log cannot encode
    try:
        with stoppable():
            return app(arguments)
    except InputError as error:
        message = str(error)
        if isinstance(error, UnwrittenError):
            _show_results(error.results, None)
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
