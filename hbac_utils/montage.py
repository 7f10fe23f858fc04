"""Electrodes of the 10–20 system and the longitudinal bipolar montage ("double banana").

A derivation is written ``"Fp1-F7"`` and means anode minus cathode. Electrodes have
the names of the data (T3, T4, T5, T6; newer names of these are T7, T8, P7, P8).
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

ELECTRODES = (
    "Fp1", "F3", "C3", "P3", "F7", "T3", "T5", "O1",
    "Fz", "Cz", "Pz",
    "Fp2", "F4", "C4", "P4", "F8", "T4", "T6", "O2",
)  # fmt: skip
"""The 19 scalp electrodes in the data's column order."""

EKG = "EKG"
CHANNELS = (*ELECTRODES, EKG)  # all columns of an EEG file, in order

NEWER_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}
_NAMES = {name.casefold(): name for name in CHANNELS} | {"ecg": EKG}
_NAMES |= {newer.casefold(): name for name, newer in NEWER_NAMES.items()}
# what recorders write around an electrode's name; another electrode after it is a derivation
_REFERENCE = (
    r"v?ref\d?|reference|ler?|cler?|avg?|ave|average|ar|car|aa|g2|org"
    r"|\(?[am][12](\+?[am]2)?\)?(/2)?|afz|fcz|cpz"
)
_LABEL = re.compile(
    rf"(?:eeg|pol)?[\s_:.-]*(?P<name>{'|'.join(_NAMES)})"
    rf"([\s_:./-]+({_REFERENCE}))?[\s_]*([\[(]?[uμ]v[\])]?)?[\s.:]*"  # casefold: µ is μ
)

CHAINS = {
    "LL": ("Fp1-F7", "F7-T3", "T3-T5", "T5-O1"),
    "RL": ("Fp2-F8", "F8-T4", "T4-T6", "T6-O2"),
    "LP": ("Fp1-F3", "F3-C3", "C3-P3", "P3-O1"),
    "RP": ("Fp2-F4", "F4-C4", "C4-P4", "P4-O2"),
}
"""Left and right lateral, left and right parasagittal; the order of Kaggle's spectrograms."""

MIDLINE = ("Fz-Cz", "Cz-Pz")
LEFT = CHAINS["LL"] + CHAINS["LP"]
RIGHT = CHAINS["RL"] + CHAINS["RP"]
DOUBLE_BANANA = CHAINS["LL"] + CHAINS["RL"] + CHAINS["LP"] + CHAINS["RP"] + MIDLINE
"""The 18 derivations, chain by chain, from top to bottom of a clinical page."""
PAIRED = tuple(name for pair in zip(LEFT, RIGHT, strict=True) for name in pair)
"""The 16 derivations of the chains, each on the left followed by its mirror image."""


@lru_cache(maxsize=4096)
def electrode_name(text: str) -> str | None:
    """Translate a recorder's channel name to the data's; None if it is no single electrode.

    Case, blanks, the prefix EEG, dots, the reference and µV are ignored; T7, T8, P7 and P8
    are the newer names of T3, T4, T5 and T6 (ACNS Guideline 2, doi:10.1097/WNP.0000000000000316).

    Examples
    --------
    >>> [electrode_name(text) for text in ("EEG FP1-Ref", "t7", "Fp1.", "Fp1-F7")]
    ['Fp1', 'T3', 'Fp1', None]
    """
    match = _LABEL.fullmatch(text.strip().casefold())
    return _NAMES[match["name"]] if match else None


def derivation_matrix(
    derivations: Sequence[str], electrodes: Sequence[str] = ELECTRODES
) -> np.ndarray:
    """Matrix that converts referential signals to bipolar ones: ``eeg @ matrix``.

    Returns float32, shape (n_electrodes, n_derivations). Raises ValueError if a derivation is not
    written ``anode-cathode`` or contains an unknown electrode.

    Examples
    --------
    >>> derivation_matrix(["Fz-Cz"], ["Fz", "Cz", "Pz"]).T
    array([[ 1., -1.,  0.]], dtype=float32)
    """
    row = {name: i for i, name in enumerate(electrodes)}
    matrix = np.zeros((len(electrodes), len(derivations)), dtype=np.float32)
    for column, derivation in enumerate(derivations):
        anode, dash, cathode = derivation.partition("-")
        unknown = [name for name in (anode, cathode) if name not in row]
        if not dash or unknown or anode == cathode:
            raise ValueError(
                f"{derivation!r} is not a derivation: write anode-cathode with two of "
                f"{', '.join(electrodes)}"
            )
        matrix[row[anode], column] = 1
        matrix[row[cathode], column] = -1
    return matrix


def mirror_electrode(name: str) -> str:
    """Name of the mirrored electrode; odd numbers are left, even right, z midline.

    Examples
    --------
    >>> [mirror_electrode(name) for name in ("T3", "O2", "Cz")]
    ['T4', 'O1', 'Cz']
    """
    digit = name[-1]
    if not digit.isdigit():
        return name
    return name[:-1] + str(int(digit) + (1 if int(digit) % 2 else -1))


def mirror_permutation(names: Sequence[str]) -> np.ndarray:
    """Index of the mirror image of each electrode or derivation, which must be among the names.

    ``signal[..., permutation]`` is the signal with left and right exchanged.
    """
    names = list(names)
    mirrored = ["-".join(mirror_electrode(part) for part in name.split("-")) for name in names]
    if missing := sorted(set(mirrored) - set(names)):
        raise ValueError(f"mirror image missing: {', '.join(missing)}")
    return np.array([names.index(name) for name in mirrored])
