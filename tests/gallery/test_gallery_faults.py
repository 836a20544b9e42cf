"""Harm done for real: killed processes, interrupts, turned bits, a full disk, forged files, other users."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ccafl.cli import main
from ccafl.encoders.encoder import Encoded
from ccafl.errors import InputError
from ccafl.gallery import Gallery, adding, commands, search
from ccafl.gallery.adding import Picture, add_pictures
from ccafl.gallery.render import render_found, render_info
from ccafl.terminal import printable, show
from colour_people import FakeEncoder, filled, key_of

KILLS = int(os.environ.get("CCAFL_TEST_KILLS", "3"))
BITS = int(os.environ.get("CCAFL_TEST_BITS", "60"))
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["colour_people"])
PERSON = "1"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def content(gallery: Gallery) -> dict[str, tuple]:
    """What is stored of each picture, by key: properties, vectors and thumbnail."""
    return {
        e.key: (replace(e, identity=""), row.tobytes(), text.tobytes(), gallery.thumbnail(e.key))
        for entries, encoded in gallery.all()
        for e, row, text in zip(entries, encoded.features, encoded.image_text, strict=True)
    }


def some_query(gallery: Gallery) -> np.ndarray:
    return np.eye(1, gallery.dim, dtype=np.float32)


# --- Killed -----------------------------------------------------------------------------------------------------------


def come_and_go(folder: Path, people: list[Picture], started) -> None:
    """Add all, forget one person, again and again."""
    adding.BATCH = 4
    with Gallery.open(folder) as gallery:
        started.set()
        while True:
            add_pictures(gallery, FakeEncoder(), people)
            gallery.join({(p.camera, p.label): p.label[1:] for p in people})
            gallery.forget(PERSON)


@pytest.mark.faults
def test_a_kill_leaves_whole_pictures_and_a_forgotten_person_leaves_nothing(gallery, people, tmp_path):
    folder, chance = tmp_path / "gallery.db", random.Random(0)
    expected = content(gallery)
    of_person = {e.key for e in gallery.of_identity(PERSON)}
    gallery.close()
    for _ in range(KILLS):
        started = PROCESSES.Event()
        process = PROCESSES.Process(target=come_and_go, args=(folder, people, started))
        process.start()
        assert started.wait(120)
        process.join(chance.uniform(0, 0.5))
        process.kill()
        process.join()
        with Gallery.open(folder) as again:
            found = content(again)
            assert found.items() <= expected.items()
            assert found.keys() >= expected.keys() - of_person
            assert again.ledger.thumbnail_keys() == found.keys()
            again.erase(list(of_person))
        left = b"".join(path.read_bytes() for path in folder.iterdir())
        for key in of_person:
            entry, *parts = expected[key]
            assert not [trace for trace in (key.encode(), entry.source.encode(), *parts) if trace in left]


# --- Interrupted ------------------------------------------------------------------------------------------------------


def test_interrupts_at_any_moment_leave_the_gallery_usable(gallery, people):
    chance, interrupted = random.Random(1), 0
    keys = [key_of(p.path) for p in people]
    entries, thumbnails = gallery.get(keys), {key: gallery.thumbnail(key) for key in keys}
    encoded = Encoded(gallery.vectors(keys), gallery.vectors(keys, text=True))
    before = content(gallery)

    def interrupt(*_):
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(150):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(1e-5, 5e-3))
                gallery.put(entries, encoded, thumbnails)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
    assert interrupted > 20
    assert content(gallery) == before
    reader = threading.Thread(target=gallery.thumbnail, args=(keys[0],))
    reader.start()
    reader.join(30)
    assert not reader.is_alive(), "no lock is held"
    gallery.erase(keys[:1])
    assert len(gallery) == len(people) - 1


ADDING = """
import sys
import ccafl.gallery.commands as commands
from ccafl.cli import main
from ccafl.gallery import adding
from colour_people import FakeEncoder

class Waiting(FakeEncoder):
    def encode(self, pictures, cameras=None):
        print("encoding", flush=True)
        sys.stdin.readline()
        return super().encode(pictures, cameras)

