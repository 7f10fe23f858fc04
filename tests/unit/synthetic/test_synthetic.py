import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy.ndimage import gaussian_filter1d

from hbac_utils.data.competition import open_competition
from hbac_utils.data.layout import (
    FREQUENCIES,
    SAMPLING_RATE,
    SPECTROGRAM_COLUMNS,
    SPECTROGRAM_ROWS,
    TEST_COLUMNS,
    TRAIN_COLUMNS,
)
from hbac_utils.data.readers import read_eeg, read_spectrogram
from hbac_utils.labels import CLASSES, VOTE_COLUMNS, vote_fractions
from hbac_utils.metric import score
from hbac_utils.montage import CHANNELS, ELECTRODES, LEFT, RIGHT, derivation_matrix
from hbac_utils.synthetic import forward_model as head
from hbac_utils.synthetic import patterns, raters, spectra
from hbac_utils.synthetic import signal as canvas
from hbac_utils.synthetic import waveforms as courses
from hbac_utils.synthetic.plan import make_plan
from hbac_utils.synthetic.render import synthesize, truth_folder
from hbac_utils.synthetic.sessions import LEAD_IN
from hbac_utils.synthetic.signal import Canvas
from hbac_utils.utils.errors import InputError

# of the real tables (hms_facts.json): votes < 8 and votes ≥ 10, one row per EEG and vote vector
FACTS = {
    "few": ((0.2448, 0.1376, 0.0923, 0.0624, 0.1100, 0.3529), 0.7266, 0.1934),
    "many": ((0.0521, 0.1895, 0.1234, 0.0827, 0.0883, 0.4640), 0.1362, 0.6547),
}
WINDOWS_PER_EEG = {0.25: 1, 0.5: 3, 0.75: 7, 0.9: 13, 0.95: 20}
EEGS_PER_PATIENT = {0.25: 2, 0.5: 3, 0.75: 5, 0.9: 19, 0.95: 37}

CERTAIN = 3.0  # evidence; more than 99 % of the panel say yes
WANTED = {
    "Seizure": (6, CERTAIN, 0, 0),
    "LPD": (6, -CERTAIN, CERTAIN, CERTAIN),
    "GPD": (6, -CERTAIN, CERTAIN, -CERTAIN),
    "LRDA": (6, -CERTAIN, -CERTAIN, CERTAIN),
    "GRDA": (6, -CERTAIN, -CERTAIN, -CERTAIN),
}


# the head


def closed_form(sensors, source, moment):
    """Mosher, Leahy & Lewis (1999), doi:10.1109/10.748978: one sphere, without a series."""
    d = sensors - source
    distance = np.linalg.norm(d, axis=1)
    depth = source @ source
    f = distance * (distance + 1 - sensors @ source)
    c1 = (2 * (d @ source) / distance**3 + 1 / distance - 1) / depth
    c2 = (2 / distance**3 + (distance + 1) / f) / depth
    return (c1 - c2 * (sensors @ source)) * (source @ moment) + c2 * depth * (sensors @ moment)


def test_without_shells_the_series_is_the_closed_form():
    rng = np.random.default_rng(0)
    sensors = rng.normal(size=(20, 3))
    sensors /= np.linalg.norm(sensors, axis=1, keepdims=True)
    source, moment = np.array([0.1, 0.5, 0.4]), np.array([0.3, -1.0, 2.0])
    factors = head.shell_factors(150, conductivities=(1, 1, 1))
    ours = head.potential(sensors, source[None], moment[None], factors)[:, 0]
    np.testing.assert_allclose(ours, closed_form(sensors, source, moment), atol=1e-10)


def test_shell_factors_solve_the_boundary_conditions():
    # potential A r^n + B r^-(n+1) in each shell; continuous, with continuous current
    (r1, r2, _), (s1, s2, s3) = head.RADII, head.CONDUCTIVITIES
    for n in (1, 2, 7):
        m = -(n + 1)
        system = np.array([
            [r1**n, -(r1**n), -(r1**m), 0, 0],
            [s1 * n * r1**n, -s2 * n * r1**n, -s2 * m * r1**m, 0, 0],
            [0, r2**n, r2**m, -(r2**n), -(r2**m)],
            [0, s2 * n * r2**n, s2 * m * r2**m, -s3 * n * r2**n, -s3 * m * r2**m],
            [0, 0, 0, n, m],
        ])  # fmt: skip
        source = np.array([-(r1**m), -s1 * m * r1**m, 0, 0, 0]) / s1
        *_, a, b = np.linalg.solve(system, source)
        alone = (2 * n + 1) / (n * s3)  # at the surface of one sphere that conducts like the scalp
        assert head.shell_factors()[n - 1] == pytest.approx((a + b) / alone, rel=1e-9)


