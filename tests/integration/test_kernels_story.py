"""From this repository to a score: kernels pushed by the real client and run as Kaggle does."""

import json
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from kaggle_server import SLUG, Answer, KaggleServer, refusal
from kaggle_session import is_isolated, printed, run_as_kaggle

from hbac_utils import __version__
from hbac_utils.cli import main
from hbac_utils.kernels.build import metadata_path
from hbac_utils.metric import check_probabilities
from hbac_utils.notebooks import FOLDER
from hbac_utils.recipe import SHIPPED, SHIPPED_RUNS

WHEELS = "datasets/alice/hbac-utils"
KEY = "fedcba9876543210fedcba9876543210"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = KaggleServer()
    with server.asked_by_this_process(tmp_path_factory.mktemp("home"), KEY):
        yield server
    server.close()


class Story:
    """A user of this repository, and Kaggle's machines."""

    def __init__(self, server: KaggleServer, folder: Path, competition):
        server.reset()
        self.server, self.folder, self.competition = server, folder, competition

    def call(self, verb: str, name: str, *arguments: str) -> None:
        """Run a verb of the command line; it must succeed."""
        polling = [] if verb == "push" else ["--poll-interval", "0.01"]
        assert main([verb, name, *polling, *arguments]) == 0

    def run_on_kaggle(self, name: str, inputs: dict[str, Path], **environment: str) -> Path:
        """Run the last pushed version, and return its working folder."""
        kernel = f"alice/hbac-{name}"
        working = self.folder / f"{name}-working{len(environment)}"
        scratch = self.folder / f"{name}-session{len(environment)}"
        text = self.server.versions[kernel][-1]["text"]
        cells = run_as_kaggle(text, scratch, inputs, working, **environment)
        first = next(cell for cell in cells if cell["cell_type"] == "code")
        if (wheels := inputs.get(WHEELS)) and is_isolated():
            (wheel,) = wheels.glob("*.whl")
            assert printed([first]) == f"hbac_utils from /kaggle/input/{WHEELS}/{wheel.name}\n"
        elif not wheels:
            assert printed([first]).startswith(f"hbac_utils {__version__}, commit ")
        assert not list(working.glob("**/hbac_utils*")), "the library is not part of the output"
        self.server.outputs[kernel] = working
        return working

    def submission_in(self, working: Path) -> pd.DataFrame:
        table = pd.read_csv(working / "submission.csv")
        check_probabilities(table, "submission.csv")
        assert table["eeg_id"].tolist() == self.competition.test["eeg_id"].tolist()
        return table


