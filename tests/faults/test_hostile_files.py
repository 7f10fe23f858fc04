"""Hostile files: nothing in a document or a notebook's page is executed."""

from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from hbac_utils.ensembling.pooling import load_blend
from hbac_utils.notebooks import export_html
from hbac_utils.recipe import load_recipe
from hbac_utils.sweeps.config import load_sweep
from hbac_utils.utils.errors import InputError

pytestmark = [pytest.mark.faults, pytest.mark.fault("tampered or hostile file")]

ALIASES = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"!!python/object/apply:os.mkdir [CANARY]", "could not determine a constructor"),
        (ALIASES.encode(), r"\*a is an alias"),
        (b"[" * 1000, "nested too deeply"),
        (b"name: \xff\xfe", "not YAML"),
    ],
    ids=["object", "aliases", "nested", "bytes"],
)
@pytest.mark.parametrize("load", [load_recipe, load_sweep, load_blend])
def test_a_hostile_document_is_refused_in_one_line(tmp_path, load, content, reason):
    path = tmp_path / "document.yaml"
    path.write_bytes(content.replace(b"CANARY", str(tmp_path / "canary").encode()))
    with pytest.raises(InputError, match=f"^[^\n]*{reason}[^\n]*$"):
        load(path)
    assert not (tmp_path / "canary").exists()


MARKUP = """<script>alert(1)</script>"><img src=x onerror=alert(1)>'"""


class Tags(HTMLParser):
    """Collects what a browser would run."""

    def __init__(self, page: Path):
        super().__init__()
        self.found: list[str] = []
        self.texts: list[str] = []
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.found += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]
        self.found += [tag] if tag in ("script", "iframe", "object", "embed") else []

    def handle_data(self, data):
        self.texts.append(data)


def hostile_notebook(path: Path, *more: nbformat.NotebookNode) -> Path:
    size = {"alt": MARKUP, "width": MARKUP, "height": MARKUP}
    outputs = [
        new_output("stream", name="stdout", text=MARKUP),
        new_output("display_data", data={"text/plain": MARKUP}),
        new_output("display_data", data={"image/png": MARKUP}, metadata={"image/png": size}),
        new_output("display_data", data={"application/javascript": "alert(1)"}),
        new_output("error", ename=MARKUP, evalue=MARKUP, traceback=[f"InputError: {MARKUP}"]),
        *more,
    ]
    cells = [
        new_markdown_cell(f"# `{MARKUP}`"),
        new_code_cell(f"print({MARKUP!r})", execution_count=1, outputs=outputs),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_a_page_shows_markup_as_the_text_that_it_is(tmp_path):
    tags = Tags(export_html(hostile_notebook(tmp_path / "hostile.ipynb")))
    assert not tags.found
    # title, heading, code, stream, text, error
    assert "".join(tags.texts).count("<script>alert(1)</script>") == 6


def test_a_browser_runs_nothing_of_a_page(tmp_path, browser):
    """Not even what a cell put out as HTML, which is shown as it is."""
    act = "document.title = 'it ran'"
    raw = f'<script>{act}</script><img src=x onerror="{act}"><svg onload="{act}"></svg>'
    output = new_output("display_data", data={"text/html": f"{raw}<p id=end>the end</p>"})
    page = export_html(hostile_notebook(tmp_path / "hostile.ipynb", output))
    opened, dialogs, refused = browser.new_page(), [], []
    opened.on("dialog", lambda dialog: dialogs.append(dialog.message))
    opened.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
    opened.goto(page.as_uri())
    opened.wait_for_selector("#end")
    assert "it ran" not in opened.title()
    assert not dialogs
    assert (page.with_name("x").as_uri(), "csp") in refused
