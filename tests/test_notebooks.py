"""The notebooks as they are run: through papermill, from the verbs, on the small competition."""

import json
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from hbac_utils.__main__ import main
from hbac_utils.errors import InputError
from hbac_utils.metric import check_probabilities
from hbac_utils.notebooks import FOLDER, check_parameters, run_notebook
from hbac_utils.recipe import save_recipe

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


def test_the_eda_notebook(competition, tmp_path, capfd):
    assert main(["eda", "--data", str(competition.path), "--out", str(tmp_path)]) == 0
    assert str(tmp_path / "eda.html") in capfd.readouterr().out
    assert figures(tmp_path / "eda.html") >= 8
    assert (tmp_path / "eda.html").read_text().count("data:image/png;base64") >= 8


def test_training_and_inference_from_the_verbs(competition, tiny_recipe, tmp_path, capfd):
    save_recipe(tiny_recipe, tmp_path / "tiny.json")
    data, run, out = str(competition.path), tmp_path / "run", tmp_path / "out"
    store = tmp_path / "store"
    arguments = ["--data", data, "--store", str(store), "--recipe", str(tmp_path / "tiny.json")]
    assert main(["train", *arguments, "--run", str(run)]) == 0
    printed = capfd.readouterr().out
    assert "prior" in printed
    assert str(run / "metrics.json") in printed
    assert (store / "store.json").is_file(), "packed on the way"
    assert (run / "fold1" / "model.keras").is_file()
    assert figures(run / "training.html") >= 6

    assert main(["infer", "--data", data, "--run", str(run), "--out", str(out)]) == 0
    submission = pd.read_csv(out / "submission.csv")
    check_probabilities(submission, "submission.csv")
    assert submission["eeg_id"].tolist() == competition.test["eeg_id"].tolist()
    assert figures(out / "inference.html") >= 4

    capfd.readouterr()
    truth = competition.path.with_name("competition_truth")
    arguments = [str(out / "submission.csv"), str(truth / "solution.csv"), "--run", str(run)]
    assert main(["score", *arguments, "--truth", str(truth / "truth.parquet")]) == 0
    assert {"submission", "uniform", "prior", "oracle", "excess"} <= set(
        capfd.readouterr().out.split()
    )


def test_a_librarys_error_in_a_notebook_ends_the_verb_in_one_line(competition, tmp_path, capfd):
    arguments = ["infer", "--data", str(competition.path), "--run", str(tmp_path / "no-run")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "no finished run" in errors[0]
    assert (tmp_path / "out" / "inference.html").is_file(), "the page shows where it stopped"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["eda", "--data", "{nowhere}", "--out", "{out}"], "no such folder"),
        (["pack", "--data", "{here}", "--out", "{out}"], "no competition folder"),
        (["train", "--data", "{here}", "--store", "{out}", "--run", "{out}"], "no competition"),
        (["pack", "--data", "{data}", "--recipe", "nothing", "--out", "{out}"], "no such recipe"),
        (["score", "{here}/a.csv", "{here}/b.csv"], "no such file"),
        (["scores", "{here}"], "no finished run"),
        (["synth", "--out", "{data}", "--eegs", "2"], "not empty"),
    ],
)
def test_a_users_mistake_costs_one_line_and_exit_code_2(
    competition, tmp_path, capfd, arguments, reason
):
    (tmp_path / "here").mkdir()
    places = {
        "nowhere": tmp_path / "nowhere",
        "here": tmp_path / "here",
        "out": tmp_path / "out",
        "data": competition.path,
    }
    assert main([argument.format(**places) for argument in arguments]) == 2
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert reason in lines[0]


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(InputError):
        main(["--debug", "scores", str(tmp_path)])


def test_an_invalid_submission_is_refused_by_score(competition, tmp_path, capfd):
    solution = competition.path.with_name("competition_truth") / "solution.csv"
    table = pd.read_csv(solution)
    table.to_csv(tmp_path / "votes.csv", index=False)
    assert main(["score", str(tmp_path / "votes.csv"), str(solution)]) == 2
    assert "between 0 and 1" in capfd.readouterr().err


def test_the_notebooks_parameters_are_data_not_code(run, competition, tmp_path):
    """A parameter that looks like code arrives as the text that it is."""
    text = "x'); raise SystemExit('"
    with pytest.raises(InputError, match="no such folder"):
        run_notebook(
            "inference",
            {"competition": text, "run": str(run), "out": str(tmp_path / "out")},
            tmp_path,
        )
    executed = json.loads((tmp_path / "inference.ipynb").read_text())
    assert any(text in "".join(cell["source"]) for cell in executed["cells"])
