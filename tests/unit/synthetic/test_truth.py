"""Timeline of a long recording, true probabilities of its segments, and its events."""

from dataclasses import replace

import numpy as np
import pytest

from hbac_utils.labels import CLASSES
from hbac_utils.montage import DOUBLE_BANANA
from hbac_utils.synthetic.patterns import draw_episode
from hbac_utils.synthetic.raters import class_probabilities
from hbac_utils.synthetic.sessions import PlacedEpisode
from hbac_utils.synthetic.timeline import draw_timeline
from hbac_utils.synthetic.truth import Piece, list_events, measure_pattern, true_probabilities

OTHER, GRDA = CLASSES.index("Other"), CLASSES.index("GRDA")


def is_seizure(placed: PlacedEpisode) -> bool:
    """Drawn as a seizure: without pauses."""
    return np.allclose(placed.labelled, (placed.begin, placed.end))


@pytest.fixture
def rhythmic():
    """Generalized rhythmic delta of 2 Hz from 5 to 30 s."""
    episode = replace(
        draw_episode(np.random.default_rng(0), np.array([2.0, -3, -4, -4])),
        irregularity=0.1, frequency=2.0, evolution=0.0, periodicity=0.0, laterality=0.0, trend=0.0,
    )  # fmt: skip
    return PlacedEpisode(episode, 5.0, 30.0, (5.0, 30.0), 30.0)


@pytest.fixture
def sine():
    """100 µV peak to peak at Fp1 from 5 to 30 s, in a block of 40 s."""
    times = np.arange(40 * 200) / 200
    pattern = np.zeros((19, len(times)), np.float32)
    pattern[0] = 50 * np.sin(2 * np.pi * 2 * times) * ((times >= 5) & (times < 30))
    return pattern


def test_a_pattern_is_measured_where_it_is(rhythmic, sine):
    pieces = measure_pattern(rhythmic, 7, sine, 0)
    assert [(p.segment, p.episode, p.share) for p in pieces] == [(0, 7, 0.5), (1, 7, 1), (2, 7, 1)]
    assert {DOUBLE_BANANA[p.derivation] for p in pieces} <= {"Fp1-F7", "Fp1-F3"}
    np.testing.assert_allclose([p.size for p in pieces], 100, rtol=0.01)
    later = measure_pattern(rhythmic, 7, sine[:, 4000:], 20)  # the next block
    assert [(p.segment, p.share) for p in later] == [(2, 1)]


def test_probabilities_follow_the_contrast(rhythmic, sine):
    """100 µV over 4 times 25 µV are 0 dB: half of the experts see a pattern."""
    pieces = measure_pattern(rhythmic, 0, sine, 0)
    variances = np.full((4, 18), 25.0**2)
    variances[2] = 5.0**2  # 14 dB
    segments, judged = true_probabilities([rhythmic], pieces, variances)
    np.testing.assert_allclose(segments.sum(axis=1), 1)
    np.testing.assert_allclose(judged[:2, OTHER], 0.5, atol=0.03)
    np.testing.assert_allclose(segments[:, OTHER], [0.75, 0.5, 0, 1], atol=0.03)
    assert segments[2, GRDA] > 0.95
    evidence = rhythmic.episode.evidence
    evidence[0] = 20 * np.log10(5) / 3  # 3 dB are a unit of evidence
    np.testing.assert_allclose(judged[2], class_probabilities(evidence), atol=0.005)


def test_events_end_where_the_episode_ends_and_span_short_gaps(rhythmic):
    one = replace(rhythmic, begin=3.0, end=157.0)
    pieces = [Piece(k, 0, 1, 0, 100.0) for k in range(16)]
    judged = np.zeros((16, 6))
    leads = [0, 1, 4, 5, 6, 10, 15]  # a gap of 20 s, one of 30 s, one of 40 s
    judged[:, OTHER] = 1
    judged[leads] = 0.1 * np.eye(6)[OTHER] + 0.9 * np.eye(6)[GRDA]
    events = list_events([one], pieces, judged)
    assert events["eventType"].tolist() == ["grda", "grda"]
    assert events["onset"].tolist() == [3, 100]
    assert events["duration"].tolist() == [67, 10]  # the last 7 s are less than an segment
    np.testing.assert_allclose(events["confidence"], 0.9)


def test_the_timeline_has_the_stated_rates():
    shares, seizures = [], []
    for seed in range(60):
        placed = draw_timeline(np.random.default_rng(seed), 6 * 3600)
        spans = np.array([(one.begin, one.end) for one in placed])
        assert (spans[1:, 0] >= spans[:-1, 1]).all()
        assert spans.min() >= 0
        assert spans.max() <= 6 * 3600
        assert all(
            one.quiet_until <= after for one, after in zip(placed, spans[1:, 0], strict=False)
        )
        shares.append(np.diff(spans).sum() / (6 * 3600))
        seizures.append([one.end - one.begin for one in placed if is_seizure(one)])
    assert 0.25 < np.mean(shares) < 0.5
    assert min(map(len, seizures)) >= 1
    assert 4 < np.mean([len(one) for one in seizures]) < 12
    assert 65 < np.median(np.concatenate(seizures)) < 105  # seconds


def test_episodes_are_of_the_class_for_which_they_were_drawn():
    placed = draw_timeline(np.random.default_rng(1), 6 * 3600, evidence=5)
    named = [class_probabilities(one.episode.evidence).argmax() for one in placed]
    right = [
        CLASSES[k] == "Seizure" for k, one in zip(named, placed, strict=True) if is_seizure(one)
    ]
    assert np.mean(right) > 0.7
    assert len(set(named)) >= 3
