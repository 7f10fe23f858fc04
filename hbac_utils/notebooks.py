"""Execute the notebooks with papermill and export them to HTML."""

import ast
import asyncio
import difflib
import logging
import math
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from nbformat.reader import NotJSONError
from papermill.exceptions import PapermillExecutionError

from hbac_utils.utils.errors import DiskError, InputError, KernelDied
from hbac_utils.utils.files import PACKAGE, replacing, resource_root

FOLDER = resource_root() / "notebooks"
TEMPLATE = PACKAGE / "templates"
"""nbconvert template of the HTML pages, with their style sheet."""


def run_notebook(name: str, parameters: dict, out: str | Path) -> Path:
    """Execute a notebook with parameters and export it to HTML; return the page.

    Parameters
    ----------
    name : str
        ``eda``, ``training``, ``inference`` or ``recording``.
    parameters : dict
        Values for the cell tagged ``parameters``.
    out : str or Path
        Folder for ``{name}.ipynb`` and ``{name}.html``, which are also written if a cell fails.

    Raises
    ------
    InputError
        If the notebook or a parameter does not exist, or a cell raised an `InputError`.
    KernelDied
        If the notebook's process was killed.
    papermill.PapermillExecutionError
        If a cell raised another exception.
    """
    source = FOLDER / f"{name}.ipynb"
    check_parameters(source, parameters)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    executed = out / source.name
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # its errors are raised as well
    try:
        with _awaited_tasks(), tempfile.TemporaryDirectory(prefix="hbac-ipython-") as profile:
            papermill.execute_notebook(
                _unformatted(source),
                _unformatted(executed),
                parameters=parameters,
                kernel_name="python3",
                kernel_manager_class=_ThisPython,
                progress_bar=False,
                start_timeout=600,  # seconds, on a busy machine
                extra_arguments=[
                    # no warnings about the loopback connection or the signal that ends the kernel
                    "--IPKernelApp.log_level=CRITICAL",
                    f"--IPKernelApp.ipython_dir={profile}",
                    "--IPKernelApp.exec_PYTHONSTARTUP=False",
                ],
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
            )
    except PapermillExecutionError as error:
        export_html(executed)
        if error.ename == "DiskError":
            raise DiskError(error.evalue) from None
        if error.ename in ("InputError", "SubmissionError"):
            raise InputError(error.evalue) from None
        raise
    except RuntimeError as error:
        # a kernel that dies while it starts has no exception class of its own
        if not isinstance(error, DeadKernelError) and not str(error).startswith("Kernel died"):
            raise
        raise KernelDied(
            f"{name}: the notebook's process was killed, possibly for lack of memory; run the "
            "same command again to resume"
        ) from None
    return export_html(executed)


def _unformatted(path: Path) -> str:
    """Escape braces, between which papermill inserts parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


class _ThisPython(AsyncKernelManager):
    """Run a notebook by this interpreter, whatever kernel the user has installed as python3."""

    @property
    def kernel_spec(self) -> KernelSpec:
        launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=launch, language="python")


@contextmanager
def _awaited_tasks() -> Iterator[None]:
    """Let the tasks end that nbclient leaves behind after an error or Ctrl-C."""
    loop = ensure_event_loop()
    try:
        yield
    finally:
        if not loop.is_running():  # it is not ours in a live notebook
            tasks = asyncio.all_tasks(loop)
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def read_parameters(notebook: Path) -> dict[str, Any]:
    """Read a notebook's parameters with their defaults."""
    if not notebook.is_file():
        raise InputError(f"{notebook}: no such notebook")
    found = papermill.inspect_notebook(_unformatted(notebook))
    return {name: ast.literal_eval(parameter["default"]) for name, parameter in found.items()}


def check_parameters(notebook: Path, parameters: dict) -> None:
    """Reject parameters that a notebook does not have, and numbers below zero or not finite."""
    known = read_parameters(notebook)
    for parameter, value in parameters.items():
        if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
            raise InputError(f"{notebook.name}: {parameter} is {value}; give a number from 0 up")
        if parameter not in known:
            near = difflib.get_close_matches(parameter, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(known))}"
            raise InputError(f"{notebook.name}: no parameter {parameter}; {hint}")


def export_html(notebook: Path) -> Path:
    """Export a notebook as one self-contained HTML page beside it; return its path.

    It works without a network and on a phone, and omits standard error (progress bars) and widgets.
    """
    page, content = notebook.with_suffix(".html"), read_notebook(notebook)
    widget = "application/vnd.jupyter.widget-view+json"
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs = [
                output for output in cell.outputs
                if output.get("name") != "stderr" and widget not in output.get("data", {})
            ]  # fmt: skip
    exporter = HTMLExporter(
        template_name=TEMPLATE.name,
        extra_template_basedirs=[str(TEMPLATE.parent)],
        embed_images=True,
        exclude_anchor_links=True,
    )
    headings = (
        cell.source.partition("\n")[0].removeprefix("# ")
        for cell in content.cells if cell.cell_type == "markdown" and cell.source.startswith("# ")
    )  # fmt: skip
    title = next(headings, notebook.stem)
    body, _ = exporter.from_notebook_node(content, resources={"metadata": {"name": title}})
    with replacing(page) as file:
        file.write(body.encode())
    return page


def export_executed(path: Path) -> list[Path]:
    """Export one executed notebook, or all executed notebooks below a folder; return the pages."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; name a folder with executed notebooks")
    found = [path] if path.is_file() else sorted(path.rglob("*.ipynb"))
    found = [notebook for notebook in found if ".ipynb_checkpoints" not in notebook.parts]
    executed = [
        notebook for notebook in found
        if any(cell.get("execution_count") for cell in read_notebook(notebook).cells)
    ]  # fmt: skip
    if not executed:
        raise InputError(f"{path}: no executed notebook; run eda, train or infer first")
    return [export_html(notebook) for notebook in executed]


def read_notebook(path: Path) -> nbformat.NotebookNode:
    """Read a notebook; raise `InputError` if the file is not one."""
    try:
        return nbformat.read(path, as_version=4)
    except (NotJSONError, nbformat.ValidationError, UnicodeDecodeError, AttributeError):
        raise InputError(f"{path}: not a Jupyter notebook; remove or rename it") from None
