"""Settings, configuration files, tables and file names that Hypothesis invents: each is read, or refused in one line.

What it found is among the examples of the tests. `test_strangers_files.py` changes honest files of every kind.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from ccafl.config import Config, dump, load_config
from ccafl.data.source import read_source
from ccafl.errors import InputError
from harm import Tally, refused_at_most
from small_runs import refusal

SECONDS = float(os.environ.get("CCAFL_TEST_FUZZ_SECONDS", "20"))  # for each entrance, in the long form
FEW, MANY = 30, 100  # examples in the short form, and in a round of the long one


def _keys(model: type, path: str = "") -> list[str]:
    """All settings, as --set names them."""
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation if isinstance(field.annotation, type) else None
        found.append(path + name)
        if hasattr(inner, "model_fields"):
            found += _keys(inner, f"{path}{name}.")
    return found


KEYS = _keys(Config)
TAGS = (
    "int",
    "float",
    "bool",
    "null",
    "str",
    "binary",
    "timestamp",
    "omap",
    "pairs",
    "set",
    "seq",
    "map",
    "merge",
    "v",
)
anything = st.text(max_size=30)
pieces = st.sampled_from(
    (
        *(
            "0",
            "1",
            "-1",
            "1e5",
            "-1e-400",
            "1e999",
            ".nan",
            ".inf",
            "-.inf",
            "9" * 5000,
            "0x_",
            "0b",
            "1:2:3",
            "0_",
            "~",
        ),
        *("auto", "null", "yes", "RN50", "openai", "timm/x", "[64, 32]", "[]", "{}", "{a: 1}", "- 1", "? [1]", "a: b"),
        *(
            "&a [1]",
            "*a",
            "<<: {a: 1}",
            "<<: 1",
            "%",
            "%YAML 9.9",
            "---",
            "...",
            "'",
            '"\\0"',
            '"\\x85"',
            "|",
            ">",
            "#",
        ),
        *("0001-01-01 00:00:00 +23:59", "2026-13-45", "[" * 50, "{a: " * 30, "\t", "\r", "\u2028", "\x85", "\ufeff"),
    )
)
values = st.one_of(
    pieces,
    anything,
    st.builds("!!{} {}".format, st.sampled_from(TAGS), st.one_of(pieces, st.just('""'), anything)),
    st.lists(st.one_of(pieces, anything), max_size=4).map("".join),
)
keys = st.one_of(
    st.sampled_from(KEYS),
    st.lists(st.one_of(st.sampled_from(KEYS), anything), min_size=1, max_size=3).map(".".join),
    st.sampled_from(("", ".", "stage2.", ".seed", "stage2..epochs", "model." * 3000 + "x", "model.image_size.0")),
)
overrides = st.lists(st.one_of(st.builds("{}={}".format, keys, values), anything), min_size=1, max_size=3)

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), anything, st.dates(), st.binary(max_size=8), pieces
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner)),
    max_leaves=8,
)
nested = st.fixed_dictionaries(
    {}, optional={name: st.one_of(trees, st.dictionaries(st.sampled_from(KEYS), trees)) for name in Config.model_fields}
)
lines = st.lists(st.builds("{}{}: {}".format, st.sampled_from(("", " ", "  ", "- ")), keys, values), max_size=6)
files = st.one_of(
    nested.map(lambda tree: yaml.safe_dump(tree).encode()),
    lines.map(lambda found: "\n".join(found).encode("utf-8", "surrogatepass")),
    st.binary(max_size=100),
)

COLUMNS = (
    "image",
    "camera",
    "label",
    "split",
    "person",
    "time",
    "begin",
    "end",
    "box",
    "frame",
    "confidence",
    "caption",
    "source",
)
cells = st.one_of(
    anything,
    st.sampled_from(
        ("a.png", "b/c.png", "../a.png", "/etc/passwd", "a.png\0", "", " ", "c1", "train", "query", "gallery")
    ),
    st.sampled_from(
        ("-1", "0", "nan", "1e999", "9" * 400, "2026-05-01T10:00:00Z", "0001-01-01", "=1+1", '"', "'=1", '"\n')
    ),
)


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A manifest: the columns needed and some others, rows that may be too short or too long, in any coding."""
    header = ["image", "camera", "label", *draw(st.lists(st.one_of(st.sampled_from(COLUMNS), anything), max_size=3))]
    rows = draw(st.lists(st.lists(cells, min_size=len(header) - 1, max_size=len(header) + 1), max_size=5))
    separator = draw(st.sampled_from(",,,;\t"))
    text = "\n".join(separator.join(row) for row in [header, *rows])
    coding = draw(st.sampled_from(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1")))
    return text.encode(coding, "replace")


official = st.from_regex(r"\A-?[0-9]{1,5}_?[cC][0-9]{1,4}([sSfT]?[0-9]*)_?[0-9]{0,30}[^/\0]{0,8}\.(jpg|png|JPG)\Z")
parts = (
    "bounding_box_train",
    "bounding_box_test",
    "query",
    "gallery",
    "train",
    "test",
    "bbox_train",
    "image_train",
    "c1",
)
folders = st.lists(st.one_of(st.sampled_from(parts), st.binary(min_size=1, max_size=9).map(os.fsdecode)), max_size=3)
names = st.one_of(official, st.binary(min_size=1, max_size=40).map(lambda name: os.fsdecode(name) + ".jpg"))
trees_of_files = st.lists(st.tuples(folders, names), min_size=1, max_size=8)


def same_after_writing(found: list[str], folder: Path) -> None:
    """The settings are read back from a run's folder as they were."""
    config = load_config("own", found)
    (folder / "again.yaml").write_text(dump(config), encoding="utf-8")
    assert load_config(str(folder / "again.yaml")) == config


def configured(content: bytes, folder: Path) -> None:
    (folder / "mine.yaml").write_bytes(content)
    load_config(str(folder / "mine.yaml"))


def listed(content: bytes, folder: Path) -> None:
    (folder / "mine.csv").write_bytes(content)
    (folder / "a.png").touch()
    read_source(folder / "mine.csv")


def laid_out(found: list[tuple[list[str], str]], folder: Path) -> None:
    for inner, name in found:
        try:
            place = folder.joinpath("data", *inner)
            place.mkdir(parents=True, exist_ok=True)
            (place / name).touch()
        except (OSError, ValueError):  # a name that no file can have
            continue
    read_source(folder)


Entrance = tuple[st.SearchStrategy, Callable[[object, Path], None]]
ENTRANCES: dict[str, Entrance] = {
    "--set": (overrides, same_after_writing),
    "configuration": (files, configured),
    "manifest": (tables(), listed),
    "file names": (trees_of_files, laid_out),
}


def fuzz(entrance: str, tally: Tally, examples: int, number: int = 0) -> None:
    """One round of examples; a round of another number has others."""
    strategy, read = ENTRANCES[entrance]

    @seed(number)
    @settings(
        max_examples=examples,
        derandomize=False,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(strategy)
    def every(found: object) -> None:
        with tempfile.TemporaryDirectory() as folder, tally.attempt(), refused_at_most():
            read(found, Path(folder))

    every()


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_some_inventions_are_read_or_refused(entrance, tally):
    fuzz(entrance, tally, FEW)


@pytest.mark.faults
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_inventions_are_read_or_refused(entrance, tally):
    end, number = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        fuzz(entrance, tally, MANY, number := number + 1)


@pytest.mark.parametrize(
    "value",
    [
        *(
            '!!int ""',
            '!!float ""',
            "!!bool x",
            "!!timestamp x",
            "!!binary [",
            "0001-01-01 00:00:00 +23:59",
            "9" * 5000,
        ),
        *(".nan", ".inf", "a: b: c", "\u2028", "\x85", "? [a]\n: b", "[" * 5000, "*a", "!!python/object:os.system x"),
    ],
)
def test_a_value_that_is_none_is_refused(value):
    with pytest.raises(InputError, match=r"stage2\.adversarial\.boost"):
        load_config("own", [f"stage2.adversarial.boost={value}"])


def test_a_value_with_line_ends_is_refused_in_one_line(world, capsys):
    value = "[a\x85b\u2028c\nd"
    given = ("--data", world, "--set", f"stage2.adversarial.boost={value}")
    assert "stage2.adversarial.boost" in refusal(capsys, "train", "market-split", *given)


@pytest.mark.parametrize(
    "text", ["1e5", "1.5", "null", "yes", "2026-05-01", "=", "\x85", "\u2028", "\ud83d\ude00", "\0"]
)
def test_texts_are_read_back_from_a_runs_settings(tmp_path, text):
    text = text.encode("utf-16", "surrogatepass").decode("utf-16")
    config = Config(paper=text)
    (tmp_path / "again.yaml").write_text(dump(config), encoding="utf-8")
    assert load_config(str(tmp_path / "again.yaml")) == config