def test_a_patch_is_largest_above_itself_and_mirrors():
    left = head.patch(head.positions()["C3"], 12)
    right = head.patch(head.positions()["C4"], 12)
    assert head.SENSORS[int(np.argmax(left))] == "C3"
    np.testing.assert_allclose(head.mirrored(left)[:19], right[:19], atol=1e-9)


# one signal, two rates


def test_slow_and_fast_are_one_signal():
    rng = np.random.default_rng(0)
    painting = Canvas(60, [(10, 40)])
    painting.add_noise(rng, np.eye(19)[:2], lambda f: 10 * np.exp(-f / 5))
    times = np.arange(0, 64, 1 / SAMPLING_RATE)
    painting.add(-canvas.MARGIN, np.eye(19)[:1], 20 * np.sin(2 * np.pi * 7 * times)[None])
    slow, (fast,) = painting.finish()
    begin = (10 + canvas.MARGIN) * canvas.SLOW_RATE
    np.testing.assert_allclose(fast[:2, ::4], slow[:2, begin : begin + 2000], atol=1.5)
    assert fast[0].std() == pytest.approx(np.hypot(20 / np.sqrt(2), fast[1].std()), rel=0.05)


def test_spectrogram_has_its_peak_and_its_power_where_the_sine_is():
    times = np.arange(0, 600 + 2 * canvas.MARGIN, 1 / canvas.SLOW_RATE)
    slow = np.zeros((19, len(times)), dtype=np.float32)
    slow[ELECTRODES.index("T3")] = 10 * np.sin(2 * np.pi * FREQUENCIES[40] * times)
    power = spectra.spectrogram(slow).reshape(SPECTROGRAM_ROWS, 4, 100)
    assert (power[:, 0].argmax(axis=1) == 40).all()
    assert (power[:, 1:] == 0).all()
    # T3 is in two of the four derivations of LL; the variance of a sine is A²/2
    variance = power[:, 0].sum(axis=1) * (FREQUENCIES[1] - FREQUENCIES[0])
    np.testing.assert_allclose(variance, 10**2 / 2 / 2, rtol=0.02)


# patterns


def simulate(name, seed, seconds=60):
    """Draw a typical episode and simulate it without anything else."""
    rng = np.random.default_rng([seed, CLASSES.index(name)])
    episode = patterns.draw_episode(rng, np.array(WANTED[name], dtype=float))
    fields = head.referenced(patterns.fields(episode), "CPz")
    labelled = seconds / 2 - 5, seconds / 2 + 5
    waves = courses.render_episode(episode, rng, seconds, labelled)
    return episode, 100 * waves.T @ fields


def amplitude(eeg, derivations):
    return np.abs(eeg @ derivation_matrix(derivations)).mean()


@pytest.mark.parametrize("name", WANTED)
def test_experts_call_a_typical_pattern_by_its_name(name):
    for seed in range(20):
        episode, _ = simulate(name, seed, seconds=12)
        true = raters.probabilities(episode.evidence)
        assert CLASSES[int(np.argmax(true))] == name
        assert true.max() > 0.8


@pytest.mark.parametrize("name", ["LPD", "LRDA"])
def test_lateralized_patterns_are_on_their_side(name):
    for seed in range(10):
        episode, eeg = simulate(name, seed)
        sides = {-1: amplitude(eeg, LEFT), 1: amplitude(eeg, RIGHT)}
        assert sides[episode.side] > 1.5 * sides[-episode.side]


@pytest.mark.parametrize("name", ["GPD", "GRDA"])
def test_generalized_patterns_are_on_both_sides(name):
    for seed in range(10):
        _, eeg = simulate(name, seed)
        assert 0.6 < amplitude(eeg, LEFT) / amplitude(eeg, RIGHT) < 1.7


def test_grda_is_frontal_in_most():
    front, back = ("Fp1-F3", "F3-C3", "Fp2-F4", "F4-C4"), ("C3-P3", "P3-O1", "C4-P4", "P4-O2")
    pages = [simulate("GRDA", seed)[1] for seed in range(30)]
    assert np.mean([amplitude(eeg, front) > amplitude(eeg, back) for eeg in pages]) > 0.6


