"""A disk that is full, read-only or broken: one line, and what was there stays."""

import errno
import os

import pytest

from hbac_utils import verbs
from hbac_utils.__main__ import main
from hbac_utils.inference.predict import open_run, predict
from hbac_utils.inference.submission import write_submission
from hbac_utils.notebooks import export_html
from hbac_utils.recipe import save_recipe
from hbac_utils.training.callbacks import Board
from hbac_utils.utils.errors import DiskError
from hbac_utils.utils.files import writing


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "out: no room on the disk (No space left on device); make room and give"),
        (errno.EROFS, "out: cannot be written (Read-only file system); name another path"),
        (errno.EIO, "out: the disk fails (Input/output error); see to it, or name another path"),
    ],
)
def test_a_verb_says_in_one_line_what_the_disk_does(number, said, tmp_path, monkeypatch, capsys):
    def eda(options):
        """Meet a disk."""
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(verbs, "eda", eda)
    monkeypatch.chdir(tmp_path)
    assert main(["eda", "--out", "out"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {said}")
    assert printed.count("\n") == 1


def test_another_error_of_the_system_is_not_the_disks():
    with pytest.raises(ConnectionRefusedError), writing("here"):
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")


def test_a_training_bears_a_disk_without_room_for_tensorboard(tmp_path, capfd):
    (tmp_path / "file").touch()
    board = Board(tmp_path / "file" / "events")
    board.add(1, {"loss": 1.0, "kl_reliable": None})
    board.add(2, {"loss": 0.9, "kl_reliable": None})
    said = [line for line in capfd.readouterr().err.splitlines() if "no curves" in line]
    assert len(said) == 1
    Board(tmp_path / "events").add(1, {"loss": 1.0, "kl_reliable": None})
    assert len(list((tmp_path / "events").iterdir())) == 1


@pytest.fixture(scope="module")
def prediction(run, competition):
    return predict(open_run(run), competition, progress=False)


def test_what_was_there_stays_on_a_full_disk(
    tiny_recipe, prediction, eda_notebook, tmp_path, monkeypatch
):
    notebook = tmp_path / "eda.ipynb"
    notebook.write_bytes(eda_notebook.page.with_suffix(".ipynb").read_bytes())
    files = ("recipe.json", "submission.csv", "inference_report.json", "eda.html")
    for name in files:
        (tmp_path / name).write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_recipe(tiny_recipe, tmp_path / "recipe.json")
    with pytest.raises(DiskError, match="no room on the disk"):
        write_submission(prediction, tmp_path)
    with pytest.raises(OSError, match="No space left"):
        export_html(notebook)
    assert [(tmp_path / name).read_text() for name in files] == ["old"] * len(files)
    assert len(list(tmp_path.iterdir())) == len(files) + 1, "no draft is left"
