"""The four notebooks: thin sources, one execution of each, errors in one line."""

import asyncio
import json
import os
import re
import sys
from itertools import pairwise
from pathlib import Path
from unittest.mock import Mock

import nbformat
import pandas as pd
import pytest
from chromium import SIZES, faults
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient

from hbac_utils.cli import main
from hbac_utils.metric import check_probabilities
from hbac_utils.notebooks import FOLDER, check_parameters, run_notebook
from hbac_utils.recipe import save_recipe
from hbac_utils.utils.errors import InputError, KernelDied

NAMES = ("eda", "inference", "recording", "training")


def outputs(page: Path) -> list:
    notebook = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def count_figures(page: Path) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(page))


@pytest.mark.parametrize("name", NAMES)
def test_sources_are_thin_and_without_outputs(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            assert "$" not in cell.source, "the HTML page cannot show formulas"
            continue
        assert not cell.outputs
        assert cell.execution_count is None
        words = {line.split(maxsplit=1)[0] for line in cell.source.splitlines() if line.strip()}
        assert words.isdisjoint({"def", "class", "for", "while", "lambda"})


@pytest.mark.parametrize("name", NAMES)
def test_a_reader_finds_results_contents_sources_and_one_import(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert re.search(r"^\|.*\|$", texts[0], re.M), "a table of results"
    assert "https://www.kaggle.com/competitions/hms-harmful-brain-activity" in texts[0]
    assert "(../docs/" in texts[0]
    contents = re.findall(r"\]\(#([\w-]+)\)", texts[0])
    assert contents == re.findall(r'<a id="([\w-]+)"></a>', "\n".join(texts))
    assert texts[-1].startswith('<a id="references">')
    assert "Nguyen, Sawant and Kim" in texts[-1]
    code = [c for c in notebook.cells if c.cell_type == "code" and c.metadata.get("tags") is None]
    imported = re.findall(r"^(?:from|import) (\S+)", "\n".join(c.source for c in code), re.M)
    assert set(imported) == {"hbac_utils"}
    for cell, following in pairwise(notebook.cells):
        if re.search(r"plots\.\w+\(", cell.source) and cell.cell_type == "code":
            assert following.cell_type == "markdown", f"no text under {cell.source}"


def test_an_unknown_parameter_is_rejected_with_the_most_similar_one():
    message = "training.ipynb: no parameter recipy; did you mean recipe"
    with pytest.raises(InputError, match=message):
        check_parameters(FOLDER / "training.ipynb", {"recipy": "demo"})
    with pytest.raises(InputError, match="no such notebook"):
        run_notebook("trainning", {}, "nowhere")


def test_the_eda_notebook(eda_notebook):
    assert count_figures(eda_notebook) == 18  # 8 pages, 1 grid, 9 statistics
    assert "labelled windows" in eda_notebook.read_text()


def test_the_training_notebook(training_notebook):
    run = training_notebook.page.parent
    assert "prior" in training_notebook.printed
    assert str(run / "metrics.json") in training_notebook.printed
    assert (run.with_name("store") / "store.json").is_file(), "packed by the notebook"
    assert (run / "fold1" / "model.weights.h5").is_file()
    assert count_figures(training_notebook.page) == 13
    assert "class WaveformView" in training_notebook.page.read_text()


def test_the_inference_notebook_and_the_score(inference_notebook, competition, capfd):
    path = inference_notebook.page.with_name("submission.csv")
    submission = pd.read_csv(path)
    check_probabilities(submission, "submission.csv")
    assert submission["eeg_id"].tolist() == competition.test["eeg_id"].tolist()
    assert str(path) in inference_notebook.printed
    assert count_figures(inference_notebook.page) == 5  # two of single recordings

    truth = competition.path.with_name("competition_truth")
    run = inference_notebook.page.parent.with_name("run")
    arguments = ["score", str(path), str(truth / "solution.csv"), "--run", str(run)]
    assert main([*arguments, "--truth", str(truth / "truth.parquet")]) == 0
    scores = {"submission", "uniform", "prior", "oracle", "excess"}
    assert scores <= set(capfd.readouterr().out.split())


def test_the_recording_notebook(recording_notebook):
    folder = recording_notebook.parent
    assert {"annotated.edf", "events.tsv", "probabilities.parquet", "report.html"} <= {
        path.name for path in folder.iterdir()
    }
    assert count_figures(recording_notebook) == 3  # legend, overview, one window
    assert len(pd.read_parquet(folder / "probabilities.parquet")) == 6


def test_the_notebooks_pages(
    eda_notebook, training_notebook, inference_notebook, recording_notebook, browser
):
    pages = (eda_notebook, training_notebook.page, inference_notebook.page, recording_notebook)
    for page in (*pages, recording_notebook.with_name("report.html")):
        for device in SIZES:
            assert faults(browser, page, device) == [], f"{page.name}, {device}"


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_notebooks_in_jupyter(name, competition, store, compact_recipe, compact_run, tmp_path):
    """As in Jupyter: no papermill, the parameters cell edited, a user at the front end."""
    save_recipe(compact_recipe, tmp_path / "tiny.json")
    data = {} if name == "recording" else {"data": str(competition.path)}
    parameters = (
        data
        | {
            "eda": {"sampled": 2, "files": 2},
            "training": {"store": str(store.path), "recipe": "tiny.json", "run": "run"},
            "inference": {"run": str(compact_run), "out": "out"},
            "recording": {
                "files": str(next((competition.path / "test_eegs").iterdir())),
                "run": str(compact_run),
                "out": "out",
            },
        }[name]
    )
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source += "".join(f"\n{key} = {value!r}" for key, value in parameters.items())
    client = NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}})
    client.on_notebook_start = lambda notebook: setattr(client.kc, "allow_stdin", True)
    client.execute()  # raises the error of a cell