@pytest.fixture
def story(server, competition, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Story(server, tmp_path, competition)


def test_a_session_has_no_network_and_no_repository(server, competition, tmp_path):
    if not is_isolated():
        pytest.skip("namespaces are not permitted here: pushed notebooks run with network")
    lines = [
        f"urllib.request.urlopen({server.address!r})",
        "importlib.import_module('hbac_utils.labels')",
        "open('/kaggle/input/data/new', 'w')",
        "print(os.getcwd(), 'test.csv' in os.listdir('/kaggle/input/data'))",
    ]
    source = "import importlib, os, urllib.request"
    for line in lines:
        source += f"\ntry: {line}\nexcept Exception as error: print(type(error).__name__)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    inputs = {"data": competition.path}
    cells = run_as_kaggle(nbformat.writes(notebook), tmp_path / "s", inputs, tmp_path / "out")
    assert printed(cells).splitlines() == [
        "URLError", "ModuleNotFoundError", "OSError", "/kaggle/working True",
    ]  # fmt: skip


def test_from_a_trained_run_to_a_score(story, capsys):
    """The inference notebook finds the training kernel's output, and its submission is scored."""
    run = SHIPPED_RUNS / SHIPPED
    trained = story.folder / "trained"
    shutil.copytree(run, trained / "run")
    story.server.outputs["alice/hbac-training"] = trained
    story.call("push", "training")
    story.call("status", "training")
    story.call("output", "training")
    downloaded = story.folder / "build" / "training" / "v1"
    assert (downloaded / "run" / "metrics.json").read_bytes() == (run / "metrics.json").read_bytes()

    story.call("push", "inference")
    assert (
        "quota   20.0 h of GPU are left this week; this session may need 0.5 h"
        in capsys.readouterr().out
    )
    pushed = [story.server.versions[f"alice/hbac-{name}"][-1] for name in ("training", "inference")]
    assert [body["machineShape"] for body in pushed] == ["NvidiaTeslaT4"] * 2
    # Keras downloads the weights of the default recipe
    assert [body["enableInternet"] for body in pushed] == [True, False]
    inputs = {
        f"competitions/{SLUG}": story.competition.path,
        "notebooks/alice/hbac-training": downloaded,
    }
    story.submission_in(story.run_on_kaggle("inference", inputs))
    story.call("logs", "inference")
    story.call("submit", "inference")
    submission = story.server.submissions[0]
    assert submission["kernelVersion"] == 1
    kl = json.loads((run / "metrics.json").read_text())["scores"]["model"]["kl_all"]
    description = f"{SHIPPED} (1 models, out of fold {kl:.4f} on all votes"
    assert submission["submissionDescription"].startswith(description)
    shown = capsys.readouterr()
    assert "score  0.37" in shown.out

    # the credentials are in no message, file or request
    assert KEY not in shown.out + shown.err
    for path in story.folder.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    for call in story.server.calls:
        assert KEY not in json.dumps(call.body)


def test_pretrained_weights_are_attached_or_downloaded(story):
    model = "keras/efficientnetv2/keras/efficientnetv2_b2_imagenet/2"
    for recipe, models, internet in (
        ("vipeegnet", [], True),
        ("paper-efficientnetv2b2", [model], False),
    ):
        story.call("push", "training", "--set", f"recipe={recipe}")
        pushed = story.server.versions["alice/hbac-training"][-1]
        sent = pushed.get("modelDataSources", []), pushed["enableInternet"]
        assert sent == (models, internet)


def test_a_session_without_the_pretrained_weights_says_what_to_attach(story):
    if not is_isolated():
        pytest.skip("namespaces are not permitted here: the weights would be downloaded")
    story.call("push", "training", "--set", "recipe=vipeegnet")
    inputs = {f"competitions/{SLUG}": story.competition.path}
    with pytest.raises(AssertionError) as failed:
        story.run_on_kaggle("training", inputs, HOME=str(story.folder))
    said = [line for line in str(failed.value).splitlines() if "_notop.h5" in line]
    (line,) = {line for line in said if "backbone.weights: no efficientnetv2-b3_notop.h5" in line}
    assert "attach a data set that holds this file to the Kaggle notebook" in line
    assert not (story.folder / "training-working1" / "run").exists(), "nothing was trained"


def test_the_library_can_be_in_an_attached_data_set(story, monkeypatch, capsys):
    """`make wheel-dataset` makes the data set, then a version; an attached one is used."""
    pytest.importorskip("hatchling")  # constraints/build.txt
    for number in (1, 2):
        assert main(["wheel-dataset"]) == 0
        assert len(story.server.datasets["alice/hbac-utils"]) == number
    assert "saved  https://www.kaggle.com/datasets/alice/hbac-utils" in capsys.readouterr().out
    (sent,) = story.server.named("CreateDataset")
    assert sent.body["licenseName"] == "apache-2.0"
    assert sent.body["isPrivate"]
    (notes,) = [
        call.body["body"]["versionNotes"] for call in story.server.named("CreateDatasetVersion")
    ]
    assert notes.startswith(f"hbac_utils {__version__}, commit ")
    wheels = story.folder / "wheels"
    wheels.mkdir()
    (name,) = story.server.datasets["alice/hbac-utils"][-1]
    (wheels / name).write_bytes(story.server.uploads[name])

    metadata = json.loads(metadata_path("eda").read_text()) | {
        "dataset_sources": ["USERNAME/hbac-utils"]
    }
    (story.folder / "notebooks").mkdir()
    (story.folder / "notebooks" / "eda-kernel-metadata.json").write_text(json.dumps(metadata))
    notebook = nbformat.read(FOLDER / "eda.ipynb", as_version=4)
    notebook.cells = notebook.cells[:4]  # to the imports
    nbformat.write(notebook, story.folder / "notebooks" / "eda.ipynb")
    story.call("push", "eda")
    assert story.server.versions["alice/hbac-eda"][-1]["datasetDataSources"] == ["alice/hbac-utils"]
    story.run_on_kaggle("eda", {f"competitions/{SLUG}": story.competition.path, WHEELS: wheels})


def test_a_refused_data_set_is_an_error(story, capsys):
    pytest.importorskip("hatchling")  # constraints/build.txt
    for answer, reason in [
        (Answer({"status": "error", "error": "Title in use"}), "was not saved: Title in use"),
        (refusal(403, "Denied"), "Denied (HTTP 403)"),
        (Answer(b"", 502), "it may have been saved: look at https://www.kaggle.com/datasets/alice"),
    ]:
        story.server.script["CreateDataset"] = [answer]
        assert main(["wheel-dataset"]) == 1
        assert reason in capsys.readouterr().err


@pytest.mark.slow
def test_from_training_to_a_score(story, capsys):
    """All three notebooks; at the end older mounts, two runs, and the hidden re-run."""
    competition = {f"competitions/{SLUG}": story.competition.path}
    story.call("push", "eda", "--set", "files=5", "--set", "sampled=2")
    story.run_on_kaggle("eda", competition)
    story.call("output", "eda")
    assert (story.folder / "build" / "eda" / "v1" / "__notebook__.ipynb").is_file()

    small = {
        "backbone.width": 8, "data.folds": 2, "stages.0.epochs": 1, "stages.0.warmup_epochs": 0,
    }  # fmt: skip
    settings = ["recipe=compact", "folds=0", f"overrides={json.dumps(small)}"]
    story.call("push", "training", *[part for text in settings for part in ("--set", text)])
    story.run_on_kaggle("training", competition)
    story.call("output", "training")
    downloaded = story.folder / "build" / "training" / "v1"
    assert json.loads((downloaded / "run" / "metrics.json").read_text())["recipe"] == "compact"

    story.call("push", "inference")
    mounts = {SLUG: story.competition.path, "hbac-training": downloaded}
    first = story.submission_in(story.run_on_kaggle("inference", mounts))
    # two equal runs blend to the same probabilities
    mounts["hbac-training-2"] = shutil.copytree(downloaded, story.folder / "second")
    again = story.run_on_kaggle("inference", mounts, KAGGLE_IS_COMPETITION_RERUN="1")
    pd.testing.assert_frame_equal(first, story.submission_in(again))
    report = json.loads((again / "inference_report.json").read_text())
    assert [part["recipe"] for part in report["runs"]] == ["compact", "compact"]
    story.call("submit", "inference")
    assert story.server.submissions[0]["submissionDescription"].startswith("compact (1 models")
    assert "score  0.37" in capsys.readouterr().out
