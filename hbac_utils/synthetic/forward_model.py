"""How sources in the brain appear at the electrodes: a three-shell spherical head.

Axes are x to the right, y to the nose, z to the vertex; the scalp has radius one. The
electrodes stand where the 10–20 system puts them on a sphere, and the reference electrodes
are modelled too, because a recording holds differences from one of them.

References
----------
Zhang (1995), Phys Med Biol 40:335, doi:10.1088/0031-9155/40/3/001: the series and ``f_n``.
Rush & Driscoll (1969), IEEE Trans Biomed Eng 16:15, doi:10.1109/TBME.1969.4502598: radii.
Klem et al. (1999), Electroencephalogr Clin Neurophysiol Suppl 52:3: the 10–20 system.
Tao et al. (2005), Epilepsia 46:669, doi:10.1111/j.1528-1167.2005.11404.x: a discharge needs
6 to 20 cm² of cortex to be seen on the scalp, hence sources are patches, not points.
"""

from functools import cache

import numpy as np

from hbac_utils.montage import ELECTRODES, mirror_permutation

RADII = (0.87, 0.92, 1.0)  # brain, skull, scalp; of the scalp's radius
CONDUCTIVITIES = (0.33, 0.33 / 40, 0.33)  # S/m; ratios of 15 to 80 are in use for the skull
CORTEX = 0.80  # radius of the sources
TERMS = 60  # of the series; (0.8)**60 is 2e-6

REFERENCES = ("A1", "A2", "CPz")
"""What the recording may be referred to, beside the average: ears, or a midline electrode."""

SENSORS = (*ELECTRODES, *REFERENCES)

N_SOURCES = 600  # points of the cortical grid, about 7 degrees apart


def direction(inclination, azimuth) -> np.ndarray:
    """Turn angles into unit vectors.

    Parameters
    ----------
    inclination : float or array, degrees from the vertex
    azimuth : float or array, degrees from the nose, positive to the right

    Returns
    -------
    array of float64, shape (..., 3)

    Examples
    --------
    >>> direction(90, 90).round(3) + 0.0
    array([1., 0., 0.])
    """
    theta, phi = np.deg2rad(inclination), np.deg2rad(azimuth)
    x, y, z = np.sin(theta) * np.sin(phi), np.sin(theta) * np.cos(phi), np.cos(theta)
    return np.stack(np.broadcast_arrays(x, y, z), axis=-1)


@cache
def positions() -> dict[str, np.ndarray]:
    """Place the sensors on the unit sphere.

    Returns
    -------
    dict of str to array, shape (3,)
    """
    ring = {"Fp": 18, "F7": 54, "T3": 90, "T5": 126, "O": 162}  # the 10–20 circumference
    places = {
        "Fz": direction(45, 0), "Cz": direction(0, 0), "Pz": direction(45, 180),
        "CPz": direction(22, 180),
        "Fp1": direction(90, -ring["Fp"]), "F7": direction(90, -ring["F7"]),
        "T3": direction(90, -ring["T3"]), "T5": direction(90, -ring["T5"]),
        "O1": direction(90, -ring["O"]), "C3": direction(45, -90), "A1": direction(118, -95),
    }  # fmt: skip
    # F3 and P3 are halfway between their neighbours, as measured on the head
    for name, ends in {"F3": ("Fz", "F7"), "P3": ("Pz", "T5")}.items():
        middle = places[ends[0]] + places[ends[1]]
        places[name] = middle / np.linalg.norm(middle)
    twins = {"Fp1": "Fp2", "F7": "F8", "T3": "T4", "T5": "T6", "O1": "O2"}
    twins |= {"C3": "C4", "F3": "F4", "P3": "P4", "A1": "A2"}
    for left, right in twins.items():
        places[right] = places[left] * (-1, 1, 1)
    return places


def shell_factors(
    terms: int = TERMS, radii: tuple = RADII, conductivities: tuple = CONDUCTIVITIES
) -> np.ndarray:
    """Compute Zhang's ``f_n``, which holds all that the shells do to the potential.

    Returns
    -------
    array of float64, shape (terms,)
        For n = 1, 2, …; ones if all shells conduct alike.
    """
    n = np.arange(1, terms + 1)[:, None, None]
    product = np.tile(np.eye(2), (terms, 1, 1))
    for k in range(len(radii) - 1):
        s = conductivities[k] / conductivities[k + 1]
        r = (radii[k] / radii[-1]) ** (2.0 * n + 1)
        step = np.block(
            [[n + (n + 1) * s, (n + 1) * (s - 1) / r], [n * (s - 1) * r, (n + 1) + n * s]]
        )
        product = product @ (step / (2 * n + 1))
    n = n[:, 0, 0]
    return n / (n * product[:, 1, 1] + (n + 1) * product[:, 1, 0])


