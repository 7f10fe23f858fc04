"""Files that somebody has tampered with, or made to do harm: refused, and nothing in them runs."""

import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import types
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import h5py
import nbformat
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from papermill.translators import translate_parameters

from hbac_utils.data.store import open_store
from hbac_utils.ensembling.blend import load_blend
from hbac_utils.ensembling.members import read_member
from hbac_utils.kernels.api import KaggleError
from hbac_utils.kernels.download import unpack
from hbac_utils.kernels.metadata import load_metadata
from hbac_utils.kernels.push import parse_settings
from hbac_utils.models.saved import check_saved
from hbac_utils.notebooks import FOLDER, export_html
from hbac_utils.recipe import load_recipe, override, parse_recipe
from hbac_utils.sweeps.config import load_sweep
from hbac_utils.training.runs import fold_models, read_metrics, read_oof, read_recipe, run_digest
from hbac_utils.utils.config_io import LARGEST, read_document
from hbac_utils.utils.errors import InputError
from hbac_utils.utils.files import replacing

pytestmark = pytest.mark.fault("tampered or hostile file")


@pytest.fixture
def canary(tmp_path):
    """A folder that an attack would make; it must not be there in the end."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "the attack ran"


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


def test_the_bombs_go_off_where_nothing_is_in_their_way(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "canary")))
    assert (tmp_path / "canary").is_dir()


def refused(path: Path, *reasons: str):
    """Expect an error of one line that names the file."""
    return pytest.raises(InputError, match=f"^[^\n]*{path.name}[^\n]*{'|'.join(reasons)}[^\n]*$")


# -- a run: hashes -------------------------------------------------------------


@pytest.fixture
def copied(run, tmp_path) -> Path:
    """A run that may be spoiled."""
    return shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("tensorboard"))


def vouch(run: Path) -> None:
    """Write the hashes anew, as a thorough attacker would."""
    from hbac_utils.training.runs import _sha256

    path = run / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["sha256"] = {name: _sha256(run / name) for name in metrics["sha256"]}
    path.write_text(json.dumps(metrics))


def test_a_run_vouches_for_its_recipe_its_models_and_its_predictions(run):
    assert set(read_metrics(run)["sha256"]) == {
        "recipe.json", "fold0/model.keras", "fold1/model.keras", "oof.parquet",
    }  # fmt: skip
    assert list(fold_models(run)) == [0, 1]


@pytest.mark.parametrize(
    ("name", "reader"),
    [
        ("recipe.json", read_recipe),
        ("fold1/model.keras", fold_models),
        ("oof.parquet", read_oof),
        ("oof.parquet", read_member),
    ],
)
@pytest.mark.parametrize("harm", ["changed", "missing", "not vouched for"])
def test_a_changed_file_is_refused(copied, name, reader, harm):
    path = copied / name
    if harm == "changed":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif harm == "missing":
        path.unlink()
    else:
        metrics = json.loads((copied / "metrics.json").read_text())
        del metrics["sha256"][name]
        (copied / "metrics.json").write_text(json.dumps(metrics))
    says = {"changed": "SHA-256", "missing": "missing", "not vouched for": "does not vouch"}
    with refused(path, says[harm]):
        reader(copied)


def test_prediction_refuses_before_any_model_is_loaded(copied, canary, monkeypatch):
    from hbac_utils.inference import predict as prediction

    monkeypatch.setattr(prediction, "load_classifier", lambda path: canary.mkdir())
    for name in ("fold1/model.keras", "recipe.json"):
        with (copied / name).open("ab") as file:
            file.write(b" ")
        with refused(copied / name, "SHA-256"):
            prediction.open_run(copied)


def test_a_model_that_was_put_beside_the_others_is_refused(copied):
    shutil.copytree(copied / "fold0", copied / "fold7")
    with refused(copied / "fold7" / "model.keras", "does not vouch"):
        fold_models(copied)


def test_a_folder_beside_the_folds_is_none_of_them(copied):
    shutil.copytree(copied / "fold0", copied / "fold0-before")
    assert list(fold_models(copied)) == [0, 1]


def test_hashes_of_files_elsewhere_are_not_followed(copied):
    metrics = json.loads((copied / "metrics.json").read_text())
    metrics["sha256"]["../run/fold0/model.keras"] = "0" * 64
    (copied / "metrics.json").write_text(json.dumps(metrics))
    assert list(fold_models(copied)) == [0, 1]


def test_what_was_killed_before_the_metrics_were_written_is_mended_by_training(
    copied, store, tiny_recipe
):
    from hbac_utils.training.trainer import train

    before = (copied / "metrics.json").read_bytes()
    oof = read_oof(copied)
    oof.iloc[::-1].to_parquet(copied / "oof.parquet")  # written, and then the end
    with refused(copied / "oof.parquet", "SHA-256"):
        read_oof(copied)
    train(tiny_recipe, store, copied)
    assert (copied / "metrics.json").read_bytes() == before
    pd.testing.assert_frame_equal(read_oof(copied), oof)


def test_a_full_disk_leaves_the_old_recipe_and_metrics(copied, store, monkeypatch):
    from hbac_utils import recipe
    from hbac_utils.training import runs

    def no_room(path):
        raise OSError(28, "No space left on device", str(path))

    before = {name: (copied / name).read_bytes() for name in ("recipe.json", "metrics.json")}
    monkeypatch.setattr(recipe, "replacing", no_room)
    monkeypatch.setattr(runs, "replacing", no_room)
    with pytest.raises(OSError, match="No space"):
        recipe.save_recipe(read_recipe(copied), copied / "recipe.json")
    with pytest.raises(OSError, match="No space"):
        runs.summarize(copied, store)
    assert {name: (copied / name).read_bytes() for name in before} == before


def test_another_model_makes_another_run_to_a_blend(copied):
    """Even one that the metrics vouch for: the blend holds a hash of them."""
    before = run_digest(copied)
    shutil.copy(copied / "fold0" / "model.keras", copied / "fold1" / "model.keras")
    vouch(copied)
    assert list(fold_models(copied)) == [0, 1]
    assert run_digest(copied) != before


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"{", b"[" * 100_000, b"\xff\xfe", pickle.dumps({})]
)
def test_metrics_that_are_none_are_refused(copied, content):
    (copied / "metrics.json").write_bytes(content)
    with refused(copied / "metrics.json", "not JSON", "damaged"):
        fold_models(copied)


# -- a model ---------------------------------------------------------------------


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_model(path: Path, content: dict[str, bytes], compressed: bool = False) -> Path:
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def with_layer(path: Path, layer: dict) -> None:
    """Put a layer at the end of a saved model."""
    content = members(path)
    config = json.loads(content["config.json"])
    layers = config["config"]["layers"]
    last = layers[-1]
    layer = {"name": "last", "inbound_nodes": last["inbound_nodes"], "build_config": None} | layer
    layers.append(layer)
    config["config"]["output_layers"] = ["last", 0, 0]
    write_model(path, content | {"config.json": json.dumps(config).encode()})


def marshalled(canary: Path) -> dict:
    """A Lambda layer as Keras writes one, which makes a folder when it is called."""
    import keras

    layer = keras.layers.Lambda(eval(f"lambda x: (__import__('os').mkdir({str(canary)!r}), x)[1]"))
    return keras.saving.serialize_keras_object(layer)


ATTACKS = {
    "a lambda of bytecode": marshalled,
    "a function of os": lambda canary: {
        "class_name": "function", "module": "os", "registered_name": "mkdir",
        "config": "mkdir",
    },
    "a class of os": lambda canary: {
        "class_name": "mkdir", "module": "os", "registered_name": None,
        "config": {"path": str(canary)},
    },
    "a call of builtins": lambda canary: {
        "class_name": "exec", "module": "builtins", "registered_name": None,
        "config": f"__import__('os').mkdir({str(canary)!r})",
    },
    "CVE-2025-1550": lambda canary: {
        "class_name": "Lambda", "module": "keras.layers", "registered_name": None,
        "config": {
            "name": "last", "arguments": {"path": str(canary)},
            "function": {"class_name": "function", "module": "os", "config": "mkdir",
                         "registered_name": "mkdir"},
        },
    },
    "CVE-2025-8747": lambda canary: {
        "class_name": "Lambda", "module": "keras.layers", "registered_name": None,
        "config": {
            "name": "last", "arguments": {"origin": canary.as_uri(), "cache_dir": str(canary)},
            "function": {"class_name": "function", "module": "keras.utils", "config": "get_file",
                         "registered_name": "get_file"},
        },
    },
    "CVE-2025-9906": lambda canary: {
        "class_name": "function", "module": "keras.config", "registered_name": None,
        "config": "enable_unsafe_deserialization",
    },
    "a saved model of TensorFlow": lambda canary: {
        "class_name": "TFSMLayer", "module": "keras.layers", "registered_name": None,
        "config": {"name": "last", "filepath": str(canary)},
    },
    "a vocabulary elsewhere": lambda canary: {
        "class_name": "StringLookup", "module": "keras.layers", "registered_name": None,
        "config": {"name": "last", "vocabulary": "/etc/passwd"},
    },
    "a registered name of another's": lambda canary: {
        "class_name": "Dense", "module": "keras.layers", "registered_name": "evil>Layer",
        "config": {"units": 6},
    },
    "a module of the kit, and not a layer": lambda canary: {
        "class_name": "os", "module": "hbac_utils.models.augmentation", "registered_name": "os",
        "config": {},
    },
    "an initializer that is none": lambda canary: {
        "class_name": "Dense", "module": "keras.layers", "registered_name": None,
        "config": {"units": 6, "kernel_initializer": {
            "class_name": "Popen", "module": "subprocess", "registered_name": None,
            "config": {"args": ["mkdir", str(canary)]}}},
    },
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_model_that_names_what_no_recipe_uses_is_refused(copied, canary, attack):
    from hbac_utils.inference.predict import open_run

    path = copied / "fold0" / "model.keras"
    with_layer(path, ATTACKS[attack](canary))
    with refused(path, "SHA-256"):
        open_run(copied)
    vouch(copied)
    with refused(path, "which no recipe uses"):
        open_run(copied)


def with_weights(path: Path, spoil) -> None:
    """Change the weights of a saved model: the file, and the name of an array in it."""
    content = members(path)
    buffer = io.BytesIO(content["model.weights.h5"])
    with h5py.File(buffer, "r+") as weights:
        arrays = []
        weights.visititems(
            lambda name, part: arrays.append(name) if isinstance(part, h5py.Dataset) else None
        )
        spoil(weights, arrays[0])
    write_model(path, content | {"model.weights.h5": buffer.getvalue()})


def external_link(weights, name):
    del weights[name]
    weights[name] = h5py.ExternalLink("/etc/elsewhere.h5", "/secret")


def external_data(weights, name):
    shape, dtype = weights[name].shape, weights[name].dtype
    del weights[name]
    weights.create_dataset(name, shape, dtype, external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])


def virtual_data(weights, name):
    shape, dtype = weights[name].shape, weights[name].dtype
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource("/etc/elsewhere.h5", "secret", shape)
    del weights[name]
    weights.create_virtual_dataset(name, layout)


def too_large(weights, name):
    del weights[name]
    weights.create_dataset(name, (1 << 40,), "f4", chunks=(1 << 20,))


def texts(weights, name):
    del weights[name]
    weights.create_dataset(name, (3,), h5py.string_dtype())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (external_link, "is a link"),
        (external_data, "lies in another file"),
        (virtual_data, "lies in another file"),
        (too_large, "not as Keras writes"),
        (texts, "not as Keras writes"),
    ],
)
def test_weights_that_are_not_all_in_the_file_are_refused(run, tmp_path, spoil, reason):
    path = Path(shutil.copy(run / "fold0" / "model.keras", tmp_path))
    with_weights(path, spoil)
    with refused(path, reason):
        check_saved(path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content | {"../../evil": b"x"}, r"it holds '\.\./\.\./evil'"),
        (lambda content: content | {"/etc/evil": b"x"}, "it holds '/etc/evil'"),
        (lambda content: content | {"assets/vocabulary.txt": b"x"}, "it holds 'assets"),
        (lambda content: {"config.json": content["config.json"]}, "missing or twice"),
        (lambda content: content | {"config.json": b"[" * 100_000}, "recursion"),
        (lambda content: content | {"config.json": b"\xff"}, "decode"),
        (lambda content: content | {"model.weights.h5": b"nothing"}, "file signature"),
    ],
)
def test_an_archive_of_other_files_is_refused(run, tmp_path, change, reason):
    path = write_model(tmp_path / "model.keras", change(members(run / "fold0" / "model.keras")))
    with refused(path, reason):
        check_saved(path)


def test_a_compressed_archive_is_refused(run, tmp_path):
    """So that no file is larger in memory than on the disk."""
    content = members(run / "fold0" / "model.keras")
    with refused(write_model(tmp_path / "model.keras", content, compressed=True), "is compressed"):
        check_saved(tmp_path / "model.keras")


def test_a_model_as_a_gpu_trains_it_is_not_refused(tiny_recipe, tmp_path):
    """In half precision, and with an optimizer that averages weights."""
    import keras

    from hbac_utils.models.classifier import build_classifier, compile_classifier, load_classifier

    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = build_classifier(tiny_recipe)
        compile_classifier(model, keras.optimizers.AdamW(1e-3, use_ema=True))
        model.optimizer.build(model.trainable_variables)
        model.save(tmp_path / "model.keras")
    finally:
        keras.config.set_dtype_policy(policy)
    assert b"mixed_float16" in members(tmp_path / "model.keras")["config.json"]
    load_classifier(tmp_path / "model.keras")


# -- pickles ---------------------------------------------------------------------


def object_array(path: Path, canary: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.array([Bomb(canary)], dtype=object), allow_pickle=True)


def plain_pickle(path: Path, canary: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb(canary)))


def extension_type(path: Path, canary: Path) -> None:
    """Write a parquet file whose schema has a pickled type: CVE-2023-47248."""
    kind = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": pickle.dumps(Bomb(canary)),
    }
    field = pa.field("label_id", pa.int64(), metadata=kind)
    pq.write_table(pa.table([pa.array([1, 2])], schema=pa.schema([field])), path)


@pytest.mark.parametrize("spoil", [plain_pickle, object_array])
def test_a_pickle_in_the_place_of_a_runs_file_is_refused(copied, canary, spoil):
    readers = {
        "recipe.json": [read_recipe],
        "oof.parquet": [read_oof, read_member],
        "fold0/model.keras": [lambda run: check_saved(fold_models(run)[0])],
    }
    for name in readers:
        spoil(copied / name, canary)
    vouch(copied)
    for name, known in readers.items():
        for reader in known:
            with refused(copied / name):
                reader(copied)


def test_a_pickled_type_in_a_parquet_file_is_not_read(copied, canary):
    extension_type(copied / "oof.parquet", canary)
    vouch(copied)
    assert read_oof(copied)["label_id"].tolist() == [1, 2]
    with refused(copied / "oof.parquet", "missing column"):
        read_member(copied)


@pytest.mark.parametrize("name", ["eeg.npy", "windows.parquet", "sources.parquet", "store.json"])
@pytest.mark.parametrize("spoil", [plain_pickle, object_array])
def test_a_pickle_in_the_place_of_a_stores_file_is_refused(store, tmp_path, canary, name, spoil):
    # the recordings are large, and not of interest here
    copied = shutil.copytree(store.path, tmp_path / "store", copy_function=os.symlink)
    (copied / name).unlink()
    spoil(copied / name, canary)
    with refused(copied / name, "damaged"):
        open_store(copied)


@pytest.mark.parametrize("spoil", [plain_pickle, object_array])
def test_a_pickle_in_the_place_of_kept_labels_is_not_read(tmp_path, canary, spoil):
    from hbac_utils.training.trainer import _soft_votes

    spoil(tmp_path / "labels1.npy", canary)
    stage = types.SimpleNamespace(relabel=object())
    bench = types.SimpleNamespace(recipe=types.SimpleNamespace(stages=[stage, stage]))
    with refused(tmp_path / "labels1.npy", "damaged"):
        _soft_votes(bench, None, None, 0, tmp_path, 1)


def test_a_pickle_in_kept_progress_is_not_read(tmp_path, canary):
    from hbac_utils.training.callbacks import Watch

    bombs = np.array([Bomb(canary)], dtype=object)
    np.savez(tmp_path / "progress.npz", records=bombs, allow_pickle=True)
    with refused(tmp_path / "progress.npz", "damaged"):
        Watch.resume(types.SimpleNamespace(folder=tmp_path))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def emptied(path):
    path.write_bytes(b"")


def bytes_turned(path):
    content = bytearray(path.read_bytes())
    content[200:300] = bytes(255 - byte for byte in content[200:300])
    path.write_bytes(content)


def of_other_arrays(path):
    with replacing(path) as file:
        np.savez(file, something=np.zeros(3))


@pytest.mark.parametrize("damage", [cut, emptied, bytes_turned, of_other_arrays])
def test_kept_progress_that_is_damaged_is_refused_in_one_line(tmp_path, damage):
    from hbac_utils.training.callbacks import Watch

    kept = tmp_path / "progress.npz"
    np.savez(kept, records=np.array("{}"), last_prediction=np.zeros((100, 6)))
    damage(kept)
    with refused(kept, "damaged .*; remove .* to train the fold anew"):
        Watch.resume(types.SimpleNamespace(folder=tmp_path))


# -- documents -------------------------------------------------------------------

LAUGHS = "a: &a [x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 8)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"!!python/object/apply:os.mkdir [CANARY]", "could not determine a constructor"),
        (b"name: !!python/name:os.system", "could not determine a constructor"),
        (b"name: !!python/object/new:os.mkdir {args: [CANARY]}", "could not determine"),
        (LAUGHS.encode(), r"\*a is an alias"),
        (b"[" * 1000, "nested too deeply"),
        (b'{"a":' * 1000, "nested too deeply"),
        (b"name: \xff\xfe", "not YAML"),
        (b"name: \x00", "not YAML"),
        ("name: tiny".encode("utf-16"), "not YAML"),
        (b"seed: " + b"9" * 5000, "not YAML"),
        (b"name: 2024-02-30", "not YAML"),
        (b"name: !!bool perhaps", "not YAML"),
        (b"name: " + b"x" * LARGEST, "larger than"),
        (b"", "valid dictionary"),
        (b"42", "valid dictionary"),
        (b"a: 1\n? [b]\n: 2", "not YAML"),
    ],
    ids=lambda value: repr(value)[:30],
)
@pytest.mark.parametrize("load", [load_recipe, load_sweep, load_blend])
def test_a_hostile_document_costs_one_line(tmp_path, canary, load, content, reason):
    path = tmp_path / "document.yaml"
    path.write_bytes(content.replace(b"CANARY", str(canary).encode()))
    with refused(path, reason):
        load(path)


def test_a_document_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "document.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: tiny\n")
    assert read_document(path) == {"name": "tiny"}


@pytest.mark.parametrize("content", ["{", '{"a":' * 5000, '{"a": NaN}', "{}"], ids=len)
def test_a_blend_as_a_parameter_that_is_none_costs_one_line(content):
    with pytest.raises(InputError, match="^blend[^\n]*$"):
        load_blend(content)


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"\xff", b"[]"], ids=len)
def test_hostile_metadata_of_a_kernel_cost_one_line(tmp_path, content):
    path = tmp_path / "kernel-metadata.json"
    path.write_bytes(content)
    with refused(path):
        load_metadata(path)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), "inf", "nan"])
def test_numbers_in_a_recipe_are_finite(tiny_recipe, value):
    with pytest.raises(InputError, match="finite|greater"):
        override(tiny_recipe, {"stages.0.learning_rate": value})


# -- names -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/evil", "a/b", "<script>", "tiny\n", "", "-", "a\u202eb", "a\0", None]
)
def test_a_recipe_has_a_name_that_a_folder_and_a_page_may_have(tiny_recipe, name):
    with pytest.raises(InputError, match="name: "):
        parse_recipe(tiny_recipe.model_dump(mode="json") | {"name": name})


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "<script>", "a/b"])
def test_a_sweep_has_such_a_name_too(tmp_path, name):
    content = {"name": name, "recipe": "compact", "grid": {"dropout": [0, 0.5]}}
    (tmp_path / "sweep.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="name: "):
        load_sweep(tmp_path / "sweep.json")


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "{tmp}/evil", "../evil/", "a/b/../../../evil"]
)
def test_an_archive_unpacks_into_its_folder_only(tmp_path, name):
    archive, folder = tmp_path / "a" / "archive.zip", tmp_path / "a" / "b" / "folder"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as content:
        content.writestr("train.csv", "eeg_id")
        content.writestr(name.format(tmp=tmp_path), "x")
    with pytest.raises(KaggleError, match="would lie outside the folder"):
        unpack(archive, folder)
    assert not list(tmp_path.rglob("evil"))


def test_a_link_in_an_archive_is_unpacked_as_a_file(tmp_path):
    """So that a later member cannot be written through it."""
    link = zipfile.ZipInfo("outside")
    link.external_attr = 0o120777 << 16
    folder = tmp_path / "folder"
    folder.mkdir()
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as content:
        content.writestr(link, str(tmp_path))
    unpack(tmp_path / "archive.zip", folder)
    assert not (folder / "outside").is_symlink()
    (folder / "outside").unlink()
    (folder / "outside").symlink_to(tmp_path)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as content:
        content.writestr("outside/evil", "x")
    with pytest.raises(KaggleError, match="would lie outside the folder"):
        unpack(tmp_path / "archive.zip", folder)
    assert not (tmp_path / "evil").exists()


def test_an_archive_whose_bytes_cannot_be_unpacked_is_damaged(tmp_path):
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as content:
        content.writestr("train.csv", "eeg_id\n" * 1000)
    data = bytearray(archive.read_bytes())
    data[39:44] = b"\xff" * 5  # the first bytes after the header and the name
    archive.write_bytes(data)
    with pytest.raises(KaggleError, match="was damaged"):
        unpack(archive, tmp_path)
    assert not archive.exists()


# -- parameters ------------------------------------------------------------------

TEXTS = [
    '"); import os #', "'); import os #", '"""', "'''", "\\", '\\\\"', "a\nimport os", "\r\n", "\0",
    "\u2028import os\u2029", "\u0085", "{run}", "%run x", "!mkdir x", "# x", "\N{BELL}", "${x}",
    "\\N{BELL}", "\\x41", "\U0001f9e0",
]  # fmt: skip
VALUES = [*TEXTS, TEXTS, {text: text for text in TEXTS}, {"a": [{"b": TEXTS}]}, 1e308, -0.0]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: ascii(value)[:20])
def test_a_parameter_arrives_as_the_value_that_it_is(value):
    code = translate_parameters("python3", "python", {"value": value}, "a comment")
    compiled = compile(code, "cell", "exec")
    assert compiled.co_names == ("value",), "a value is assigned, and nothing else done"
    names = {}
    exec(compiled, names)
    assert names["value"] == value


