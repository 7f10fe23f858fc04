"""Kernel metadata: the repository's files are valid, and what Kaggle would misread is refused."""

import json

import pytest

from hbac_utils.data.layout import SLUG
from hbac_utils.kernels.build import metadata_path
from hbac_utils.kernels.metadata import load_metadata
from hbac_utils.utils.errors import InputError


@pytest.fixture
def write(tmp_path):
    """Write the inference kernel's metadata with changes (``...`` removes a key)."""

    def write(**changes):
        content = json.loads(metadata_path("inference").read_text()) | changes
        path = tmp_path / "kernel-metadata.json"
        path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))
        return path

    return write


@pytest.mark.parametrize("name", ["inference", "training", "eda"])
def test_metadata_of_the_repository(name):
    metadata = load_metadata(metadata_path(name))
    assert metadata.id == f"USERNAME/hbac-{name}"
    assert metadata.is_private
    assert not metadata.enable_internet
    assert metadata.enable_gpu == (name != "eda")
    assert metadata.machine_shape == ("" if name == "eda" else "NvidiaTeslaT4")
    assert metadata.competition_sources == (SLUG,)
    assert metadata.kernel_sources == (("USERNAME/hbac-training",) if name == "inference" else ())
    assert (metadata_path(name).parent / metadata.code_file).is_file()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"enable_gpuu": True}, "unknown key enable_gpuu"),
        ({"enable_internet": ...}, "missing key enable_internet"),
        ({"enable_gpu": "true"}, "enable_gpu: Input should be a valid boolean"),
        ({"dataset_sources": "alice/foo"}, "dataset_sources: Input should be a valid tuple"),
        ({"enable_internet": True}, "a notebook with internet cannot be submitted"),
        ({"title": "abcd", "id": "USERNAME/abcd"}, "title: String should have at least 5"),
        ({"title": "a" * 51, "id": f"USERNAME/{'a' * 51}"}, "title: String should have at most 50"),
        ({"title": "a b c", "id": "USERNAME/a-b"}, "id: String should match pattern"),
        ({"title": "Something Else"}, "the slug hbac-inference is not the title's"),
        ({"id": "hbac-inference"}, "id: String should match pattern"),
        ({"id": "USERNAME/hbac-inference/3"}, "id: String should match pattern"),
        ({"language": "julia"}, "language: Input should be 'python'"),
        ({"kernel_type": "script"}, "kernel_type: Input should be 'notebook'"),
        ({"model_sources": ["keras/a/keras/b"]}, "model_sources.0: String should match"),
        ({"dataset_sources": ["foo"]}, "dataset_sources.0: String should match"),
        ({"kernel_sources": ["foo"]}, "kernel_sources.0: String should match"),
        ({"competition_sources": [f"c/{SLUG}"]}, "competition_sources.0"),
        ({"competition_sources": []}, f"attach {SLUG}"),
        ({"kernel_sources": []}, "attach the training kernel, whose output holds the weights"),
        ({"docker_image_pinning_type": "pinned"}, "docker_image_pinning_type: Input should be"),
        (
            {"machine_shape": "NvidiaTeslaP100"},
            "NvidiaTeslaP100 is no machine with a GPU, or retired; Kaggle has NvidiaTeslaT4",
        ),
        ({"machine_shape": "nvidiateslat4"}, "nvidiateslat4 is no machine with a GPU"),
        ({"machine_shape": "TpuV5E8"}, "TpuV5E8 is no machine with a GPU"),
        ({"enable_gpu": False}, "NvidiaTeslaT4 has a GPU; set enable_gpu to true"),
        ({"enable_tpu": True}, "enable_tpu: the notebooks use GPUs; set it to false"),
        (
            {"kernel_sources": [], "dataset_sources": ["USERNAME/hbac-utils"]},
            "attach the training kernel, whose output holds the weights",
        ),
        ({"code_file": "notebooks/inference.py"}, "code_file: String should match pattern"),
    ],
)
def test_wrong_metadata_is_refused(write, changes, reason):
    with pytest.raises(InputError, match=r"kernel-metadata\.json: ") as refused:
        load_metadata(write(**changes))
    assert reason in str(refused.value)


def test_missing_or_damaged_metadata_is_refused(tmp_path):
    path = tmp_path / "kernel-metadata.json"
    with pytest.raises(InputError, match="no such kernel metadata"):
        load_metadata(path)
    path.write_text('{"id": ')
    with pytest.raises(InputError, match="not JSON"):
        load_metadata(path)


def test_username_replaces_the_placeholder_only(write):
    metadata = load_metadata(write(kernel_sources=["USERNAME/hbac-training", "bob/hbac-other"]))
    own = metadata.for_user("alice")
    assert own.id == "alice/hbac-inference"
    assert own.kernel_sources == ("alice/hbac-training", "bob/hbac-other")
    with pytest.raises(InputError, match="the kernel belongs to bob, and the credentials are ali"):
        load_metadata(write(id="bob/hbac-inference")).for_user("alice")


def test_another_title_makes_another_kernel():
    metadata = load_metadata(metadata_path("training"), "hbac sweep 007")
    assert metadata.id == "USERNAME/hbac-sweep-007"
    with pytest.raises(InputError, match="title: String should have at most 50"):
        load_metadata(metadata_path("training"), "a" * 51)
