"""The notebooks' HTML pages: what is exported, and how a browser shows it."""

from base64 import b64encode
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from chromium import PROBE, faults
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from hbac_utils.cli import main
from hbac_utils.notebooks import FOLDER, export_html
from hbac_utils.plots.style import new_figure


def write(notebook: nbformat.NotebookNode, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
    return path


def ran(source: str, *outputs: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return new_code_cell(source, execution_count=1, outputs=list(outputs))


def shown(**data) -> nbformat.NotebookNode:
    data = {kind.replace("__", "/").replace("_", "-"): value for kind, value in data.items()}
    return new_output("display_data", data=data)


@pytest.fixture
def wide_notebook(tmp_path) -> Path:
    """A notebook whose every part is wider than a phone, most wider than a desk."""
    png, size = new_figure(3, "A figure")._repr_png_()
    table = pd.DataFrame([range(60)], columns=[f"column {i}" for i in range(60)])
    sentence = "what a reader may want to know " * 10
    cells = [
        new_markdown_cell("Before the title."),
        new_markdown_cell(f"# Wide & wild\n\n{sentence}{'word' * 100}"),
        new_markdown_cell("| " + "a | " * 60 + "\n" + "|-" * 60 + "|"),
        ran("call(" + "argument, " * 60 + ")", new_output("stream", text="=" * 400)),
        ran("bar()", new_output("stream", name="stderr", text="99% of a progress bar")),
        ran("figure", shown(image__png=b64encode(png).decode(), text__plain="Figure")),
        ran("table", shown(text__html=table.to_html(), text__plain=str(table))),
        ran("fail()", new_output("error", ename="E", evalue="e", traceback=["E: " + "e" * 400])),
    ]
    cells[5].outputs[0].metadata["image/png"] = size
    return write(new_notebook(cells=cells), tmp_path / "wide.ipynb")


def test_a_page_has_the_notebooks_title_and_no_progress_bars(wide_notebook):
    text = export_html(wide_notebook).read_text()
    assert "<title>Wide &amp; wild</title>" in text
    assert "progress bar" not in text
    assert '<html lang="en">' in text


def test_a_page_without_a_heading_is_called_like_its_file(tmp_path):
    path = write(new_notebook(cells=[ran("1")]), tmp_path / "nameless.ipynb")
    assert "<title>nameless</title>" in export_html(path).read_text()


def test_widgets_and_scripts_leave_no_trace(tmp_path):
    view = {"application/vnd.jupyter.widget-view+json": {"model_id": "7"}, "text/plain": "HBox()"}
    cells = [
        ran("browser", new_output("display_data", data=view)),
        ran("script", new_output("display_data", data={"application/javascript": "alert(1)"})),
    ]
    state = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    notebook = new_notebook(cells=cells, metadata={"widgets": state})
    text = export_html(write(notebook, tmp_path / "live.ipynb")).read_text()
    assert "<script" not in text
    assert "HBox" not in text


@pytest.mark.parametrize("folded", [{"jupyter": {"source_hidden": True}}, {"_kg_hide-input": True}])
def test_a_cell_that_is_folded_away_shows_its_output_alone(tmp_path, folded):
    cell = ran("library = 'UEsDBBQ'", new_output("stream", text="unpacked"))
    cell.metadata.update(folded)
    path = write(new_notebook(cells=[cell, ran("shown = 1")]), tmp_path / "kernel.ipynb")
    text = export_html(path).read_text()
    assert "UEsDBBQ" not in text
    assert "unpacked" in text
    assert "shown" in text


def test_html_exports_what_was_executed(wide_notebook, tmp_path, capsys):
    below = tmp_path / "runs" / "first" / "training.ipynb"
    write(new_notebook(cells=[ran("1")]), below)
    write(new_notebook(cells=[new_code_cell("1")]), tmp_path / "written-only.ipynb")
    write(new_notebook(cells=[ran("1")]), tmp_path / ".ipynb_checkpoints" / "wide.ipynb")
    assert main(["html", str(tmp_path)]) == 0
    pages = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.html"))
    assert pages == [Path("runs/first/training.html"), Path("wide.html")]
    assert capsys.readouterr().out.split() == [
        "page", str(below.with_suffix(".html")), "page", str(tmp_path / "wide.html")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("nothing", None, "no such file or folder"),
        ("empty/", None, "no executed notebook"),
        ("text.ipynb", "what", "text.ipynb: not a Jupyter notebook"),
        ("list.ipynb", "[]", "list.ipynb: not a Jupyter notebook"),
        ("object.ipynb", "{}", "object.ipynb: not a Jupyter notebook"),
    ],
)
def test_what_cannot_be_exported_costs_one_line(tmp_path, capsys, name, content, reason):
    path = tmp_path / name
    if name.endswith("/"):
        path.mkdir()
    if content:
        path.write_text(content)
    assert main(["html", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert reason in lines[0]


def test_the_notebooks_have_no_formulas_that_a_page_could_not_show():
    for path in FOLDER.glob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            assert cell.cell_type != "markdown" or "$" not in cell.source, path.name


# -- in Chromium -------------------------------------------------------------


def test_what_is_wide_scrolls_in_its_own_box(wide_notebook, browser):
    path = export_html(wide_notebook)
    assert faults(browser, path, "desktop") == faults(browser, path, "phone") == []


def test_a_figure_grows_on_a_phone_when_touched(wide_notebook, browser):
    page = browser.new_page(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    page.goto(export_html(wide_notebook).as_uri())
    figure = page.locator("img")
    assert figure.bounding_box()["width"] < 390
    figure.tap()
    assert figure.bounding_box()["width"] == 1000
    assert page.evaluate(PROBE)["content"] == 390
    figure.tap()
    assert figure.bounding_box()["width"] < 390


BROKEN = [
    ("<main>", "<main><table><td style='min-width: 1300px'>wide</table>", "pixels wide"),
    ("overflow-x: auto", "", "pixels wide"),
    ("<main>", "<main><img src='gone.png'>", "1 images are missing"),
    ("<main>", "<main><img src='data:image/png;base64,AAAA'>", "1 images are missing"),
    ("<main>", "<main><script>nowhere()</script>", "nowhere is not defined"),
    ("<main>", "<main><script src='https://cdn.invalid/a.js'></script>", "cdn.invalid/a.js"),
    ("</main>", "<style>@import url(//cdn.invalid/a.css)</style></main>", "cdn.invalid/a.css"),
    ('name="viewport"', "", "laid out for 980 pixels"),
]


def test_a_broken_page_is_noticed(wide_notebook, browser):
    path = export_html(wide_notebook)
    # with its policy a page can neither run a script nor ask for anything
    text = path.read_text().replace("Content-Security-Policy", "none")
    for good, bad, fault in BROKEN:
        assert good in text
        path.write_text(text.replace(good, bad))
        assert fault in "; ".join(faults(browser, path, "phone")), bad or good
    path.write_text(text.replace(*BROKEN[0][:2]))
    assert "pixels wide" in "; ".join(faults(browser, path, "desktop"))