def repetition(eeg):
    """Lag (seconds) after which the rectified, smoothed signal is most like itself."""
    trace = (eeg @ derivation_matrix(LEFT + RIGHT))[3000:9000]
    trace = trace[:, trace.std(axis=0).argmax()]
    power = gaussian_filter1d(np.maximum(trace - trace.mean(), 0), 0.05 * SAMPLING_RATE)
    power -= power.mean()
    own = np.correlate(power, power, "full")[len(power) :]
    lags = slice(int(0.2 * SAMPLING_RATE), int(2.5 * SAMPLING_RATE))
    return (lags.start + 1 + own[lags].argmax()) / SAMPLING_RATE


@pytest.mark.parametrize("name", ["LPD", "GPD", "LRDA", "GRDA"])
def test_steady_patterns_repeat_at_their_frequency(name):
    errors = []
    for seed in range(20):
        episode, eeg = simulate(name, seed)
        assert 0.4 < episode.frequency < raters.PACE_LIMITS[0]
        errors.append(abs(repetition(eeg) * episode.frequency - 1))
    # jitter and drift are part of the patterns, so not every one is exact
    assert np.median(errors) < 0.15


def test_spectrogram_peaks_at_the_frequency_of_the_pattern():
    ratios = []
    for seed in range(10):
        episode, eeg = simulate("GRDA", seed)
        slow = canvas.decimate(np.ascontiguousarray(eeg.T, dtype=np.float32))
        power = spectra.spectrogram(slow).reshape(-1, 4, 100)[8:22].mean(axis=(0, 1))
        ratios.append(FREQUENCIES[power.argmax()] / max(episode.frequency, FREQUENCIES[0]))
    assert 0.8 < np.median(ratios) < 1.2


def test_seizures_last_and_evolve():
    evolutions = []
    for seed in range(20):
        episode, eeg = simulate("Seizure", seed, seconds=60)
        evolutions.append(episode.evolution)
        assert np.abs(eeg[6000 - 1000 : 6000 + 1000]).max() > 10
        assert 1.5 < episode.frequency <= 25
    assert np.mean(evolutions) > 0.5


def render(seconds=60, seed=0, **changes):
    """Simulate a typical discharge train, some of its parameters replaced."""
    rng = np.random.default_rng(seed)
    wanted = np.array(WANTED["GPD"], dtype=float)
    calm = {"deformation": 0, "variation": 0, "accord": 1, "waxing": 0, "irregularity": 0,
            "wobble": 0, "trend": 0, "growth": 0, "ripening": 0, "intermittency": 0,
            "recruitment": 0, "lag": 0, "travel": 0, "fast": 0, "frequency": 1.0}  # fmt: skip
    episode = replace(patterns.draw_episode(rng, wanted), **calm | changes)
    labelled = seconds / 2 - 5, seconds / 2 + 5
    return courses.render_episode(episode, rng, seconds, labelled)


def spread_of_peaks(wave):
    peaks = np.abs(wave[2000:-2000]).reshape(-1, SAMPLING_RATE).max(axis=1)
    return peaks.std() / peaks.mean()


def test_discharges_change_their_form():
    assert spread_of_peaks(render(deformation=0.0)[0]) < 0.1
    assert spread_of_peaks(render(deformation=0.4)[0]) > 0.15


def test_hemispheres_have_forms_of_their_own():
    near, _, far = render(accord=1)
    np.testing.assert_allclose(near, far, atol=1e-5)
    near, _, far = render(accord=0.3, deformation=0.2)
    assert 0.1 < np.corrcoef(near, far)[0, 1] < 0.98


def test_an_evolution_need_not_be_straight():
    def course(**changes):
        wave = np.abs(render(**changes)[0][2000:-2000]).reshape(-1, SAMPLING_RATE).max(axis=1)
        size = np.log2(wave)
        straight = np.polyval(np.polyfit(np.arange(len(size)), size, 1), np.arange(len(size)))
        return np.std(size - straight)

    bends = [course(growth=2, wobble=0.5, seed=seed) for seed in range(5)]
    assert np.median(bends) > 2 * course(growth=2)


def test_muscles_tense_with_a_seizure():
    from hbac_utils.synthetic import artifacts

    signal = Canvas(100, [(0, 100)])
    artifacts.strain(signal, np.random.default_rng(0), 40, 70, 20.0)
    (eeg,) = signal.finish()[1]
    power = np.square(eeg).mean(axis=0).reshape(100, SAMPLING_RATE).mean(axis=1)
    assert power[50:65].mean() > 20 * power[:35].mean()


