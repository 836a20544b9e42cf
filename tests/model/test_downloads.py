"""Downloads that wait: something is said soon, and a server that cannot be reached is not waited for."""

import socket
import threading

import pytest

from ccafl.errors import InputError
from ccafl.model import downloads
from ccafl.model.clip import load_clip


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    monkeypatch.setattr(downloads, "_QUIET", 0.01)
    monkeypatch.setattr(downloads, "getproxies", dict)


def test_a_server_out_of_reach_is_given_up_with_one_line(monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    forever = threading.Event()
    monkeypatch.setenv("HF_ENDPOINT", address)
    monkeypatch.setattr("ccafl.model.clip.download_pretrained", lambda tag: forever.wait())
    with pytest.raises(InputError, match=r"could not be downloaded \(127.0.0.1 cannot be reached \(.*refused\)\)"):
        load_clip("ViT-B-32", "laion2b_s34b_b79k")
    forever.set()
    said = capsys.readouterr().err
    assert said.split() == ["waiting", "for", "127.0.0.1:", "the", "weights", "laion2b_s34b_b79k", "of", "ViT-B-32"]


def test_a_server_that_answers_is_waited_for(capsys):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def fetch() -> str:
            listener.accept()  # until the connection that tries whether it can be reached
            return "weights"

        assert downloads.downloaded(fetch, "something", address) == "weights"
    assert "waiting for 127.0.0.1: something" in " ".join(capsys.readouterr().err.split())


def test_what_is_there_is_given_without_a_word_and_errors_as_they_are(monkeypatch, capsys):
    monkeypatch.setattr(downloads, "_QUIET", 60)
    assert downloads.downloaded(lambda: 3, "something", "https://nowhere.invalid") == 3
    with pytest.raises(ZeroDivisionError):
        downloads.downloaded(lambda: 1 // 0, "something", "https://nowhere.invalid")
    assert capsys.readouterr().err == ""
