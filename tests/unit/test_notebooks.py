"""The notebooks as they are run: through papermill, from the verbs, on the small competition."""

import asyncio
import gc
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import nbformat
import pandas as pd
import papermill
import pytest
from chromium import SIZES, faults
from jupyter_core.utils import ensure_event_loop
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from hbac_utils.cli import main
from hbac_utils.metric import check_probabilities
from hbac_utils.notebooks import FOLDER, check_parameters, run_notebook
from hbac_utils.recipe import save_recipe
from hbac_utils.utils.errors import InputError, KernelDied

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_thin_and_stripped(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    tagged = [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        assert not cell.outputs
        assert cell.execution_count is None
        lines = cell.source.splitlines()
        assert not [line for line in lines if line.lstrip().startswith(("def ", "class ", "for "))]


def test_there_are_three():
    assert [path.stem for path in NOTEBOOKS] == ["eda", "inference", "training"]


def test_an_unknown_parameter_is_refused_with_the_nearest_one():
    with pytest.raises(
        InputError, match=r"training.ipynb: no parameter recipy; did you mean recipe"
    ):
        check_parameters(FOLDER / "training.ipynb", {"recipy": "demo"})
    with pytest.raises(InputError, match="no such notebook"):
        run_notebook("trainning", {}, "nowhere")


def outputs(page: Path) -> list:
    notebook = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def figures(page: Path) -> int:
    return sum("image/png" in output.get("data", {}) for output in outputs(page))


def test_the_eda_notebook(eda_notebook):
    assert str(eda_notebook.page) in eda_notebook.printed
    assert figures(eda_notebook.page) >= 8


def test_the_training_notebook(training_notebook):
    run = training_notebook.page.parent
    assert "prior" in training_notebook.printed
    assert str(run / "metrics.json") in training_notebook.printed
    assert (run.with_name("store") / "store.json").is_file(), "packed on the way"
    assert (run / "fold1" / "model.weights.h5").is_file()
    assert figures(training_notebook.page) >= 6


def test_the_inference_notebook_and_the_score(inference_notebook, run, competition, capfd):
    path = inference_notebook.page.with_name("submission.csv")
    submission = pd.read_csv(path)
    check_probabilities(submission, "submission.csv")
    assert submission["eeg_id"].tolist() == competition.test["eeg_id"].tolist()
    assert str(path) in inference_notebook.printed
    assert figures(inference_notebook.page) >= 4

    truth = competition.path.with_name("competition_truth")
    arguments = ["score", str(path), str(truth / "solution.csv"), "--run", str(run)]
    assert main([*arguments, "--truth", str(truth / "truth.parquet")]) == 0
    assert {"submission", "uniform", "prior", "oracle", "excess"} <= set(
        capfd.readouterr().out.split()
    )


def test_a_browser_shows_the_notebooks_pages(
    eda_notebook, training_notebook, inference_notebook, browser
):
    for notebook in (eda_notebook, training_notebook, inference_notebook):
        for device in SIZES:
            assert not faults(browser, notebook.page, device), f"{notebook.page.name}, {device}"


def in_jupyter(name: str, folder: Path, **parameters) -> nbformat.NotebookNode:
    """Run a notebook as a person does in Jupyter: no papermill, the parameters cell edited."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", []))
    cell.source += "".join(f"\n{key} = {value!r}" for key, value in parameters.items())
    client = NotebookClient(notebook, resources={"metadata": {"path": str(folder)}})
    # what a front end with a person before it says, and nbclient by itself does not
    client.on_notebook_start = lambda notebook: setattr(client.kc, "allow_stdin", True)
    with suppress(CellExecutionError):
        client.execute()
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eda", "training", "inference"])
def test_the_notebooks_in_jupyter(name, competition, store, tiny_recipe, run, tmp_path):
    save_recipe(tiny_recipe, tmp_path / "tiny.json")
    parameters = {
        "eda": {"sampled": 2, "files": 2},
        "training": {"store": str(store.path), "recipe": "tiny.json", "run": "run"},
        "inference": {"run": str(run), "out": "out"},
    }
    notebook = in_jupyter(name, tmp_path, data=str(competition.path), **parameters[name])
    ran = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not [o for cell in ran for o in cell.outputs if o.output_type == "error"]
    assert all(cell.execution_count for cell in ran)


def test_a_librarys_error_ends_a_notebook_in_jupyter_with_one_line(tmp_path):
    notebook = in_jupyter("eda", tmp_path, data=str(tmp_path / "nowhere"))
    assert_ends_with_one_line(notebook, "no such folder")


def assert_ends_with_one_line(notebook: nbformat.NotebookNode, reason: str) -> None:
    last = [output for cell in notebook.cells for output in cell.get("outputs", [])][-1]
    assert last.output_type == "error"
    assert len(last.traceback) == 1
    assert re.fullmatch(f"InputError: .*{reason}.*", last.traceback[0])


def test_a_librarys_error_in_a_notebook_ends_the_verb_in_one_line(competition, tmp_path, capfd):
    arguments = ["infer", "--data", str(competition.path), "--run", str(tmp_path / "no-run")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "not a finished run" in errors[0]

    page = tmp_path / "out" / "inference.html"
    executed = nbformat.read(page.with_suffix(".ipynb"), as_version=4)
    assert_ends_with_one_line(executed, "not a finished run")
    shown = re.findall(r'class="[^"]*output_subarea.*?</div>', page.read_text(), re.DOTALL)
    assert "not a finished run" in shown[-1]
    assert "Traceback" not in page.read_text()


@pytest.mark.parametrize("error", [DeadKernelError("died"), ZeroDivisionError("told")])
def test_only_a_cell_whose_kernel_was_ended_is_forgotten(error, tmp_path, caplog, monkeypatch):
    """Ctrl-C and SIGTERM leave its task behind, and "stopped" is to be the last line."""

    def interrupted(*_, **options) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(papermill, "execute_notebook", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_notebook("inference", {}, tmp_path)

    async def left() -> None:
        async def cell() -> None:
            raise error

        task = asyncio.ensure_future(cell())
        await asyncio.wait([task])

    ensure_event_loop().run_until_complete(left())
    gc.collect()
    assert ("told" in caplog.text) == isinstance(error, ZeroDivisionError)
    assert "died" not in caplog.text


def launch_kernels(script: str, folder: Path) -> str:
    """Have a script run in every new kernel before the kernel; the PYTHONPATH for it."""
    lines = [
        "import os, runpy, sys, time",
        script,
        f"sys.path.remove({str(folder)!r})",
        "runpy.run_module('ipykernel_launcher', run_name='__main__')",
    ]
    (folder / "ipykernel_launcher.py").write_text("\n".join(lines))
    return os.pathsep.join([str(folder), *sys.path])


def test_a_clock_that_is_put_forward_does_not_end_a_notebook_that_begins(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", launch_kernels("time.sleep(2)", tmp_path))
    now, days = time.time, iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: now() + 86_400 * next(days))
    with pytest.raises(InputError, match="no such folder"):
        run_notebook("eda", {"data": str(tmp_path / "nowhere")}, tmp_path / "out")


def test_a_notebook_whose_process_dies_as_it_begins_is_told_of_in_one_line(competition, tmp_path):
    """As for want of memory; in a process of its own, as pytest takes what is logged."""
    environment = {
        "PYTHONPATH": launch_kernels("os.kill(os.getpid(), 9)", tmp_path),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # an older debugger has something to say otherwise
    }
    done = subprocess.run(
        [sys.executable, "-m", "hbac_utils", "eda", "--data", competition.path, "--out", tmp_path],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: eda: the notebook's process was killed, perhaps for want of memory; the same "
        "command goes on where it was"
    ]


def test_what_is_said_of_a_killed_notebook_stands_on_a_line_of_its_own(
    tmp_path, monkeypatch, capfd
):
    cell = "import os, sys, time; print('50%', end='', file=sys.stderr, flush=True); time.sleep(1)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    notebook.cells.append(nbformat.v4.new_code_cell("os.kill(os.getpid(), 9)"))
    nbformat.write(notebook, tmp_path / "bar.ipynb")
    monkeypatch.setattr("hbac_utils.notebooks.FOLDER", tmp_path)
    with pytest.raises(KernelDied):
        run_notebook("bar", {}, tmp_path / "out")
    assert capfd.readouterr().err.endswith("50%\n")


def test_the_notebooks_parameters_are_data_not_code(run, competition, tmp_path):
    """A parameter that looks like code arrives as the text that it is; so does a folder's name."""
    text = "x'); raise SystemExit('"
    out = tmp_path / "a {run.__class__} b"
    with pytest.raises(InputError, match="no such folder"):
        run_notebook(
            "inference",
            {"data": text, "run": str(run), "out": str(tmp_path / "out")},
            out,
        )
    executed = json.loads((out / "inference.ipynb").read_text())
    assert any(text in "".join(cell["source"]) for cell in executed["cells"])
