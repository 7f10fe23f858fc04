"""From this repository to a score: kernels pushed by the real client and run as Kaggle does."""

import json
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from kaggle_server import KaggleServer
from kaggle_session import is_permitted, printed, run_as_kaggle

from hbac_utils.cli import main
from hbac_utils.data.layout import SLUG
from hbac_utils.metric import check_probabilities

KEY = "fedcba9876543210fedcba9876543210"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = KaggleServer()
    with server.asked_by_this_process(tmp_path_factory.mktemp("home"), KEY):
        yield server
    server.close()


class Desk:
    """Somebody with this repository, and Kaggle, which runs what is pushed."""

    def __init__(self, server: KaggleServer, folder: Path, competition):
        server.reset()
        self.server, self.folder, self.competition = server, folder, competition

    def call(self, verb: str, name: str, *arguments: str) -> None:
        """Call a verb; it must succeed."""
        waiting = [] if verb == "push" else ["--poll-interval", "0.01"]
        place = ["--build", str(self.folder / "build")]
        assert main([verb, name, *place, *waiting, *arguments]) == 0

    def run_pushed(self, name: str, inputs: dict[str, Path], **environment: str) -> list[dict]:
        """Do what Kaggle does with a pushed version: run it, keep its working folder."""
        kernel = f"alice/hbac-{name}"
        sent = self.server.versions[kernel][-1]
        assert sent["enableInternet"] is False
        working = self.folder / f"{name}-working{len(environment)}"
        self.server.outputs[kernel] = working
        scratch = self.folder / f"{name}-session{len(environment)}"
        cells = run_as_kaggle(sent["text"], scratch, inputs, working, **environment)
        said = printed(cells[:1])
        assert said.startswith("hbac_utils 0.1.0, commit ")
        assert not list(working.glob("**/hbac_utils*")), "the library is not part of the output"
        return cells


@pytest.fixture
def desk(server, competition, tmp_path):
    return Desk(server, tmp_path, competition)


def submission_of(desk: Desk, working: Path) -> pd.DataFrame:
    table = pd.read_csv(working / "submission.csv")
    check_probabilities(table, "submission.csv")
    assert table["eeg_id"].tolist() == desk.competition.test["eeg_id"].tolist()
    return table


def test_a_session_is_as_poor_as_kaggles(server, competition, tmp_path):
    """Without network and repository, with read-only inputs: or the stories would show little."""
    if not is_permitted():
        pytest.skip("namespaces are not permitted here: pushed notebooks are run with network")
    tried = [
        f"urllib.request.urlopen({server.address!r})",
        "importlib.import_module('hbac_utils.labels')",
        "open('/kaggle/input/data/new', 'w')",
        "print(os.getcwd(), os.listdir('/kaggle/input/data'))",
    ]
    source = "import importlib, os, urllib.request"
    for line in tried:
        source += f"\ntry: {line}\nexcept Exception as error: print(type(error).__name__)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    inputs = {"data": competition.path}
    cells = run_as_kaggle(nbformat.writes(notebook), tmp_path / "s", inputs, tmp_path / "out")
    said = printed(cells).splitlines()
    assert said[:3] == ["URLError", "ModuleNotFoundError", "OSError"]
    assert said[3].startswith("/kaggle/working")
    assert "test.csv" in said[3]


def test_from_a_trained_run_to_a_score(desk, run, capsys):
    """The training kernel's output is fetched; the pushed inference notebook finds it, mounted."""
    trained = desk.folder / "trained"
    shutil.copytree(run, trained / "run")
    desk.server.outputs["alice/hbac-training"] = trained
    desk.call("push", "training")
    desk.call("status", "training")
    desk.call("output", "training")
    fetched = desk.folder / "build" / "training" / "v1"
    assert (fetched / "run" / "metrics.json").read_bytes() == (run / "metrics.json").read_bytes()

    desk.call("push", "inference")
    inputs = {
        f"competitions/{SLUG}": desk.competition.path,
        "notebooks/alice/hbac-training": fetched,
    }
    desk.run_pushed("inference", inputs)
    submission_of(desk, desk.folder / "inference-working0")

    desk.call("status", "inference")
    desk.call("output", "inference")
    desk.call("submit", "inference")
    handed_in = desk.server.submissions[0]
    assert handed_in["kernelVersion"] == 1
    scores = json.loads((run / "metrics.json").read_text())["scores"]["model"]
    assert handed_in["submissionDescription"].startswith(
        f"tiny (2 models, out of fold {scores['kl_all']:.4f} on all votes"
    )
    said = capsys.readouterr()
    assert "score  0.37" in said.out

    # the planted key is in no artefact
    assert KEY not in said.out + said.err
    for path in desk.folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    for call in desk.server.calls:
        assert KEY not in json.dumps(call.body)


@pytest.mark.slow
def test_the_whole_way_from_training_to_a_score(desk, capsys):
    """All three notebooks are pushed and run; older mounts, and the hidden re-run, at the end."""
    competition = {f"competitions/{SLUG}": desk.competition.path}
    desk.call("push", "eda", "--set", "files=5", "--set", "sampled=2")
    desk.run_pushed("eda", competition)
    desk.call("output", "eda")
    assert (desk.folder / "build" / "eda" / "v1" / "__notebook__.ipynb").is_file()

    quick = {
        "backbone.width": 8,
        "data.folds": 2,
        "stages.0.epochs": 1,
        "stages.0.warmup_epochs": 0,
    }
    settings = ["recipe=compact", "folds=0", f"overrides={json.dumps(quick)}"]
    desk.call("push", "training", *[part for text in settings for part in ("--set", text)])
    desk.run_pushed("training", competition)
    desk.call("output", "training")
    fetched = desk.folder / "build" / "training" / "v1"
    assert json.loads((fetched / "run" / "metrics.json").read_text())["recipe"] == "compact"

    desk.call("push", "inference")
    older = {SLUG: desk.competition.path, "hbac-training": fetched}
    desk.run_pushed("inference", older)
    first = submission_of(desk, desk.folder / "inference-working0")
    # the same run twice blends to itself
    shutil.copytree(fetched, desk.folder / "second")
    both = older | {"hbac-training-2": desk.folder / "second"}
    desk.run_pushed("inference", both, KAGGLE_IS_COMPETITION_RERUN="1")
    again = desk.folder / "inference-working1"
    pd.testing.assert_frame_equal(first, submission_of(desk, again))
    report = json.loads((again / "inference_report.json").read_text())
    assert [part["recipe"] for part in report["runs"]] == ["compact", "compact"]
    desk.call("submit", "inference")
    assert desk.server.submissions[0]["submissionDescription"].startswith("compact (1 models")
    assert "score  0.37" in capsys.readouterr().out