def test_a_session_has_its_seizures_muscles_and_its_transients(plan):
    from hbac_utils.synthetic import background
    from hbac_utils.synthetic import render as scene

    one = next(s for s in plan.scenes for stretch in s.stretches[0] if stretch.episode.contrast > 5)
    episode = replace(one.stretches[0][0].episode, contrast=10.0)

    def fast_power(tension):
        stretches = (replace(one.stretches[0][0], episode=replace(episode, tension=tension)),)
        changed = replace(one, stretches=(stretches, *one.stretches[1:]))
        eegs, _ = scene.render_scene(changed, np.random.default_rng(4))
        eeg = np.nan_to_num(eegs[0][:, :19])
        return np.square(np.diff(eeg, 2, axis=0)).mean()

    assert fast_power(300.0) > 5 * fast_power(0.0)

    class Counted(Canvas):
        waves = 0

        def add(self, begin, fields, courses):
            self.waves += 1
            super().add(begin, fields, courses)

    for transients, fewest, most in ((0.0, 0, 0), (10.0, 5, 40)):  # of 17 in 100 s
        calm = replace(one.background, transients=transients, spindles=0.0)
        canvas = Counted(100, [(0, 100)])
        background.paint_background(calm, canvas, "CPz", np.random.default_rng(0))
        assert fewest <= canvas.waves <= most


# experts


def test_votes_converge_to_the_true_probabilities():
    rng = np.random.default_rng(0)
    weighed = np.array([0.5, -0.4, 0.3, 0.2])
    votes = sum(raters.vote(rng, weighed, 20) for _ in range(500))
    np.testing.assert_allclose(votes / votes.sum(), raters.probabilities(weighed), atol=0.02)


def test_every_edge_case_is_where_one_question_is_even():
    for pair, question in {("LPD", "LRDA"): 2, ("GPD", "LPD"): 3, ("Seizure", "GRDA"): 1}.items():
        weighed = np.array(WANTED[pair[1]], dtype=float)
        weighed[question] = 0
        true = dict(zip(CLASSES, raters.probabilities(weighed), strict=True))
        assert true[pair[0]] == pytest.approx(true[pair[1]], abs=0.1)
        assert true[pair[0]] + true[pair[1]] > 0.95


# tables


@pytest.fixture(scope="module")
def plan():
    return make_plan(eegs=1500, patients=171, test_eegs=150, seed=0)


@pytest.fixture(scope="module")
def groups(plan):
    """One row per EEG and vote vector."""
    return plan.train.drop_duplicates(["eeg_id", *VOTE_COLUMNS])


@pytest.mark.parametrize("population", FACTS)
def test_votes_have_the_real_statistics(groups, population):
    votes = groups[list(VOTE_COLUMNS)].to_numpy()
    total = votes.sum(axis=1)
    fractions = vote_fractions(votes[total < 8 if population == "few" else total >= 10])
    prior, unanimous, entropy = FACTS[population]
    np.testing.assert_allclose(fractions.mean(axis=0), prior, atol=0.03)
    assert (fractions.max(axis=1) == 1).mean() == pytest.approx(unanimous, abs=0.07)
    logs = np.log(fractions, out=np.zeros_like(fractions), where=fractions > 0)
    assert -(fractions * logs).sum(axis=1).mean() == pytest.approx(entropy, abs=0.10)


def test_sizes_have_the_real_quantiles(plan):
    windows = plan.train.groupby("eeg_id").size()
    eegs = plan.train.groupby("patient_id")["eeg_id"].nunique()
    for sizes, quantiles in ((windows, WINDOWS_PER_EEG), (eegs, EEGS_PER_PATIENT)):
        for level, value in quantiles.items():
            assert sizes.quantile(level) == pytest.approx(value, rel=0.25)
    assert len(windows) == 1500
    assert len(eegs) == 171


def test_a_tenth_of_the_eegs_change_and_some_share_a_spectrogram(plan, groups):
    assert (groups.groupby("eeg_id").size() > 1).mean() == pytest.approx(0.105, abs=0.03)
    per_spectrogram = plan.train.groupby("spectrogram_id")["eeg_id"].nunique()
    assert per_spectrogram.mean() == pytest.approx(17_089 / 11_138, rel=0.15)
    steps = plan.train.groupby("eeg_id")["eeg_label_offset_seconds"].diff().dropna()
    assert steps.median() == 4
    assert steps.between(2, 6).mean() > 0.7


