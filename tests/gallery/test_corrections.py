"""Corrections of joins: what a merge and a split do, that corrections never contradict each other, and their table."""

import csv
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccafl.data.links import CANNOT_LINK, MUST_LINK, read_links
from ccafl.encoders.encoder import Encoded
from ccafl.errors import InputError
from ccafl.gallery import Entry, Gallery, merge, split
from ccafl.gallery.corrections import corrections, corrections_csv, join, link, linked, remove, undo
from colour_people import CAMERAS, JOINED, FakeEncoder, filled, key_of

TRACKLETS = [(f"c{camera}", f"p{label}") for camera in range(3) for label in range(4)]
KEYS = {tracklet: [f"{number:063x}{picture}" for picture in "ab"] for number, tracklet in enumerate(TRACKLETS)}


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A gallery with two pictures per tracklet; every example first sets its own identities."""
    with Gallery.create(tmp_path_factory.mktemp("labelled") / "gallery.db", FakeEncoder(describes=False)) as gallery:
        entries = [Entry(key, t[0], None, "/x", t[1], "") for t, keys in KEYS.items() for key in keys]
        gallery.put(entries, Encoded(np.ones((len(entries), gallery.dim), np.float32), None), {})
        yield gallery


def start_anew(gallery: Gallery) -> None:
    gallery.ledger.write(
        [(f"delete from {table}", ()) for table in ("identities", "joined", "corrections", "changes", "names")]
    )


def keys_of(tracklets) -> list[str]:
    """The key of one picture of each tracklet."""
    return [KEYS[tracklet][number % 2] for number, tracklet in enumerate(tracklets)]


def members(gallery: Gallery) -> dict[str, set]:
    found = defaultdict(set)
    for tracklet, identity in gallery.ledger.identities().items():
        found[identity].add(tracklet)
    return found


def connected(start, pairs) -> set:
    found, fresh = set(), {start}
    while fresh:
        found |= fresh
        fresh = {b for pair in pairs for a, b in (pair, pair[::-1]) if a in fresh} - found
    return found


def assert_sound(gallery: Gallery) -> None:
    """Corrections do not contradict each other, and identities agree with them."""
    must, cannot, identities = linked(gallery, MUST_LINK), linked(gallery, CANNOT_LINK), gallery.ledger.identities()
    assert not set(must) & set(cannot)
    assert all(one < other for one, other in (*must, *cannot))
    for one, other in cannot:
        assert other not in connected(one, must)
        assert one not in identities or identities[one] != identities.get(other)
    for one, other in must:
        assert identities[one] == identities[other]


tracklets = st.sampled_from(TRACKLETS)
joins = st.dictionaries(tracklets, st.sampled_from("0123"))
steps = st.lists(
    st.tuples(
        st.sampled_from(["merge", "split", "join"]), st.lists(tracklets, min_size=1, max_size=3, unique=True), joins
    ),
    max_size=12,
)


@given(joins, steps)
def test_corrections_hold_whatever_came_before(labelled, joined, corrected):
    start_anew(labelled)
    labelled.join(joined)
    for step, chosen, table in corrected:
        before, kept = members(labelled), labelled.ledger.identities()
        try:
            if step == "merge":
                identity = merge(labelled, keys_of(chosen)).identity
                now = members(labelled)[identity]
                assert set(chosen) <= now
                for tracklet in chosen:
                    assert before[kept[tracklet]] <= now if tracklet in kept else True
                assert identity in before or not any(tracklet in kept for tracklet in chosen)
            elif step == "split":
                identity = split(labelled, keys_of(chosen)).identity
                assert identity not in before
                assert members(labelled)[identity] == set(chosen)
                assert members(labelled)[kept[chosen[0]]] == before[kept[chosen[0]]] - set(chosen)
                assert {(min(a, b), max(a, b)) for a in chosen for b in before[kept[chosen[0]]] - set(chosen)} <= set(
                    linked(labelled, CANNOT_LINK)
                )
            else:
                join(labelled, table)
                assert set(table) <= set(labelled.ledger.identities())
        except InputError:
            assert members(labelled) == before, "a refused correction changes nothing"
        assert_sound(labelled)


@given(joins, steps, joins)
def test_a_table_is_unchanged_where_nobody_corrected_it(labelled, joined, corrected, table):
    start_anew(labelled)
    join(labelled, joined)
    assert labelled.ledger.identities() == joined
    for step, chosen, _ in corrected:
        try:
            {"merge": merge, "split": split}.get(step, lambda *_: None)(labelled, keys_of(chosen))
        except InputError:
            continue
    touched = {t for pair in linked(labelled, MUST_LINK) + linked(labelled, CANNOT_LINK) for t in pair}
    concerned = {table[tracklet] for tracklet in touched if tracklet in table}
    join(labelled, table)
    now = labelled.ledger.identities()
    assert {t: i for t, i in table.items() if i not in concerned}.items() <= now.items()
    join(labelled, now)
    assert labelled.ledger.identities() == now


def test_labels_split_off_stay_apart_and_the_rest_stays_together(labelled):
    start_anew(labelled)
    table = dict.fromkeys([("c0", "p0"), ("c1", "p0"), ("c2", "p0"), ("c2", "p1")], "4")
    join(labelled, table)
    split(labelled, keys_of([("c1", "p0")]))
    merge(labelled, keys_of([("c0", "p1"), ("c1", "p1")]))
    join(labelled, table | {("c0", "p2"): "4"})
    identities = labelled.ledger.identities()
    together = {t for t, identity in identities.items() if identity == "4"}
    assert together == {("c0", "p0"), ("c2", "p0"), ("c2", "p1"), ("c0", "p2")}
    assert identities["c1", "p0"] not in ("4", identities["c0", "p1"])
    assert identities["c0", "p1"] == identities["c1", "p1"]


@given(joins, steps)
def test_training_reads_the_table_back(labelled, tmp_path_factory, joined, corrected):
    start_anew(labelled)
    labelled.join(joined)
    for step, chosen, _ in corrected:
        try:
            {"merge": merge, "split": split}.get(step, lambda *_: None)(labelled, keys_of(chosen))
        except InputError:
            continue
    table = tmp_path_factory.mktemp("links") / "links.csv"
    table.write_text(corrections_csv(labelled), "utf-8")
    links = read_links(table)  # which refuses contradictions
    assert [(own.kind, *own.one, *own.other) for own in links] == [
        (c.kind, c.camera_a, c.label_a, c.camera_b, c.label_b) for c in corrections(labelled)
    ]


def test_a_merge_joins_all_of_both(gallery, people):
    one, other = (next(p for p in people if p.label == label) for label in ("e0", "y1"))
    identity = merge(gallery, [key_of(one.path), key_of(other.path)]).identity
    assert identity == "0"
    assert set(gallery.ledger.tracklets_of("0")) == {t for t, i in JOINED.items() if i in "01"}
    assert gallery.ledger.tracklets_of("1") == []
    assert {e.identity for e in gallery.of_identity("0")} == {"0"}
    assert linked(gallery, MUST_LINK) == [(("entrance", "e0"), ("yard", "y1"))]
    stranger = [key_of(p.path) for p in people if p.label[1:] == "3"]
    assert merge(gallery, stranger).identity == "3", "a new number"
    assert set(gallery.ledger.tracklets_of("3")) == {(camera, f"{camera[0]}3") for camera in CAMERAS}


def test_impossible_corrections_are_refused(gallery, people):
    key = {p.label: key_of(p.path) for p in people}
    with pytest.raises(InputError, match="no such picture in the gallery"):
        merge(gallery, [key["e0"], "0" * 64])
    with pytest.raises(InputError, match="needs pictures of at least two labels"):
        merge(gallery, [key_of(p.path) for p in people if p.label == "e0"])
    with pytest.raises(InputError, match="needs pictures of at least two labels"):
        merge(gallery, [])
    for several in ([key["e0"], key["e1"]], [key["e3"]], [key["e0"], key["e3"]], []):
        with pytest.raises(InputError, match="are not of one identity"):
            split(gallery, several)
    with pytest.raises(InputError, match="all pictures of their identity"):
        split(gallery, [key["e0"], key["c0"], key["y0"]])
    (entry,) = gallery.get([key["e0"]])
    gallery.put(
        [Entry("1" * 64, "yard", None, "/none", "", "")],
        Encoded(gallery.vectors([entry.key]), gallery.vectors([entry.key], text=True)),
        {},
    )
    for correct in (merge, split):
        with pytest.raises(InputError, match="/none: has no label"):
            correct(gallery, [key["e0"], "1" * 64])
    assert gallery.ledger.identities() == JOINED
    assert corrections(gallery) == []


@pytest.mark.parametrize(
    "odd",
    [
        [('a,"b', "1"), ("c\\", "é 2")],
        [("=1+1", "+cmd|' /C calc'!A0"), ("@SUM(1)", "'=2")],
        [("-1", "-a"), ("'", "+7,5")],
    ],
)
def test_names_in_the_table_are_only_names(tmp_path, odd):
    with Gallery.create(tmp_path / "gallery.db", FakeEncoder(describes=False)) as gallery:
        entries = [Entry(f"{n:064x}", camera, None, "/x", label, "") for n, (camera, label) in enumerate(odd)]
        gallery.put(entries, Encoded(np.ones((2, gallery.dim), np.float32), None), {})
        merge(gallery, [e.key for e in entries])
        (tmp_path / "links.csv").write_text(corrections_csv(gallery), "utf-8")
    (own,) = read_links(tmp_path / "links.csv")
    assert (own.kind, own.one, own.other) == (MUST_LINK, *sorted(odd))
    with (tmp_path / "links.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[0] in "=+-@" and cell not in ("-1", "+7,5")], "formulas"


def test_a_split_removes_must_links_across_identities(labelled):
    start_anew(labelled)
    one, other, third = TRACKLETS[:3]
    merge(labelled, keys_of([one, other]))
    labelled.join({one: "5", third: "5", other: "6"})  # ignores corrections
    split(labelled, keys_of([one]))
    assert linked(labelled, MUST_LINK) == []
    assert linked(labelled, CANNOT_LINK) == [(min(one, third), max(one, third))]
    merge(labelled, keys_of([other, third]))
    merge(labelled, keys_of([one, other]))
    assert linked(labelled, CANNOT_LINK) == []
    assert_sound(labelled)


@given(
    joins,
    st.lists(
        st.tuples(
            st.sampled_from(["merge", "split", "same", "apart"]),
            st.lists(tracklets, min_size=2, max_size=3, unique=True),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_whatever_was_corrected_is_undone(labelled, joined, corrected):
    start_anew(labelled)
    join(labelled, joined)
    states = []
    for step, chosen in corrected:
        before = set(map(frozenset, members(labelled).values())), corrections(labelled)
        try:
            if step in ("merge", "split"):
                done = {"merge": merge, "split": split}[step](labelled, keys_of(chosen))
            else:
                done = link(labelled, *chosen[:2], same=step == "same")
        except InputError:
            continue
        assert_sound(labelled)
        states.append((done.change, *before))
    for change, persons, made in reversed(states):
        undo(labelled, change)
        assert corrections(labelled) == made
        assert set(map(frozenset, members(labelled).values())) == persons
        undo(labelled, change)
        assert corrections(labelled) == made


@given(joins, steps, st.lists(st.integers(0, 11), max_size=6))
def test_corrections_removed_or_undone_in_any_order_stay_sound(labelled, joined, corrected, places):
    start_anew(labelled)
    join(labelled, joined)
    changes = []
    for step, chosen, table in corrected:
        try:
            if step == "join":
                join(labelled, table)
            else:
                changes.append({"merge": merge, "split": split}[step](labelled, keys_of(chosen)).change)
        except InputError:
            continue
    for place in places:
        left = corrections(labelled)
        if place % 2 and left:
            gone = left[place % len(left)]
            remove(labelled, (gone.camera_a, gone.label_a), (gone.camera_b, gone.label_b))
            assert corrections(labelled) == [other for other in left if other != gone]
        elif changes:
            undo(labelled, changes.pop(place % len(changes)))
        assert_sound(labelled)
    for gone in corrections(labelled):
        remove(labelled, (gone.camera_a, gone.label_a), (gone.camera_b, gone.label_b))
    assert labelled.ledger.identities() == labelled.ledger.joined()


def test_a_label_told_apart_leaves_with_those_it_resembles(gallery, people):
    alike = {("entrance", "e0"), ("corridor", "c0"), ("yard", "y0")}
    join(gallery, dict.fromkeys([*alike, ("entrance", "e2"), ("yard", "y2")], "7"))
    link(gallery, ("corridor", "c0"), ("yard", "y2"), same=False)
    assert set(gallery.ledger.tracklets_of("7")) == alike
    with pytest.raises(InputError, match="no such label"):
        link(gallery, ("corridor", "c0"), ("yard", "nobody"), same=True)


def test_a_name_follows_most_of_its_labels_through_later_joins(gallery):
    gallery.name("0", " <b>Ann</b>  Lee ")
    gallery.name("1", "Bob")
    with pytest.raises(InputError, match="another person's name"):
        gallery.name("2", "Bob")
    with pytest.raises(InputError, match="no identity 77"):
        gallery.name("77", "Cay")
    e0, c0, y0, e1, c1, y1 = (t for n in "01" for t in gallery.ledger.tracklets_of(n))
    join(gallery, dict.fromkeys((e0, c0, y1), "a") | dict.fromkeys((y0, e1), "b") | {c1: "c"})
    assert gallery.ledger.names() == {"a": "<b>Ann</b> Lee", "b": "Bob"}
    assert {e.name for e in gallery.of_identity("a")} == {"<b>Ann</b> Lee"}
    gallery.name("a", "")
    assert gallery.ledger.names() == {"b": "Bob"}  # y1 lost Bob's name with Ann's
    assert gallery.info().names == {"b": "Bob"}
    link(gallery, y0, c1, same=False)
    gallery.forget("b")
    assert gallery.ledger.read("select label from names") == [(c1[1],)]
    assert gallery.ledger.joined().keys().isdisjoint((y0, e1))
    assert gallery.ledger.read("select * from changes") == []


def test_a_gallery_of_an_earlier_version_keeps_its_joins_and_takes_corrections(tmp_path, people):
    with filled(tmp_path / "gallery.db", FakeEncoder(), people) as made:
        made.ledger.write([(f"drop table {table}", ()) for table in ("joined", "changes", "names")])
    with Gallery.open(tmp_path / "gallery.db", read_only=True) as read:
        assert {entry.name for entry in read.of_identity("0")} == {""}
    with Gallery.open(tmp_path / "gallery.db") as again:
        undo(again, link(again, ("entrance", "e0"), ("yard", "y1"), same=True).change)
        assert again.ledger.identities() == JOINED
