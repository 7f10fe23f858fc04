"""A pushed notebook run as Kaggle runs it: papermill, no parameters, no network, /kaggle mounted.

Where the system permits it (``unshare -rnm``) the notebook sees a root folder of its own, in
which ``/kaggle/input`` holds just what is attached, there is no network, and the repository's
library is hidden, so that only the one that it carries can be imported. Elsewhere the same
notebook is run with these places given to it, and a message says so.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Session:
    """What a run is given.

    Attributes
    ----------
    scratch : str
        A folder for the run's own files.
    inputs : dict of str to str
        From a path below ``/kaggle/input`` to the folder that is mounted there.
    working : str
        The folder that is ``/kaggle/working``.
    environment : dict of str to str
    """

    scratch: str
    inputs: dict[str, str]
    working: str
    environment: dict[str, str]


def is_permitted() -> bool:
    """Say whether this system lets a user make namespaces."""
    try:
        return subprocess.run(["unshare", "-rnm", "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def run_as_kaggle(
    text: str, scratch: Path, inputs: dict[str, Path], working: Path, **environment: str
) -> list[dict]:
    """Run a pushed notebook's text and return the executed cells.

    Raises
    ------
    AssertionError
        If a cell failed; with what was printed.
    """
    scratch.mkdir(parents=True)
    working.mkdir(parents=True, exist_ok=True)
    session = Session(
        str(scratch),
        {place: str(folder) for place, folder in inputs.items()},
        str(working),
        {"KAGGLE_KERNEL_RUN_TYPE": "Batch", **environment},
    )
    (scratch / "session.json").write_text(json.dumps(asdict(session)))
    isolated = is_permitted()
    if not isolated:
        print("no namespaces here: the notebook is run with network and given its places")
        text = _with_places(text, session)
    (scratch / "notebook.ipynb").write_text(text)
    command = [sys.executable, __file__, str(scratch / "session.json")]
    clean = {k: v for k, v in os.environ.items() if "KAGGLE" not in k and "PROXY" not in k.upper()}
    clean |= {"TF_NUM_INTRAOP_THREADS": "2", "MPLBACKEND": "agg", "TMPDIR": str(scratch)}
    done = subprocess.run(
        ["unshare", "-rnm", *command, "isolated"] if isolated else command,
        env=clean | session.environment, capture_output=True, text=True, timeout=1800,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads((working / "__notebook__.ipynb").read_text())["cells"]


def printed(cells: list[dict]) -> str:
    """All that the executed cells printed."""
    return "".join(
        "".join(output.get("text", ""))
        for cell in cells
        for output in cell.get("outputs", [])
    )  # fmt: skip


def _with_places(text: str, session: Session) -> str:
    """Tell a notebook where its inputs are, where they cannot be mounted."""
    content = json.loads(text)
    cells = content["cells"]
    tags = [cell["metadata"].get("tags", []) for cell in cells]
    parameters = tags.index(["parameters"])
    place = parameters + (tags[parameters + 1] == ["injected-parameters"])
    places = {"out": session.working, "run": f"{session.working}/run"}
    places["store"] = f"{session.scratch}/store"
    for folder in session.inputs.values():
        is_competition = (Path(folder) / "test.csv").is_file()
        places |= {"data": folder} if is_competition else {"run": f"{folder}/run"}
    known = "".join(cells[parameters]["source"])
    source = "".join(cells[place]["source"])
    for key, value in places.items():
        source += f"\n{key} = {value!r}" if f"{key} = " in known else ""
    cells[place]["source"] = source
    return json.dumps(content)


def _enter(session: Session) -> None:
    """Make a root folder with /kaggle in it, and go there."""
    with socket.socket() as any_socket:  # papermill talks to its kernel over the loopback
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP
    root = Path(session.scratch) / "root"
    root.mkdir()
    for path in Path("/").iterdir():
        place = root / path.name
        if path.is_symlink():
            place.symlink_to(path.readlink())
        elif path.is_dir() and path.name != "kaggle":
            place.mkdir()
            _mount("--rbind", path, place)
    for name, folder in session.inputs.items():
        place = root / "kaggle" / "input" / name
        place.mkdir(parents=True)
        _mount("--bind", folder, place)
        _mount("-o", "remount,bind,ro", place)
    place = root / "kaggle" / "working"
    place.mkdir(parents=True)
    _mount("--bind", session.working, place)
    installed = find_spec("hbac_utils")  # perhaps from elsewhere
    hidden = {REPOSITORY / "hbac_utils"} | ({Path(installed.origin).parent} if installed else set())
    for path in hidden:
        _mount("-t", "tmpfs", "none", root / str(path).lstrip("/"))
    os.chroot(root)
    os.chdir("/kaggle/working")


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True)


if __name__ == "__main__":
    given = Session(**json.loads(Path(sys.argv[1]).read_text()))
    if "isolated" in sys.argv:
        _enter(given)
    else:
        os.chdir(given.working)
    executed = "/kaggle/working" if "isolated" in sys.argv else given.working
    os.execv(
        sys.executable,
        [
            sys.executable, "-m", "papermill", "--no-progress-bar", "-k", "python3",
            f"{given.scratch}/notebook.ipynb", f"{executed}/__notebook__.ipynb",
        ],
    )  # fmt: skip