def test_numbers_that_are_none_arrive_as_such():
    value = [float("nan"), float("inf"), -float("inf")]
    names = {}
    exec(translate_parameters("python3", "python", {"value": value}, ""), names)
    assert [str(number) for number in names["value"]] == ["nan", "inf", "-inf"]


def test_a_setting_is_a_text_or_refused():
    notebook = FOLDER / "training.ipynb"
    settings = [f"run={text}" for text in TEXTS]
    assert [parse_settings(notebook, [each])["run"] for each in settings] == TEXTS
    for text in TEXTS:
        with pytest.raises(InputError, match="setting max_hours="):
            parse_settings(notebook, [f"max_hours={text}"])


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:os.mkdir [x]", LAUGHS, "{a: " * 1000], ids=len
)
def test_a_setting_in_hostile_yaml_is_refused(text):
    with pytest.raises(InputError, match="setting overrides="):
        parse_settings(FOLDER / "training.ipynb", [f"overrides={text}"])


# -- pages -----------------------------------------------------------------------

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
    table = pd.DataFrame({MARKUP: [MARKUP]}, [MARKUP])
    size = {"alt": MARKUP, "width": MARKUP, "height": MARKUP}
    outputs = [
        new_output("stream", name="stdout", text=MARKUP),
        new_output("display_data", data={"text/plain": MARKUP}),
        new_output("display_data", data={"text/html": table._repr_html_()}),
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
    # title, heading, code, stream, text, the table's three, error
    assert "".join(tags.texts).count("<script>alert(1)</script>") == 9


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


# -- folders of data -------------------------------------------------------------

VERBS = """
import sys
from hbac_utils.__main__ import main
data, run, other, out = sys.argv[1:]
main(["pack", "--data", data, "--out", out + "/store", "--jobs", "1"]) and sys.exit("pack")
main(["scores", run]) and sys.exit("scores")
main(["score", data + "/sub.csv", data + "/sub.csv", "--run", run]) and sys.exit("score")
main(["html", run]) and sys.exit("html")
main(["blend", run, other, "--data", data, "--out", out + "/blend"]) and sys.exit("blend")
"""


def test_no_verb_runs_what_lies_in_a_folder_of_data(own_competition, copied, canary, tmp_path):
    data, elsewhere = own_competition.path, tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = f"import os\nos.makedirs({str(canary)!r}, exist_ok=True)\n"
    for folder in (data, copied):
        for name in (
            "numpy.py", "pandas.py", "keras.py", "sitecustomize.py", "usercustomize.py",
            "conftest.py", "setup.py", "ipython_config.py", "jupyter_nbconvert_config.py",
            "hbac_utils/__init__.py", "hbac_utils/__main__.py", "fold0/__init__.py",
        ):  # fmt: skip
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(code)
        (folder / "x.pth").write_text(code.replace("\n", ";"))
        (folder / "matplotlibrc").write_text("backend: module://conftest\n")
        (folder / "recipes").mkdir()
        (folder / "recipes" / "compact.yaml").write_text("!!python/object/apply:os.mkdir [x]")
        cell = new_code_cell(code, execution_count=1)
        nbformat.write(new_notebook(cells=[cell]), folder / "executed.ipynb")
    oof = read_oof(copied)
    columns = [column for column in oof if column.endswith("_vote")]
    oof[columns] = oof[columns[::-1]].to_numpy()
    oof.to_parquet(tmp_path / "other.parquet")
    even = pd.read_csv(data / "test.csv")[["eeg_id"]].assign(**dict.fromkeys(columns, 1 / 6))
    even.to_csv(data / "sub.csv", index=False)
    done = subprocess.run(
        [sys.executable, "-c", VERBS, data, copied, tmp_path / "other.parquet", elsewhere],
        cwd=elsewhere, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert (elsewhere / "store" / "store.json").is_file()
    assert (elsewhere / "blend" / "blend.json").is_file()
    assert (copied / "executed.html").is_file()
