"""Properties that hold for any input: tables, recipes, bytes of files."""

import contextlib
import io
import json

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hbac_utils.data.competition import Competition
from hbac_utils.data.readers import read_eeg, read_eeg_lenient
from hbac_utils.inference.predict import COLUMNS, Prediction
from hbac_utils.inference.submission import check_submission, write_submission
from hbac_utils.labels import CLASSES, VOTE_COLUMNS
from hbac_utils.montage import CHANNELS
from hbac_utils.recipe import load_recipe, override, parse_recipe, save_recipe
from hbac_utils.utils.errors import InputError

# the same examples each time, and nothing written down: a failure is the code's, not the day's
TRIED = settings(
    derandomize=True, database=None, deadline=None, max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip


@contextlib.contextmanager
def allowing_refusal():
    """Let an InputError pass, if it is one line."""
    try:
        yield
    except InputError as error:
        check_line(error)


def check_line(error: InputError) -> None:
    assert len(str(error).strip().splitlines()) == 1


# -- tables ----------------------------------------------------------------------------

WRITABLE = st.characters(codec="utf-8", exclude_characters="\r\n\0", exclude_categories=["Cs"])
IDS = st.one_of(
    st.integers(-(2**70), 2**70).map(str), st.floats().map(str), st.text(WRITABLE, max_size=8)
)
CELLS = st.one_of(IDS, st.just(""), st.just("NaN"))


@pytest.mark.fault("any test table, predicted")
@TRIED
@given(
    ids=st.lists(IDS, max_size=6),
    names=st.lists(st.sampled_from(["patient_id", "spectrogram_id", "note", " EEG_ID "])),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["utf-8", "utf-8-sig"]),
    data=st.data(),
)
def test_any_test_table_gives_a_valid_submission(ids, names, end, mark, data, tmp_path):
    table = pd.DataFrame({"eeg_id": ids}, dtype=object)
    for i, name in enumerate(names):
        cells = data.draw(st.lists(CELLS, min_size=len(ids), max_size=len(ids)))
        table.insert(i % 2, name, cells, allow_duplicates=True)
    raw = table.to_csv(index=False, lineterminator=end)
    (tmp_path / "test.csv").write_bytes(raw.encode(mark))
    competition = Competition(tmp_path)
    found = competition.test["eeg_id"].drop_duplicates()
    if " EEG_ID " not in names:
        wanted = [i for i in ids if i.strip() or any(c.strip() for c in table.T[ids.index(i)])]
        assert list(map(str, found)) == list(dict.fromkeys(wanted))
    uniform = pd.DataFrame(1 / 6, index=range(len(found)), columns=COLUMNS)
    uniform.insert(0, "eeg_id", found.to_numpy())
    path = write_submission(Prediction(uniform, {}), tmp_path / "out")
    check_submission(path, competition)


@pytest.mark.fault("any training table, accepted or refused")
@TRIED
@given(data=st.data())
def test_any_training_table_is_consistent_or_refused(data, competition, tmp_path):
    table = competition.train.head(4).astype(object)
    value = st.sampled_from([*CLASSES, 0, 1, -1, 0.5, 1e300, "inf", True, 2**63, 2**64])
    for _ in range(data.draw(st.integers(1, 3))):
        column = data.draw(st.sampled_from(list(table)))
        rows = data.draw(st.sets(st.integers(0, 3), min_size=1))
        table.loc[list(rows), column] = data.draw(CELLS | value)
    table.to_csv(tmp_path / "train.csv", index=False)
    with allowing_refusal():
        train = Competition(tmp_path).train
        assert len(train) == 4
        whole = train.select_dtypes("int64")
        assert len(list(whole)) == 12
        assert (whole >= 0).all(axis=None)
        votes = train[list(VOTE_COLUMNS)].to_numpy()
        assert [CLASSES[i] for i in votes.argmax(axis=1)] == train["expert_consensus"].tolist()
        assert (train.groupby("eeg_id")["patient_id"].nunique() == 1).all()


# -- recipes ---------------------------------------------------------------------------

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.dates()
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.one_of(st.text(max_size=6), st.integers()), inner, max_size=3)
    ),
    max_leaves=8,
)


@st.composite
def changed_recipes(draw) -> object:
    """A recipe of the kit of which one value is exchanged, or one key added or taken away."""
    name = draw(st.sampled_from(["compact", "multiview", "vipeegnet", "paper-yolov8"]))
    place = content = json.loads(load_recipe(name).model_dump_json())
    while isinstance(place, dict | list) and place:
        inside = place
        key = draw(st.sampled_from(list(place) if isinstance(place, dict) else range(len(place))))
        place = place[key] if draw(st.booleans()) else None
    if draw(st.booleans()):
        inside[key] = draw(DOCUMENTS | st.integers(0, 5) | st.floats(0, 1))
    elif isinstance(inside, dict) and draw(st.booleans()):
        inside[draw(st.text(max_size=6))] = draw(SCALARS)
    else:
        del inside[key]
    return content


@pytest.mark.fault("any recipe, accepted or refused")
@TRIED
@given(content=st.one_of(DOCUMENTS, changed_recipes()))
def test_any_document_is_a_recipe_or_refused(content, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    with allowing_refusal():
        recipe = load_recipe(path)
        save_recipe(recipe, tmp_path / "saved.json")
        assert load_recipe(tmp_path / "saved.json") == recipe
        assert parse_recipe(json.loads(recipe.model_dump_json())) == recipe


@pytest.mark.fault("any recipe, accepted or refused")
@pytest.mark.parametrize(
    "text", ["&a [*a]", "[" * 1000, "2024-02-30", "!!python/object/apply:os.getcwd []", "\0\xff"]
)
def test_what_is_not_yaml_of_a_recipe_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(InputError) as caught:
        load_recipe(tmp_path / "recipe.yaml")
    check_line(caught.value)


@pytest.mark.parametrize("number", [float("inf"), -float("inf"), float("nan")])
@pytest.mark.parametrize("key", ["weight_decay", "augment.gain", "stages.0.learning_rate"])
def test_a_number_without_end_is_refused(key, number):
    with pytest.raises(InputError, match=key):
        override(load_recipe("compact"), {key: number})


# -- files -----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["snappy", None])
def good_file(request) -> bytes:
    """Three seconds more than an EEG's least, with statistics."""
    noise = 30 * np.random.default_rng(0).standard_normal((2600, len(CHANNELS)))
    buffer = io.BytesIO()
    table = pd.DataFrame(noise.astype(np.float32), columns=CHANNELS)
    table.to_parquet(buffer, compression=request.param)
    return buffer.getvalue()


@pytest.mark.fault("any damage of a file, refused or read")
@TRIED
@given(data=st.data())
def test_a_damaged_file_is_refused_or_read(data, good_file, tmp_path):
    content = bytearray(good_file)
    # half of the damage into the footer, where it does the most
    places = st.integers(0, len(content) - 1) | st.integers(1, 9000).map(lambda i: len(content) - i)
    for place in data.draw(st.lists(places, min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "1.parquet"
    path.write_bytes(content[: data.draw(st.none() | st.integers(0, len(content)))])
    with allowing_refusal():
        assert read_eeg(path).shape == (2600, 19)
    with allowing_refusal():
        eeg, _ = read_eeg_lenient(path)
        assert eeg.shape == (2600, 19)
        assert eeg.dtype == np.float32
        assert not np.isinf(eeg).any()
