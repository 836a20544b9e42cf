"""The ``ccafl`` command. Each subcommand hands its arguments to `ccafl.pipeline` and shows what comes back; heavy
libraries are imported only inside, so that help answers at once.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from ccafl.errors import InputError

app = typer.Typer(
    help="Person re-identification from labels made camera by camera.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Check, draw and split data.", no_args_is_help=True)
app.add_typer(data_app, name="data")

Run = Annotated[Path, typer.Argument(help="Folder of a trained run.", show_default=False)]
Data = Annotated[
    Path,
    typer.Option(
        help="Images: an official data set's folder, <camera>/<label>/ folders, or a .csv or .parquet manifest.",
        show_default=False,
    ),
]
Kind = Annotated[
    str | None,
    typer.Option("--source", help="market1501, dukemtmc, msmt17, folder or manifest; recognised if not given."),
]
Skip = Annotated[bool, typer.Option("--skip-unreadable", help="Leave unreadable images out, listing them once.")]


@app.command()
def demo(out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/demo")) -> None:
    """Draw a synthetic world, train on it with and without joining the cameras, compare."""
    from ccafl import pipeline, terminal

    terminal.show_comparison(pipeline.demo(out), out)


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="Name of a shipped configuration, or a YAML file.", show_default=False)],
    data: Data,
    out: Annotated[Path | None, typer.Option(help="The run's folder; runs/CONFIG if not given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in the folder.")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, such as stage2.epochs=40; as often as needed.")
    ] = None,
    source: Kind = None,
    skip_unreadable: Skip = False,
) -> None:
    """Train on images labelled camera by camera, and join the cameras' labels."""
    from ccafl import pipeline, terminal
    from ccafl.config import load_config

    out = out or Path("runs") / Path(config).stem
    results = pipeline.train_run(
        load_config(config, settings), data, out, kind=source, resume=resume, skip_unreadable=skip_unreadable
    )
    terminal.show_results(results, out / "results.json")


@app.command()
def evaluate(
    run: Run,
    data: Data,
    rerank: Annotated[bool, typer.Option("--rerank", help="k-reciprocal re-ranking.")] = False,
    checkpoint: Annotated[str, typer.Option(help="last, or best by mAP.")] = "last",
    source: Kind = None,
) -> None:
    """Rank query and gallery: mAP and CMC."""
    from ccafl import pipeline, terminal

    results = pipeline.evaluate_run(run, data, kind=source, rerank=rerank, checkpoint=checkpoint)
    terminal.show_results(results, run)


@app.command()
def ablate(
    config: Annotated[str, typer.Argument(help="Name of a shipped configuration, or a YAML file.", show_default=False)],
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of all its runs and the table.", show_default=False)],
    seeds: Annotated[str, typer.Option(help="Seeds, such as 0,1,2.")] = "0,1,2",
    rows: Annotated[str | None, typer.Option(help="Rows, such as icdl,ccafl; all if not given.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change a setting, such as stage2.epochs=40; as often as needed.")
    ] = None,
    source: Kind = None,
    skip_unreadable: Skip = False,
) -> None:
    """Train CCAFL with and without each of its parts; go on where an earlier call stopped."""
    import shlex

    from ccafl import ablation, terminal
    from ccafl.config import load_config

    table = ablation.ablate(
        load_config(config, settings),
        data,
        out,
        seeds=ablation.parse_seeds(seeds),
        command=shlex.join(["ccafl", *sys.argv[1:]]),
        only=rows.split(",") if rows else None,
        kind=source,
        skip_unreadable=skip_unreadable,
    )
    terminal.show_markdown(ablation.markdown(table), out / "ablation.md")


