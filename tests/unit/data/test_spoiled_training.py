"""Training folders made bad on purpose: refused in one line before any long work starts."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import spoiled

from hbac_utils.cli import main
from hbac_utils.data.journal import partial_folder
from hbac_utils.data.packing import pack
from hbac_utils.recipe import Data
from hbac_utils.utils.errors import InputError

REFUSED = pytest.mark.fault("bad training folder, refused")

LONG = "eeg endless"  # for a test recording; in training it is as good as any, and takes a while
FILES = [kind for kind in spoiled.FILES if kind.name != LONG]
READ = {spoiled.a_damaged_page, spoiled.all_pages_damaged, spoiled.without_its_first_bytes,
        spoiled.all_nan}  # fmt: skip
"""What only shows when the file is read: the packing has begun then. So it is with spectrograms'
values: their footers are not asked for 400 ranges."""


@pytest.fixture
def folder(competition, tmp_path) -> Path:
    """Two windows of two EEGs and what belongs to them."""
    folder = tmp_path / "competition"
    table = competition.train.drop_duplicates("eeg_id").drop_duplicates("spectrogram_id").head(2)
    for kind in ("eeg", "spectrogram"):
        (folder / f"train_{kind}s").mkdir(parents=True)
        for i in table[f"{kind}_id"]:
            shutil.copy(
                competition.path / f"train_{kind}s" / f"{i}.parquet", folder / f"train_{kind}s"
            )
    table.to_csv(folder / "train.csv", index=False)
    return folder


def spoil(kind: spoiled.FileKind, folder: Path) -> Path:
    """Spoil the recording of the second window."""
    recording = pd.read_csv(folder / "train.csv")[f"{kind.recording}_id"][1]
    path = folder / f"train_{kind.recording}s" / f"{recording}.parquet"
    kind.spoil(path)
    return path


def refusal(folder: Path, capfd) -> str:
    """Pack a folder that has to be refused; what the verb says."""
    arguments = ["pack", "--data", str(folder), "--out", str(folder.parent / "store")]
    assert main([*arguments, "--jobs", "1"]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if "file/s]" not in line]
    said = [line for line in lines if line.startswith("error: ")]
    assert len(said) == 1
    return said[0]


@REFUSED
@pytest.mark.parametrize("kind", [k for k in FILES if k.refused], ids=lambda kind: kind.name)
def test_a_bad_recording_is_refused(kind, folder, capfd):
    path = spoil(kind, folder)
    said = refusal(folder, capfd)
    assert str(path) in said
    assert kind.refused in said
    assert not (folder.parent / "store").exists()
    is_read = kind.recording == "spectrogram" and kind.refused == "infinite"
    if kind.spoil not in READ and not is_read:
        assert [p.name for p in folder.parent.iterdir()] == ["competition"], "nothing was begun"


@pytest.mark.parametrize("kind", [k for k in FILES if not k.refused], ids=lambda kind: kind.name)
def test_what_is_only_unusual_is_packed(kind, folder):
    spoil(kind, folder)
    store = pack_quietly(folder)
    assert len(store.windows) == 2
    assert np.isfinite(store.eeg).all()
    assert not np.isinf(store.spectrogram).any()


def pack_quietly(folder: Path):
    from hbac_utils.data.competition import open_competition

    out = folder.parent / "store"
    return pack(open_competition(folder), out, Data(), jobs=1, progress=False)


@REFUSED
@pytest.mark.parametrize(
    "kind",
    [k for k in FILES if k.recording == "eeg" and k.refused in ("infinite", "microvolts")],
    ids=lambda kind: kind.name,
)
def test_what_a_footer_does_not_tell_is_found_in_reading(kind, folder):
    path = spoil(kind, folder)
    spoiled.without_statistics(path)
    with pytest.raises(InputError, match=f"{path}: .*{kind.refused}"):
        pack_quietly(folder)
    assert not (folder.parent / "store").exists()
    assert partial_folder(folder.parent / "store").exists(), "it goes on when the file is mended"


@REFUSED
@pytest.mark.parametrize(
    ("spoil_table", "refused"),
    spoiled.TRAINING_TABLES,
    ids=[spoil.__name__ for spoil, _ in spoiled.TRAINING_TABLES],
)
def test_a_bad_training_table_is_refused(spoil_table, refused, folder, capfd):
    spoil_table(folder)
    assert re.search(refused, refusal(folder, capfd))
    assert [p.name for p in folder.parent.iterdir()] == ["competition"], "nothing was begun"


@REFUSED
def test_the_training_refuses_likewise(folder, capfd):
    kind = next(k for k in FILES if k.name == "eeg in volts")
    path = spoil(kind, folder)
    out = folder.parent
    arguments = ["train", "--data", str(folder), "--store", str(out / "store")]
    assert main([*arguments, "--recipe", "demo", "--run", str(out / "run")]) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1
    assert f"{path}: the median channel spans" in said[0]
    assert not (out / "store").exists()
    written = {p.name for p in (out / "run").rglob("*")}
    assert written <= {"training.ipynb", "training.html", "recipe.json"}
