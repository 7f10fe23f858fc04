"""Running the kit's notebooks: parameters checked, executed by papermill, exported to HTML."""

import asyncio
import difflib
import logging
import sys
from pathlib import Path
from typing import TextIO

import nbformat
import papermill
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbformat.reader import NotJSONError
from papermill.exceptions import PapermillExecutionError

from hbac_utils.utils.errors import DiskError, InputError, KernelDied
from hbac_utils.utils.files import replacing

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
TEMPLATE = Path(__file__).resolve().parent / "page"
"""Of the HTML pages: a template for nbconvert and its style sheet."""

CHECKPOINTS = ".ipynb_checkpoints"
"""Where Jupyter keeps copies of the notebooks that are open in it."""

START_TIMEOUT = 10 * 365 * 24 * 3600
"""Seconds. A kernel that dies while it starts is noticed at once; one that lives is waited for, on
a machine that is busy, and when the clock, by which Jupyter measures this, is put forward."""

DIED_STARTING = "Kernel died"
"""How Jupyter's error for it begins; it has no class of its own."""

WIDGET = "application/vnd.jupyter.widget-view+json"
"""The kind of an output that only a kernel can show."""


def run_notebook(name: str, parameters: dict, out: str | Path) -> Path:
    """Execute a notebook with parameters and export it.

    Papermill only warns about a parameter that the notebook does not have, and then runs with
    the default; here it is refused.

    Parameters
    ----------
    name : str
        Of a notebook of the kit, without its ending: ``eda``, ``training``, ``inference``.
    parameters : dict
        Values for the cell tagged ``parameters``.
    out : str or Path
        Folder for ``{name}.ipynb`` and ``{name}.html``, written even if a cell fails.

    Returns
    -------
    Path
        Of the HTML page.

    Raises
    ------
    InputError
        If the notebook or a parameter does not exist, or a cell ended with an `InputError`.
    KernelDied
        If the notebook's process was killed.
    papermill.PapermillExecutionError
        If a cell failed otherwise.
    """
    source = FOLDER / f"{name}.ipynb"
    check_parameters(source, parameters)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    executed = out / source.name
    ensure_event_loop().set_exception_handler(_bereaved)
    errors = _Lines(sys.stderr)
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # it says what it then raises
    try:
        papermill.execute_notebook(
            _literal(source),
            _literal(executed),
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            start_timeout=START_TIMEOUT,
            # it would warn of its loopback connection, and sometimes of the signal that ends it
            extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
            stdout_file=sys.stdout,
            stderr_file=errors,
        )
    except PapermillExecutionError as error:
        export_html(executed)
        if error.ename == "DiskError":
            raise DiskError(error.evalue) from None
        if error.ename in ("InputError", "SubmissionError"):
            raise InputError(error.evalue) from None
        raise
    except RuntimeError as error:
        if not isinstance(error, DeadKernelError) and not str(error).startswith(DIED_STARTING):
            raise
        raise KernelDied(
            f"{name}: the notebook's process was killed, perhaps for want of memory; the same "
            "command goes on where it was"
        ) from None
    finally:
        errors.end()
    return export_html(executed)


class _Lines:
    """A stream that is passed on; a line that it has left open, as by a bar, can be ended."""

    def __init__(self, stream: TextIO):
        self._stream, self._open = stream, False

    def write(self, text: str) -> None:
        self._stream.write(text)
        self._open = not text.endswith("\n") if text else self._open

    def flush(self) -> None:
        self._stream.flush()

    def end(self) -> None:
        if self._open:
            self.write("\n")


def _bereaved(loop: asyncio.AbstractEventLoop, context: dict) -> None:
    """Say nothing of a cell that waits for its kernel after Ctrl-C or SIGTERM has ended both."""
    if not isinstance(context.get("exception"), DeadKernelError):
        loop.default_exception_handler(context)


def _literal(path: Path) -> str:
    """Keep papermill from filling in what stands in braces in a path."""
    return str(path).replace("{", "{{").replace("}", "}}")


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Refuse parameters that a notebook does not have.

    Raises
    ------
    InputError
        Naming the unknown parameter and the nearest one that exists.
    """
    if not notebook.is_file():
        raise InputError(f"{notebook}: no such notebook")
    known = set(papermill.inspect_notebook(notebook))
    for parameter in parameters:
        if parameter not in known:
            near = difflib.get_close_matches(parameter, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(known))}"
            raise InputError(f"{notebook.name}: no parameter {parameter}; {hint}")


def export_html(notebook: Path) -> Path:
    """Write a notebook as one self-contained HTML page beside it, and return its path.

    The page is for reading, on a desk or a phone, with no network: progress bars and other
    things on standard error are left out, and so are widgets.

    Raises
    ------
    InputError
        If the file is not a notebook.
    """
    page = notebook.with_suffix(".html")
    content = read_notebook(notebook)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if _is_to_be_read(output)]
    exporter = HTMLExporter(
        template_name=TEMPLATE.name,
        extra_template_basedirs=[str(TEMPLATE.parent)],
        embed_images=True,
        exclude_anchor_links=True,
    )
    body, _ = exporter.from_notebook_node(
        content,
        resources={"metadata": {"name": title_of(content) or notebook.stem}},
    )
    with replacing(page) as file:
        file.write(body.encode())
    return page


def export_executed(path: Path) -> list[Path]:
    """Write the page of every executed notebook in a folder and below it.

    Parameters
    ----------
    path : Path
        A folder, or one notebook.

    Returns
    -------
    list of Path
        Of the pages, sorted.

    Raises
    ------
    InputError
        If there is no executed notebook.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; name one that holds executed notebooks")
    found = [path] if path.is_file() else sorted(path.rglob("*.ipynb"))
    found = [notebook for notebook in found if CHECKPOINTS not in notebook.parts]
    executed = [notebook for notebook in found if is_executed(read_notebook(notebook))]
    if not executed:
        raise InputError(f"{path}: no executed notebook in it; run eda, train or infer first")
    return [export_html(notebook) for notebook in executed]


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook.

    Raises
    ------
    InputError
        If the file is not one.
    """
    try:
        return nbformat.read(path, as_version=4)
    except (NotJSONError, nbformat.ValidationError, UnicodeDecodeError, AttributeError):
        raise InputError(f"{path}: not a Jupyter notebook; remove or rename it") from None


def is_executed(notebook: nbformat.NotebookNode) -> bool:
    """Say whether any cell of a notebook was run."""
    return any(cell.get("execution_count") for cell in notebook.cells)


def title_of(notebook: nbformat.NotebookNode) -> str:
    """Find a notebook's title, its first heading of the first rank; empty if it has none."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("# "):
            return cell.source.partition("\n")[0].removeprefix("# ")
    return ""


def _is_to_be_read(output: nbformat.NotebookNode) -> bool:
    return output.get("name") != "stderr" and WIDGET not in output.get("data", {})