@app.command()
def extract(
    run: Run,
    images: Annotated[Path, typer.Option(help="A picture, or a folder of pictures.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Parquet file with columns image and feature.", show_default=False)],
    camera: Annotated[
        str | None, typer.Option(help="The camera of them all, which runs with model.camera_norm make use of.")
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
) -> None:
    """Join labels that were made camera by camera: which of them are one person."""
    from ccafl import pipeline, terminal

    terminal.show_results(pipeline.associate_run(run, data, out, kind=source), out)


@app.command()
def report(
    run: Run,
    data: Annotated[
        Path | None, typer.Option(help="The run's images, if they lie elsewhere now.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page; report.html in the run's folder if not given.")] = None,
    with_images: Annotated[
        bool, typer.Option("--with-images", help="Show pictures of real persons, too; drawn ones always are.")
    ] = False,
    source: Kind = None,
) -> None:
    """Draw a run: losses, association, figure 5, embedding, rank lists, activation maps, as one offline page."""
    from ccafl import terminal
    from ccafl.report.run_report import report_run

    terminal.say(f"report in {report_run(run, data=data, kind=source, out=out, with_images=with_images)}")


@data_app.command()
def check(
    path: Annotated[Path, typer.Argument(help="As --data of train.", show_default=False)], source: Kind = None
) -> None:
    """Say what is there, and what will be a problem."""
    from ccafl import pipeline, terminal
    from ccafl.data.check import render

    terminal.show(render(pipeline.check_data(path, kind=source)))


@app.command()
def pretrain(
    out: Annotated[Path, typer.Argument(help="Folder to make, or to go on with.", show_default=False)],
    persons: Annotated[int, typer.Option(help="Persons drawn.")] = 6000,
    cameras: Annotated[int, typer.Option(help="Cameras drawn.")] = 240,
    views: Annotated[int, typer.Option(help="Pictures of a person, each of another camera.")] = 8,
    epochs: Annotated[int, typer.Option(help="Times every picture is seen.")] = 24,
    batch: Annotated[int, typer.Option(help="Pictures a step.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the weights and the order.")] = 0,
    precision: Annotated[str, typer.Option(help="As runtime.precision: auto, 32-true, bf16-mixed, 16-mixed.")] = "auto",
) -> None:
    """Pretrain clip-synth, the CLIP that comes with the package, on pictures and captions of a synthetic world."""
    from ccafl import pipeline, terminal
    from ccafl.training.pretrain import Pretraining

    settings = Pretraining(epochs=epochs, batch_size=batch, seed=seed)
    results = pipeline.pretrain_clip(
        out, persons=persons, cameras=cameras, views=views, settings=settings, precision=precision
    )
    terminal.show_results(results, out / "results.json")


@data_app.command()
def synthesize(
    out: Annotated[Path, typer.Argument(help="Folder to make.", show_default=False)],
    seed: Annotated[int, typer.Option(help="The same seed draws the same world.")] = 0,
    persons: Annotated[int, typer.Option(help="Persons, a third of them for testing.")] = 150,
    cameras: Annotated[int, typer.Option(help="Cameras.")] = 6,
    images: Annotated[int, typer.Option(help="Mean number of images of a person in a camera.")] = 6,
) -> None:
    """Draw a synthetic world of persons and cameras."""
    from ccafl import pipeline, terminal

    manifest = pipeline.synthesize_world(out, seed=seed, persons=persons, cameras=cameras, images=images)
    terminal.say(f"{persons} persons in {cameras} cameras: {manifest}")


@data_app.command()
def split(
    path: Annotated[Path, typer.Argument(help="As --data of train.", show_default=False)],
    out: Annotated[Path, typer.Argument(help="Manifest (.csv, .parquet), or a folder for one.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Of the split.")] = 0,
    source: Kind = None,
) -> None:
    """Split data without an official test set: two thirds of the persons train, the rest are query and gallery."""
    from ccafl import pipeline, terminal

    terminal.say(f"split written to {pipeline.split_data(path, out, seed, kind=source)}")


def main(arguments: list[str] | None = None) -> Any:
    """Run the command; bad input ends with one line on stderr and exit code 2."""
    try:
        return app(arguments)
    except InputError as error:
        message = str(error)
    except OSError as error:
        message = f"{error.filename or 'input/output'}: {error.strerror or error}; free space or check the path"
    except KeyboardInterrupt:
        sys.stderr.write("stopped; --resume goes on from the last checkpoint\n")
        sys.exit(130)
    sys.stderr.write("error: " + " ".join(message.split("\n")) + "\n")
    sys.exit(2)
