"""The notebooks' HTML pages: their content, and their layout in Chromium."""

from base64 import b64encode
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from chromium import SIZES, faults
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from hbac_utils.cli import main
from hbac_utils.notebooks import export_html
from hbac_utils.plots.style import new_figure


def write(notebook: nbformat.NotebookNode, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def ran(source: str, *outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return new_code_cell(source, execution_count=1, outputs=list(outputs))


@pytest.fixture
def wide_notebook(tmp_path) -> Path:
    """A notebook whose parts are wider than a phone, most of them wider than a desktop."""
    png, size = new_figure(3, "A figure")._repr_png_()
    table = pd.DataFrame([range(60)], columns=[f"column {i}" for i in range(60)])
    figure = {"image/png": b64encode(png).decode(), "text/plain": "Figure"}
    cells = [
        new_markdown_cell("Before the title."),
        new_markdown_cell(f"# Wide & wild\n\n{'a long sentence ' * 20}{'word' * 100}"),
        new_markdown_cell("| " + "a | " * 60 + "\n" + "|-" * 60 + "|"),
        ran("call(" + "argument, " * 60 + ")", new_output("stream", text="=" * 400)),
        ran("bar()", new_output("stream", name="stderr", text="99% of a progress bar")),
        ran("f", new_output("display_data", data=figure, metadata={"image/png": size})),
        ran("table", new_output("display_data", data={"text/html": table.to_html()})),
        ran("fail()", new_output("error", ename="E", evalue="e", traceback=["E: " + "e" * 400])),
    ]
    return write(new_notebook(cells=cells), tmp_path / "wide.ipynb")


def test_a_page_has_the_notebooks_title_and_no_progress_bars(wide_notebook, tmp_path):
    text = export_html(wide_notebook).read_text()
    assert "<title>Wide &amp; wild</title>" in text
    assert "progress bar" not in text
    nameless = write(new_notebook(cells=[ran("1")]), tmp_path / "nameless.ipynb")
    assert "<title>nameless</title>" in export_html(nameless).read_text()


def test_a_page_has_no_widgets_no_scripts_and_no_source_of_folded_cells(tmp_path):
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "7"}, "text/plain": "HBox()"}
    cells = [
        ran("browser", new_output("display_data", data=view)),
        ran("script", new_output("display_data", data={"application/javascript": "alert(1)"})),
    ]
    state = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    for folded in ({"jupyter": {"source_hidden": True}}, {"_kg_hide-input": True}):
        cells.append(ran("library = 'UEsDBBQ'", new_output("stream", text="unpacked")))
        cells[-1].metadata.update(folded)
    notebook = new_notebook(cells=cells, metadata={"widgets": state})
    text = export_html(write(notebook, tmp_path / "live.ipynb")).read_text()
    assert "<script" not in text
    assert "HBox" not in text
    assert "UEsDBBQ" not in text
    assert text.count("unpacked") == 2


def test_html_exports_executed_notebooks(wide_notebook, tmp_path):
    write(new_notebook(cells=[ran("1")]), tmp_path / "runs" / "first" / "training.ipynb")
    write(new_notebook(cells=[new_code_cell("1")]), tmp_path / "not-executed.ipynb")
    write(new_notebook(cells=[ran("1")]), tmp_path / ".ipynb_checkpoints" / "wide.ipynb")
    assert main(["html", str(tmp_path)]) == 0
    pages = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.html"))
    assert pages == ["runs/first/training.html", "wide.html"]


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("nothing", None, "no such file or folder"),
        ("", None, "no executed notebook"),
        ("text.ipynb", "what", "text.ipynb: not a Jupyter notebook"),
        ("list.ipynb", "[]", "list.ipynb: not a Jupyter notebook"),
    ],
)
def test_html_reports_other_files_in_one_line(tmp_path, capsys, name, content, reason):
    if content:
        (tmp_path / name).write_text(content)
    assert main(["html", str(tmp_path / name)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert reason in line


# ---------------------------------------------------------------- in Chromium


@pytest.mark.parametrize("device", SIZES)
def test_wide_parts_scroll_in_their_own_boxes(wide_notebook, browser, device):
    page = export_html(wide_notebook)
    assert faults(browser, page, device) == []
    # the check finds what it looks for
    text = page.read_text().replace("Content-Security-Policy", "none")
    page.write_text(text.replace("overflow-x: auto", ""))
    assert "pixels wide" in faults(browser, page, device)[0]
    page.write_text(
        text.replace("<main>", "<main><script src='https://cdn.invalid/a.js'></script>")
    )
    assert faults(browser, page, device)[0] == "asks for https://cdn.invalid/a.js"


def test_a_figure_grows_on_a_phone_when_touched(wide_notebook, browser):
    page = browser.new_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.goto(export_html(wide_notebook).as_uri())
    figure = page.locator("img")
    assert figure.bounding_box()["width"] < 390
    figure.tap()
    assert figure.bounding_box()["width"] == 1000
    figure.tap()
    assert figure.bounding_box()["width"] < 390
