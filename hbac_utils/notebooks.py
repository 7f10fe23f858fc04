"""Running the kit's notebooks: parameters checked, executed by papermill, exported to HTML."""

import difflib
import sys
from pathlib import Path

import nbformat
import papermill
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from hbac_utils.errors import InputError

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"


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
    papermill.PapermillExecutionError
        If a cell failed otherwise.
    """
    source = FOLDER / f"{name}.ipynb"
    check_parameters(source, parameters)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    executed = out / source.name
    try:
        papermill.execute_notebook(
            source,
            executed,
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            # the kernel would warn about its loopback connection at every start
            extra_arguments=["--IPKernelApp.log_level=ERROR"],
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
    except PapermillExecutionError as error:
        export_html(executed)
        if error.ename in ("InputError", "SubmissionError"):
            raise InputError(error.evalue) from None
        raise
    return export_html(executed)


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

    The page is for reading: progress bars and other things on standard error are left out.
    """
    page = notebook.with_suffix(".html")
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.get("name") != "stderr"]
    body, _ = HTMLExporter(embed_images=True).from_notebook_node(
        content, resources={"metadata": {"name": notebook.stem}}
    )
    page.write_text(body, encoding="utf-8")
    return page
