"""Timeline of hours of continuous EEG of one patient: seizures, patterns, states.

Rates are those of intensive care, of a patient who has seizures:

- Seizures: 995 of 111 critically ill patients lasted for a median of 86 s (brain injury; quartiles
  47 and 137 s), the 95th percentile was 518 s ("Duration of nonconvulsive seizures in critically
  ill patients", Epilepsy & Behavior 2021); about nine per patient. They come in clusters: above
  12 min per hour patients get worse (Payne et al. 2014, doi:10.1093/brain/awu042). Here one hour
  in five has seizures, at least one hour of a recording.
- Rhythmic and periodic patterns: the ACNS terminology (Hirsch et al. 2021,
  doi:10.1097/WNP.0000000000000806) calls runs of 1 to 10 min intermediate and of 10 to 59 min long,
  and a pattern in 10 to 49 % of the time frequent. Here runs last for 1 to 20 min and take a third
  of the time. A patient has few kinds of them, which precede and follow the seizures (Ruiz et al.
  2017, doi:10.1001/jamaneurol.2016.4990).
"""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from hbac_utils.data.layout import SEGMENT_SECONDS
from hbac_utils.labels import CLASSES
from hbac_utils.synthetic import raters
from hbac_utils.synthetic.patterns import draw_episode
from hbac_utils.synthetic.sessions import AFTERMATH, CONTINUITY, SOURCE, PlacedEpisode
from hbac_utils.synthetic.signals import log_uniform

SEIZURE_HOURS = 0.2  # share of the hours with seizures
SEIZURES = 4.0  # mean number of further seizures in such an hour
SEIZURE_SECONDS = 83.0, 0.8  # median, standard deviation of the logarithm
SEIZURE_LIMITS = 20.0, 300.0  # seconds
SEIZURE_GAP = 60.0  # seconds from one seizure to the next, at least
RUN_SECONDS = 60.0, 1200.0  # of the other patterns
SHORTEST_RUN = 30.0  # seconds, of a run that a seizure ends
GAP_SECONDS = 60.0, 660.0  # between runs: the minimum, and the mean excess
POSTICTAL_SECONDS = 30.0, 180.0  # from a seizure to the next run
NEARLY_SHARE = 0.25  # of the runs: those that most experts take for Other
FEW_KINDS = 0.7  # shape of the gamma distribution of a patient's weights of the kinds


def draw_timeline(rng: Generator, seconds: int, evidence: float = 1) -> tuple[PlacedEpisode, ...]:
    """Draw a recording's episodes, in their order; they do not overlap.

    ``evidence`` is the factor of the evidence for each pattern, as in `render.synthesize`.
    """
    kinds = CLASSES[1:]
    weights = np.array([*raters.SHARES[False][1:-1], 0]) * rng.gamma(FEW_KINDS, 1, len(kinds))
    weights *= (1 - NEARLY_SHARE) / weights.sum()
    weights[-1] = NEARLY_SHARE
    seizures = _draw_seizures(rng, seconds)
    spans = [("Seizure", *span) for span in seizures]
    for free_from, free_to in _between(rng, seizures, seconds):
        time = free_from
        while time + SHORTEST_RUN < free_to:
            end = min(time + log_uniform(rng, *RUN_SECONDS), free_to)
            spans.append((str(rng.choice(kinds, p=weights)), time, end))
            time = end + GAP_SECONDS[0] + rng.exponential(GAP_SECONDS[1])
    spans = [(name, round(begin, 1), round(end, 1)) for name, begin, end in spans]
    spans.sort(key=lambda span: span[1])
    ends = [*(begin for _, begin, _ in spans), float(seconds)][1:]
    sources: dict[str, dict] = {}
    placed = []
    for (name, begin, end), following in zip(spans, ends, strict=True):
        episode = draw_episode(rng, evidence * _draw_evidence(rng, name))
        if name in sources and rng.random() < CONTINUITY:
            episode = replace(episode, **sources[name])
        sources[name] = {key: getattr(episode, key) for key in SOURCE}
        middle = (begin + end) / 2
        # other patterns than seizures may pause, see `Episode.intermittency`
        reach = (end - begin if name == "Seizure" else SEGMENT_SECONDS) / 2
        quiet_until = min(end + AFTERMATH, following)
        placed.append(
            PlacedEpisode(episode, begin, end, (middle - reach, middle + reach), quiet_until)
        )
    return tuple(placed)


def _draw_seizures(rng: Generator, seconds: int) -> list[tuple[float, float]]:
    hours = max(1, round(seconds / 3600))
    chosen = rng.permutation(hours)[: max(1, rng.binomial(hours, SEIZURE_HOURS))]
    length = seconds / hours
    median, spread = SEIZURE_SECONDS
    spans: list[tuple[float, float]] = []
    for hour in sorted(chosen.tolist()):
        count = 1 + rng.poisson(SEIZURES * length / 3600)
        for begin in np.sort(rng.uniform(hour, hour + 0.9, count)) * length:
            begin = max(begin, spans[-1][1] + SEIZURE_GAP if spans else SEIZURE_GAP / 2)
            end = begin + np.clip(rng.lognormal(np.log(median), spread), *SEIZURE_LIMITS)
            if end < seconds:
                spans.append((float(begin), float(end)))
    return spans


def _between(
    rng: Generator, seizures: list[tuple[float, float]], seconds: int
) -> list[tuple[float, float]]:
    # where runs may begin: some time after one seizure, until the next begins
    begins = [rng.exponential(GAP_SECONDS[1])]
    begins += [end + rng.uniform(*POSTICTAL_SECONDS) for _, end in seizures]
    return list(zip(begins, [*(begin for begin, _ in seizures), float(seconds)], strict=True))


def _draw_evidence(rng: Generator, intended: str) -> np.ndarray:
    kinds, shares = raters.episode_kinds(False)
    fitting = [i for i, kind in enumerate(kinds) if kind.intended == intended]
    chosen = rng.choice(fitting, p=shares[fitting] / shares[fitting].sum())
    return raters.draw_evidence(rng, kinds[chosen], rng.random(), False)