def test_patients_and_ids_are_apart(plan):
    train, test = plan.train, plan.test
    for column in ("patient_id", "eeg_id", "spectrogram_id"):
        assert not set(train[column]) & set(test[column])
    assert train["label_id"].is_unique
    assert train.groupby("eeg_id")["patient_id"].nunique().max() == 1
    assert train.groupby("spectrogram_id")["patient_id"].nunique().max() == 1
    assert list(plan.solution["eeg_id"]) == list(test["eeg_id"])
    assert plan.solution[list(VOTE_COLUMNS)].sum(axis=1).between(3, 20).all()


def test_windows_of_eeg_and_spectrogram_share_a_centre(plan):
    start = {r.eeg_id: r.start for scene in plan.scenes for r in scene.session.recordings}
    train = plan.train
    eeg = train["eeg_id"].map(start) + train["eeg_label_offset_seconds"] + 25
    assert (eeg == train["spectrogram_label_offset_seconds"] + 300).all()
    assert LEAD_IN == 275


def test_truth_is_the_oracle(plan):
    truth = plan.truth[plan.truth["split"] == "test"][["eeg_id", *VOTE_COLUMNS]]
    uniform = truth.assign(**dict.fromkeys(VOTE_COLUMNS, 1 / 6))
    assert score(plan.solution, truth) < 0.4 < 0.9 < score(plan.solution, uniform)
    assert (plan.truth["label_id"].isna() == (plan.truth["split"] == "test")).all()


# files


@pytest.fixture(scope="module")
def competition(tmp_path_factory):
    path = tmp_path_factory.mktemp("synthetic") / "hms"
    return synthesize(path, eegs=6, test_eegs=2, seed=1, jobs=2, progress=False)


def test_layout_is_kaggles(competition):
    names = {path.name for path in competition.path.iterdir()}
    folders = {
        f"{split}_{kind}" for split in ("train", "test") for kind in ("eegs", "spectrograms")
    }
    assert names == folders | {"train.csv", "test.csv", "sample_submission.csv"}
    assert list(pd.read_csv(competition.path / "train.csv")) == list(TRAIN_COLUMNS)
    assert list(pd.read_csv(competition.path / "test.csv")) == list(TEST_COLUMNS)
    sample = pd.read_csv(competition.path / "sample_submission.csv")
    assert list(sample) == ["eeg_id", *VOTE_COLUMNS]
    np.testing.assert_allclose(sample[list(VOTE_COLUMNS)], 1 / 6)
    assert open_competition(competition.path).train["label_id"].is_unique


def test_files_have_the_real_lengths_and_types(competition):
    for split, table in (("train", competition.train), ("test", competition.test)):
        for kind, path_of, base, rate in (
            ("eeg", competition.eeg_path, 50, 200),
            ("spectrogram", competition.spectrogram_path, 600, 0.5),
        ):
            for key, rows in table.groupby(f"{kind}_id"):
                offset = rows[f"{kind}_label_offset_seconds"].max() if split == "train" else 0
                schema = pq.read_schema(path_of(split, key))
                assert pq.read_metadata(path_of(split, key)).num_rows == rate * (base + offset)
                if kind == "eeg":
                    assert schema.names == list(CHANNELS)
                else:
                    assert schema.names == ["time", *SPECTROGRAM_COLUMNS]
                    assert str(schema.types[0]) == ("int64" if split == "train" else "int16")
                assert {str(t) for t in schema.types[kind != "eeg" :]} == {"float"}
                assert "pandas" not in (schema.metadata or {})
    time = pq.read_table(path_of("test", key), columns=["time"])["time"].to_pylist()
    assert time == list(range(1, 600, 2))


def test_spectrogram_is_of_the_eeg(competition):
    # rows are recomputed from the EEG file; a session with lost rows is passed over
    for row in competition.train.drop_duplicates("eeg_id").itertuples():
        power = read_spectrogram(competition.spectrogram_path("train", row.spectrogram_id))
        eeg = read_eeg(competition.eeg_path("train", row.eeg_id))[: 50 * SAMPLING_RATE]
        first = int(row.spectrogram_label_offset_seconds) // 2 + LEAD_IN // 2 + 1
        inside = power[first : first + 22]
        if np.isnan(eeg).any() or np.isnan(inside).any() or (inside == 0).any():
            continue
        slow = canvas.decimate((eeg - eeg.mean(axis=0)).T)
        again = spectra.spectrogram(slow)
        # both begin at odd seconds of the session: rows of the EEG lie one second later
        ours, theirs = np.log(again[2:20]), np.log(inside[2:20])
        assert np.corrcoef(ours.mean(axis=0), theirs.mean(axis=0))[0, 1] > 0.97
        return
    pytest.fail("no session was whole")


