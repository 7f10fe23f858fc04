"""Hostile files: nothing in a document, in weights or in a notebook's page is executed."""

import os
import pickle
import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from hbac_utils.ensembling.pooling import load_blend
from hbac_utils.models.classifier import load_classifier
from hbac_utils.notebooks import export_html
from hbac_utils.recipe import load_recipe
from hbac_utils.sweeps.config import load_sweep
from hbac_utils.utils.errors import InputError

pytestmark = [pytest.mark.faults, pytest.mark.fault("hostile file")]

ALIASES = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize("name", ["document.yaml", "document.json"])
@pytest.mark.parametrize("load", [load_recipe, load_sweep, load_blend])
@pytest.mark.parametrize(
    "content",
    [
        b"!!python/object/apply:os.mkdir [CANARY]", ALIASES.encode(), b"[" * 1000,
        b"name: \xff\xfe", b'{"name": "a", "name": "b"}',
    ],
    ids=["object", "aliases", "nested", "bytes", "twice"],
)  # fmt: skip
def test_a_hostile_document_is_refused_in_one_line(name, load, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content.replace(b"CANARY", str(tmp_path / "canary").encode()))
    with pytest.raises(InputError, match=f"^[^\n]*{name}[^\n]*$"):
        load(path)
    assert not (tmp_path / "canary").exists()


class Mkdir:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_weights_that_are_a_pickle_or_truncated_are_refused(run, tiny_recipe, tmp_path):
    path = Path(shutil.copy(run / "fold0" / "model.weights.h5", tmp_path))
    for content in (path.read_bytes()[:-1000], pickle.dumps(Mkdir(tmp_path / "canary"))):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"^[^\n]*not weights of recipe[^\n]*$"):
            load_classifier(tiny_recipe, path)
    assert not (tmp_path / "canary").exists()


MARKUP = """<script>alert(1)</script>"><img src=x onerror=alert(1)>'"""


def test_a_browser_runs_nothing_of_a_page(tmp_path, browser):
    """Markup is shown as the text that it is; what a cell put out as HTML is shown, not run."""
    act = "document.title = 'it ran'"
    raw = f'<script>{act}</script><img src=x onerror="{act}"><svg onload="{act}"></svg>'
    size = {"alt": MARKUP, "width": MARKUP, "height": MARKUP}
    outputs = [
        new_output("stream", name="stdout", text=MARKUP),
        new_output("display_data", data={"text/plain": MARKUP}),
        new_output("display_data", data={"image/png": MARKUP}, metadata={"image/png": size}),
        new_output("display_data", data={"application/javascript": "alert(1)"}),
        new_output("error", ename=MARKUP, evalue=MARKUP, traceback=[f"InputError: {MARKUP}"]),
        new_output("display_data", data={"text/html": f"{raw}<p id=end>the end</p>"}),
    ]
    cells = [
        new_markdown_cell(f"# `{MARKUP}`"),
        new_code_cell(f"print({MARKUP!r})", execution_count=1, outputs=outputs),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "hostile.ipynb")
    page = export_html(tmp_path / "hostile.ipynb")
    opened, dialogs, refused = browser.new_page(), [], []
    opened.on("dialog", lambda dialog: dialogs.append(dialog.message))
    opened.on("requestfailed", lambda request: refused.append((request.url, request.failure)))
    opened.goto(page.as_uri())
    opened.wait_for_selector("#end")
    assert not dialogs
    assert "it ran" not in opened.title()
    assert (page.with_name("x").as_uri(), "csp") in refused
    # title, heading, code, stream, text, error
    assert "".join([opened.title(), opened.inner_text("body")]).count("<script>alert(1)") == 6