def test_an_input_error_ends_a_notebook_with_one_line(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        run_notebook("eda", {"data": str(tmp_path / "nowhere")}, tmp_path)
    last = outputs(tmp_path / "eda.html")[-1]
    (line,) = last.traceback
    assert line.startswith("InputError: ")
    page = (tmp_path / "eda.html").read_text()
    assert "no such folder" in page
    assert "Traceback" not in page


def notebook_of(folder: Path, monkeypatch, *cells: str) -> None:
    """Put a notebook of these cells in the place of the shipped ones."""
    content = [nbformat.v4.new_code_cell(cell) for cell in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=content), folder / "own.ipynb")
    monkeypatch.setattr("hbac_utils.notebooks.FOLDER", folder)


def test_a_killed_notebook_is_one_error(tmp_path, monkeypatch):
    notebook_of(tmp_path, monkeypatch, "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(KernelDied, match="own: the notebook's process was killed"):
        run_notebook("own", {}, tmp_path / "out")


def test_an_error_leaves_no_task_behind(tmp_path, monkeypatch):
    """Each would be a message when the interpreter ends; here nobody reads the output any more."""
    notebook_of(tmp_path, monkeypatch, "print('text')")
    monkeypatch.setattr(sys, "stdout", Mock(write=Mock(side_effect=BrokenPipeError)))
    with pytest.raises(BrokenPipeError):
        run_notebook("own", {}, tmp_path / "out")
    assert not asyncio.all_tasks(ensure_event_loop())


def test_a_notebook_that_is_killed_while_it_starts(tmp_path, monkeypatch):
    (tmp_path / "ipykernel_launcher.py").write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    with pytest.raises(KernelDied, match="eda: the notebook's process was killed"):
        run_notebook("eda", {}, tmp_path / "out")


def test_the_user_s_kernels_and_profiles_are_not_used(tmp_path, monkeypatch):
    """A kernel `python3` of another Python, and code that IPython runs at its start."""
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    startup = tmp_path / "ipython" / "profile_default" / "startup"
    for folder in (kernel, startup):
        folder.mkdir(parents=True)
    spec = {"argv": ["/nowhere/python", "{connection_file}"], "display_name": "", "language": ""}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    for path in (startup / "own.py", tmp_path / "startup.py"):
        path.write_text("raise SystemExit")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "startup.py"))
    notebook_of(tmp_path, monkeypatch, f"import sys; assert sys.executable == {sys.executable!r}")
    page = run_notebook("own", {}, tmp_path / "out {a} 'b' $c é")
    assert outputs(page) == []


@pytest.mark.parametrize("value", [float("nan"), -1, float("inf")])
def test_numbers_of_a_notebook_are_finite_and_not_negative(value):
    with pytest.raises(InputError, match="training.ipynb: max_hours is .*; give a number from 0"):
        check_parameters(FOLDER / "training.ipynb", {"max_hours": value})