adding.BATCH = 4
commands.open_encoder = lambda model: Waiting()
main(["gallery", "add", "run", *sys.argv[2:], "--camera", "yard", "--db", sys.argv[1]])
"""


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_adding_stops_between_batches_and_at_once_if_told_twice(people, tmp_path, number, code, twice):
    command = [sys.executable, "-c", ADDING, tmp_path / "g.db", *(p.path for p in people)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, text=True, env=ENVIRONMENT, **pipes) as process:
        assert process.stdout.readline() == "encoding\n"
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "encoding\n"
        process.send_signal(number)
        while twice and process.poll() is None:  # until the first has been noticed
            process.send_signal(number)
        _, said = process.communicate(None if twice else "\n" * len(people))
    assert process.returncode == (-number if twice else code)
    line = "stopped; what is finished is kept: resume train with --resume, other commands by repeating them\n"
    assert said == ("" if twice else line)
    with Gallery.open(tmp_path / "g.db") as gallery:
        assert len(gallery) == (4 if twice else 8)


# --- Damaged and full disks -------------------------------------------------------------------------------------------


def test_turned_bits_are_noticed(gallery, tmp_path):
    folder, chance = tmp_path / "gallery.db", random.Random(2)
    expected = content(gallery)
    gallery.close()
    file = folder / "gallery.sqlite"
    whole = file.read_bytes()
    vectors = [part for _, features, text, _ in expected.values() for part in (features, text)]
    chosen = [chance.choice(vectors) for _ in range(BITS // 2)]
    in_vectors = [whole.index(vector) + chance.randrange(len(vector)) for vector in chosen]
    for place in (*in_vectors, *(chance.randrange(len(whole)) for _ in range(BITS // 2))):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        try:
            with Gallery.open(folder, read_only=True) as again:
                found = content(again)
                again.info()
            said = ""
        except InputError as error:
            found, said = {}, str(error)
        assert "\n" not in said
        assert place not in in_vectors or "the features of the picture /" in said
        for key, parts in found.items():
            assert parts[:3] == expected[key][:3]


def test_a_damaged_picture_can_be_removed(gallery, people, tmp_path):
    folder = tmp_path / "gallery.db"
    vector = gallery.vectors([key_of(people[3].path)]).tobytes()
    gallery.close()
    file = folder / "gallery.sqlite"
    whole = file.read_bytes()
    place = whole.index(vector)
    file.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
    with Gallery.open(folder) as again:
        with pytest.raises(InputError, match=f"the features of the picture {people[3].path} are damaged; remove it"):
            search(again, some_query(again))
        again.erase(again.keys_where(under=people[3].path))
        assert len(search(again, some_query(again), limit=99).hits) == len(people) - 1


def forget_on_a_full_disk(folder: Path) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, resource.RLIM_INFINITY))  # bytes in a file, also the journal
    try:
        with Gallery.open(folder) as gallery:
            gallery.forget(PERSON)
    except InputError as error:
        sys.exit(0 if "free disk space" in str(error) else str(error))
    sys.exit("nothing failed")


@pytest.mark.faults
def test_a_full_disk_while_forgetting_leaves_a_gallery_that_opens(gallery, tmp_path):
    folder, before, of_person = tmp_path / "gallery.db", content(gallery), gallery.of_identity(PERSON)
    traces = [gallery.vectors([e.key]).tobytes() for e in of_person]
    gallery.close()
    process = PROCESSES.Process(target=forget_on_a_full_disk, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0
    with Gallery.open(folder, read_only=True) as again:
        assert content(again) == before
    with Gallery.open(folder) as again:
        assert again.forget(PERSON) == len(of_person)
    assert not [trace for trace in traces if trace in (folder / "gallery.sqlite").read_bytes()]


# --- Other users and strangers' files ---------------------------------------------------------------------------------


def test_only_the_owner_can_read_a_gallery_whatever_the_umask(people, encoder, tmp_path):
    seen: dict[str, int] = {}

    def looking():
        """A change of the gallery's file, in the middle of which its files are looked at."""
        yield "update pictures set label = label", ()
        for path in (tmp_path / "new" / "g.db").iterdir():
            seen[path.name] = stat.S_IMODE(path.stat().st_mode)

    before = os.umask(0)
    try:
        with Gallery.create(tmp_path / "new" / "g.db", encoder) as gallery:
            add_pictures(gallery, encoder, people)
            gallery.ledger.write(looking())
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new" / "g.db").stat().st_mode) == 0o700
    assert seen == dict.fromkeys(("gallery.sqlite", "gallery.sqlite-journal", "lock"), 0o600)


