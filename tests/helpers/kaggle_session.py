"""Run a pushed notebook as Kaggle does: papermill, no parameters, no network, /kaggle mounted.

Where the system permits it (``unshare -rnm``) the notebook has a root folder of its own:
``/kaggle/input`` holds only what is attached, and the repository's library is hidden, so that only
the embedded one can be imported. Elsewhere the notebook gets these places as parameters.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def is_isolated() -> bool:
    """Whether this system lets a user make namespaces."""
    try:
        return subprocess.run(["unshare", "-rnm", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def run_as_kaggle(
    text: str, scratch: Path, inputs: dict[str, Path], working: Path, **environment: str
) -> list[dict]:
    """Run a pushed notebook's text and return the executed cells, which must not fail.

    ``scratch`` is for the session's own files; ``inputs`` maps paths below ``/kaggle/input`` to
    folders; ``working`` is the folder that is ``/kaggle/working``.
    """
    scratch.mkdir(parents=True)
    working.mkdir(parents=True, exist_ok=True)
    session = {"scratch": scratch, "inputs": inputs, "working": working}
    (scratch / "session.json").write_text(json.dumps(session, default=str))
    isolated = is_isolated()
    (scratch / "notebook.ipynb").write_text(text if isolated else _with_places(text, session))
    command = [sys.executable, __file__, str(scratch / "session.json")]
    clean = {k: v for k, v in os.environ.items() if "KAGGLE" not in k and "PROXY" not in k.upper()}
    clean |= {"TF_NUM_INTRAOP_THREADS": "2", "MPLBACKEND": "agg", "TMPDIR": str(scratch)}
    done = subprocess.run(
        ["unshare", "-rnm", *command, "isolated"] if isolated else command,
        env=clean | {"KAGGLE_KERNEL_RUN_TYPE": "Batch"} | environment,
        capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((working / "__notebook__.ipynb").read_text())["cells"]


def printed(cells: list[dict]) -> str:
    """All that the executed cells printed."""
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return "".join("".join(output.get("text", "")) for output in outputs)


def _with_places(text: str, session: dict) -> str:
    """Set a notebook's parameters to the places of its inputs, where they cannot be mounted."""
    content = json.loads(text)
    cells = content["cells"]
    tags = [cell["metadata"].get("tags", []) for cell in cells]
    parameters = tags.index(["parameters"])
    last = cells[parameters + (tags[parameters + 1] == ["injected-parameters"])]
    working = session["working"]
    places = {"out": working, "run": working / "run", "store": session["scratch"] / "store"}
    for folder in session["inputs"].values():
        is_competition = (folder / "test.csv").is_file()
        places |= {"data": folder} if is_competition else {"run": folder / "run"}
    known = "".join(cells[parameters]["source"])
    lines = [f"\n{key} = {str(value)!r}" for key, value in places.items() if f"{key} = " in known]
    last["source"] = "".join([*last["source"], *lines])
    return json.dumps(content)


def _enter(session: dict) -> None:
    """Change into a root folder that has /kaggle."""
    with socket.socket() as any_socket:  # papermill talks to its kernel over the loopback
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
    root = Path(session["scratch"]) / "root"
    root.mkdir()
    for path in Path("/").iterdir():
        place = root / path.name
        if path.is_symlink():
            place.symlink_to(path.readlink())
        elif path.is_dir() and path.name != "kaggle":
            place.mkdir()
            _mount("--rbind", path, place)
    for name, folder in session["inputs"].items():
        place = root / "kaggle" / "input" / name
        place.mkdir(parents=True)
        _mount("--bind", folder, place)
        _mount("-o", "remount,bind,ro", place)
    place = root / "kaggle" / "working"
    place.mkdir(parents=True)
    _mount("--bind", session["working"], place)
    installed = find_spec("hbac_utils")  # perhaps from elsewhere
    hidden = {REPOSITORY / "hbac_utils"} | ({Path(installed.origin).parent} if installed else set())
    for path in hidden:
        _mount("-t", "tmpfs", "none", root / str(path).lstrip("/"))
    os.chroot(root)
    os.chdir("/kaggle/working")


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text())
    working = given["working"]
    if "isolated" in sys.argv:
        _enter(given)
        working = "/kaggle/working"
    os.chdir(working)
    papermill = [sys.executable, "-m", "papermill", "--no-progress-bar", "-k", "python3"]
    notebooks = [f"{given['scratch']}/notebook.ipynb", f"{working}/__notebook__.ipynb"]
    os.execv(sys.executable, papermill + notebooks)
