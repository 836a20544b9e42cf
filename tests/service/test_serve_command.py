"""``ccafl serve``: where the token comes from, and what is said about what others can read."""

import pytest

from ccafl.calibration import Calibration
from ccafl.service import commands, server
from ccafl.service.limits import ServiceSettings
from colour_people import FakeEncoder, filled
from small_runs import refusal, run

TOKEN = "a-token-of-the-tests"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, people):
    folder = tmp_path_factory.mktemp("command") / "gallery.db"
    curve = Calibration(slope=40.0, offset=-34.0, pictures=6.0, joins=True)
    filled(folder, FakeEncoder(calibration=curve), people).close()
    return folder


@pytest.fixture
def served(monkeypatch) -> list[ServiceSettings]:
    """The settings of services that would have run."""
    served: list[ServiceSettings] = []
    monkeypatch.setattr(commands, "model_of", lambda gallery, model: FakeEncoder())
    monkeypatch.setattr(server, "serve", lambda gallery, encoder, settings: served.append(settings))
    monkeypatch.delenv("CCAFL_TOKEN", raising=False)
    return served


def test_the_token_is_read_from_a_file_or_the_environment(folder, served, tmp_path, monkeypatch, capsys):
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    run("serve", "--db", folder, "--token-file", file)
    assert capsys.readouterr().err == ""
    file.chmod(0o644)
    run("serve", "--db", folder, "--token-file", file)
    assert "other users of this machine can read" in " ".join(capsys.readouterr().err.split())
    monkeypatch.setenv("CCAFL_TOKEN", f"{TOKEN}2")
    run("serve", "--db", folder)
    assert capsys.readouterr().err == ""
    assert [settings.token for settings in served] == [TOKEN, TOKEN, f"{TOKEN}2"]


def test_what_the_scores_are_worth_is_said_at_the_start(served, people, tmp_path, monkeypatch, capsys):
    drawn = FakeEncoder()
    drawn.drawn = True
    monkeypatch.setattr(commands, "model_of", lambda gallery, model: drawn)
    filled(tmp_path / "gallery.db", drawn, people).close()
    run("serve", "--db", tmp_path / "gallery.db")
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("was trained on drawn persons only, and finds others less well") == 1
    assert said.count("was not calibrated by a training") == 1


def test_a_token_on_the_command_line_is_taken_with_a_warning(folder, served, capsys):
    run("serve", "--db", folder, "--token", TOKEN)
    assert "--token in the list of processes" in " ".join(capsys.readouterr().err.split())
    assert served[0].token == TOKEN


def test_a_token_file_that_cannot_be_used_is_refused(folder, served, tmp_path, capsys):
    assert "cannot be read as a token" in refusal(capsys, "serve", "--db", folder, "--token-file", tmp_path / "none")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "empty").chmod(0o600)
    assert "the token is empty" in refusal(capsys, "serve", "--db", folder, "--token-file", tmp_path / "empty")
    assert served == []


def test_what_crosses_the_network_in_the_clear_is_said(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(server.Server, "run", lambda self, sockets: None)
    for host, warned in (("0.0.0.0", True), ("127.0.0.1", False)):
        with commands.Gallery.open(folder) as gallery:
            server.serve(gallery, FakeEncoder(), ServiceSettings(host=host, port=0, token=TOKEN))
        assert ("unencrypted" in " ".join(capsys.readouterr().err.split())) is warned