def test_a_token_goes_to_no_address_that_only_the_gallery_names(gallery, tmp_path, monkeypatch, capsys):
    folder, heard = tmp_path / "gallery.db", []
    gallery.close()
    with socket.create_server(("127.0.0.1", 0)) as stranger:

        def listen():
            while True:
                try:
                    heard.append(stranger.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        address = f"http://127.0.0.1:{stranger.getsockname()[1]}"
        file = sqlite3.connect(folder / "gallery.sqlite")
        file.executescript(
            f"update facts set value = '{address}' where name = 'uri';"
            "update facts set value = 'ccafl_x' where name = 'collections';"
        )
        file.close()
        refused = f"a token goes only to an address that you name.*--uri {address}"
        for named in (None, "http://127.0.0.1:19530"):
            for opening in (Gallery.open, commands.info):
                with pytest.raises(InputError, match=refused):
                    opening(folder, uri=named, token="secret")
        monkeypatch.setenv("MILVUS_TOKEN", "secret")
        with pytest.raises(SystemExit):
            main(["gallery", "info", "--db", str(folder)])
        assert f"--uri {address}" in capsys.readouterr().err
        stranger.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert heard == []


@pytest.mark.parametrize("uri", ["milvus.db", "/milvus.db", "http://me:secret@host:19530", "ftp://host", "http://[x"])
def test_only_the_address_of_a_server_is_taken(tmp_path, encoder, uri):
    with pytest.raises(InputError) as refused:
        Gallery.create(tmp_path / "g.db", encoder, uri=uri)
    assert "secret" not in str(refused.value)
    assert not (tmp_path / "g.db").exists()


def test_a_server_that_cannot_be_reached_leaves_no_empty_gallery(tmp_path, encoder):
    pytest.importorskip("pymilvus")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for folder in (tmp_path / "new", tmp_path / "mine"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=str(port)):
            Gallery.create(folder, encoder, uri=f"http://127.0.0.1:{port}")
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "mine").exists(), "an existing folder stays"


def test_a_gallery_in_a_folder_needs_neither_the_client_nor_the_network(gallery, people, tmp_path):
    gallery.close()
    program = f"""
import sys
sys.modules["pymilvus"] = sys.modules["grpc"] = None
def refuse(event, arguments):
    assert not event.startswith("socket."), event
sys.addaudithook(refuse)
from pathlib import Path
from ccafl.gallery import Gallery, add_pictures, listed, search
from ccafl.errors import InputError
from colour_people import FakeEncoder, draw
encoder = FakeEncoder()
with Gallery.open(Path({str(tmp_path / "gallery.db")!r}), token="secret") as gallery:
    gallery.erase(gallery.keys_where(camera="yard"))
    add_pictures(gallery, encoder, listed(Path({str(people[-1].path)!r})))
    assert search(gallery, encoder.encode([draw(1)]).features).hits
try:
    Gallery.create(Path({str(tmp_path / "new.db")!r}), encoder, uri="http://127.0.0.1:19530")
except InputError as error:
    print(error)
"""
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "all_proxy"), "http://127.0.0.1:9")
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=ENVIRONMENT | proxies, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == 'http://127.0.0.1:19530: a Milvus server needs its client; pip install "ccafl[milvus]"\n'


def test_names_do_not_control_the_terminal(tmp_path, encoder, people, capsys):
    hostile = tmp_path / "\x1b[2J\x9b31m\u202egpj.png"
    shutil.copy(people[0].path, hostile)
    with filled(tmp_path / "g.db", encoder, [Picture(hostile, "\x9b5m\u202eyard", "7")]) as gallery:
        show(render_found(search(gallery, some_query(gallery))))
        show(render_info(gallery.info()))
    with pytest.raises(SystemExit):
        main(["search", str(hostile), "--db", str(hostile)])
    out, err = capsys.readouterr()
    for shown in (out, err):
        assert printable(shown) == shown
    assert r"\x1b[2J\x9b31m\u202egpj.png" in err