def potential(
    sensors: np.ndarray, sources: np.ndarray, moments: np.ndarray, factors: np.ndarray
) -> np.ndarray:
    """Compute the potential of current dipoles on the scalp.

    Parameters
    ----------
    sensors : array, shape (n_sensors, 3)
        Unit vectors.
    sources, moments : arrays, shape (n_sources, 3)
        Places inside the innermost shell, not at its centre, and dipole moments.
    factors : array, shape (terms,)
        See `shell_factors`.

    Returns
    -------
    array of float64, shape (n_sensors, n_sources)
        In units of (moment) / (4π · conductivity of the scalp · squared radius of the head).
    """
    radius = np.linalg.norm(sources, axis=1)
    outward = sources / radius[:, None]
    cosine = sensors @ outward.T
    radial = (moments * outward).sum(axis=1)
    # P_n^1 carries a sine that turns the tangential moment into its part towards the sensor
    tangential = sensors @ moments.T - cosine * radial
    before, legendre = np.ones_like(cosine), cosine
    slope_before, slope = np.zeros_like(cosine), np.ones_like(cosine)  # P_n' by recursion
    total = np.zeros_like(cosine)
    for n, factor in enumerate(factors, start=1):
        scale = factor * (2 * n + 1) / n * radius ** (n - 1)
        total += scale * (n * radial * legendre + tangential * slope)
        following = ((2 * n + 1) * cosine * legendre - n * before) / (n + 1)
        slope_before, slope = slope, slope_before + (2 * n + 1) * legendre
        before, legendre = legendre, following
    return total


@cache
def grid() -> np.ndarray:
    """Spread source places evenly over the cortex (a Fibonacci lattice).

    Returns
    -------
    array of float64, shape (n_sources, 3)
        Unit vectors, symmetric left to right, none lower than the temporal base.
    """
    i = np.arange(2 * N_SOURCES)
    z = 1 - (i + 0.5) / N_SOURCES
    phi = i * np.pi * (3 - np.sqrt(5))
    points = np.stack([np.sqrt(1 - z**2) * np.sin(phi), np.sqrt(1 - z**2) * np.cos(phi), z], -1)
    right = points[(points[:, 0] > 0) & (points[:, 2] > -0.4)]
    return np.concatenate([right, right * (-1, 1, 1)])


@cache
def lead_field() -> np.ndarray:
    """Compute what unit dipoles along x, y and z at every place of the grid do.

    Returns
    -------
    array of float64, shape (n_sources, 3, n_sensors)
    """
    sensors = np.stack([positions()[name] for name in SENSORS])
    sources, factors = CORTEX * grid(), shell_factors()
    fields = [
        potential(sensors, sources, np.tile(axis, (len(sources), 1)), factors).T
        for axis in np.eye(3)
    ]
    return np.stack(fields, axis=1)


def patch(
    centre: np.ndarray, width: float, tilt: tuple[float, float, float] = (0, 0, 0)
) -> np.ndarray:
    """Compute the field of a patch of cortex whose columns act together.

    Parameters
    ----------
    centre : array, shape (3,)
        Direction of the patch, which ends at the midline: hemispheres are apart. One that
        is centred on the midline has both.
    width : float, degrees
        Standard deviation of its Gaussian weight; 10 to 20 is a focus, 40 a lobe and more.
    tilt : tuple of 3 float
        Tangential moment added to the outward unit moment; a patch in the wall of a sulcus
        has one larger than one, and shows a dipolar field.

    Returns
    -------
    array of float64, shape (n_sensors,)
        Scaled so that the largest absolute value at the 19 electrodes is one.
    """
    places = grid()
    angle = np.rad2deg(np.arccos(np.clip(places @ centre, -1, 1)))
    weight = np.exp(-0.5 * (angle / width) ** 2)
    if centre[0]:
        weight *= places[:, 0] * centre[0] > 0
    field = np.einsum("s,sa,sac->c", weight, places + np.array(tilt), lead_field())
    return field / np.abs(field[: len(ELECTRODES)]).max()


def mirrored(fields: np.ndarray) -> np.ndarray:
    """Exchange the hemispheres of fields, shape (..., n_sensors)."""
    order = mirror_permutation(SENSORS[: SENSORS.index("CPz")])
    return np.concatenate([fields[..., order], fields[..., len(order) :]], axis=-1)


def referenced(fields: np.ndarray, reference: str) -> np.ndarray:
    """Refer fields to one electrode, to both ears or to the average.

    Parameters
    ----------
    fields : array, shape (..., n_sensors)
    reference : {"CPz", "ears", "average"}

    Returns
    -------
    array, shape (..., 19)
    """
    scalp = fields[..., : len(ELECTRODES)]
    if reference == "average":
        return scalp - scalp.mean(axis=-1, keepdims=True)
    names = ("A1", "A2") if reference == "ears" else (reference,)
    at = [SENSORS.index(name) for name in names]
    return scalp - fields[..., at].mean(axis=-1, keepdims=True)