def test_truth_stands_beside(competition):
    folder = truth_folder(competition.path)
    assert folder.name == "hms_truth"
    truth = pd.read_parquet(folder / "truth.parquet")
    train = truth[truth["split"] == "train"]
    assert set(train["label_id"]) == set(competition.train["label_id"])
    np.testing.assert_allclose(truth[list(VOTE_COLUMNS)].sum(axis=1), 1)
    assert {"frequency", "laterality", "periodicity", "contrast", "evolution"} <= set(truth)
    solution = pd.read_csv(folder / "solution.csv")
    assert score(solution, truth[truth["split"] == "test"][["eeg_id", *VOTE_COLUMNS]]) < 2


def contents(path):
    files = [*path.rglob("*"), *truth_folder(path).rglob("*")]
    return {str(f.relative_to(path.parent))[len(path.name) :]: f.read_bytes()
            for f in files if f.is_file()}  # fmt: skip


def test_same_bytes_whatever_the_jobs(competition, tmp_path):
    again = synthesize(tmp_path / "again", eegs=6, test_eegs=2, seed=1, jobs=1, progress=False)
    assert contents(competition.path) == contents(again.path)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_signals_are_microvolts_of_intensive_care(competition):
    stds, offsets = [], []
    for eeg_id in competition.train["eeg_id"].unique():
        eeg = read_eeg(competition.eeg_path("train", eeg_id))
        stds.append(np.nanmedian(eeg.std(axis=0)))
        offsets.append(np.nanmedian(np.abs(eeg.mean(axis=0))))
    assert 5 < np.median(stds) < 200
    assert 2 < max(offsets) < 130


def test_rows_get_lost_and_channels_go_bad():
    from hbac_utils.synthetic import artifacts
    from hbac_utils.synthetic import render as scene

    lost = np.ones((200, 300, 4), dtype=np.float32)
    for i, power in enumerate(lost):
        scene._lose_rows(power, np.random.default_rng(i))
    assert 0.02 < np.isnan(lost).any(axis=(1, 2)).mean() < 0.2
    assert 0.01 < (lost == 0).any(axis=(1, 2)).mean() < 0.2
    bad = [np.ones((19, 8), dtype=np.float32) for _ in range(40)]
    for i, eeg in enumerate(bad):
        artifacts.bad_channel(eeg, np.random.default_rng(i))
    assert {bool(np.isnan(eeg).any()) for eeg in bad} == {True, False}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eegs": 0}, "eegs is 0"),
        ({"eegs": 5, "patients": 0}, "patients is 0"),
        ({"eegs": 5, "patients": 6}, "patients is 6"),
        ({"eegs": 5, "test_eegs": 0}, "test_eegs is 0"),
        ({"eegs": 5, "seed": -1}, "seed is -1"),
        ({"eegs": 5, "jobs": 0}, "jobs is 0"),
    ],
)
def test_nonsense_is_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        synthesize(tmp_path / "new", progress=False, **arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text(json.dumps("mine"))
    with pytest.raises(InputError, match="not empty"):
        synthesize(tmp_path, eegs=2, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_evidence_moves_the_truth_away_from_doubt():
    votes = list(VOTE_COLUMNS)
    entropies = []
    for evidence in (1, 3, 5):
        truth = make_plan(200, 30, 8, seed=3, evidence=evidence).truth[votes].to_numpy()
        entropies.append(-(truth * np.log(truth + 1e-12)).sum(axis=1).mean())
    assert entropies[0] > 1.5 * entropies[1] > 1.5 * entropies[2]


def test_classes_can_be_even():
    def shares(balanced):
        train = make_plan(600, 600, 8, seed=3, balanced=balanced).train.drop_duplicates("eeg_id")
        return train["expert_consensus"].value_counts(normalize=True).reindex(CLASSES)

    assert shares(balanced=True).between(0.10, 0.24).all()
    assert shares(balanced=False)["LRDA"] < 0.10


def test_evidence_must_be_positive(tmp_path):
    with pytest.raises(InputError, match="evidence is 0"):
        synthesize(tmp_path / "new", eegs=5, evidence=0, progress=False)
