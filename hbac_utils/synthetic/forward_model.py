"""Forward model: potentials of cortical sources at the electrodes, in a three-shell sphere.

Axes: x to the right, y to the nose, z to the vertex; the scalp has radius one.

Series: Zhang (1995), doi:10.1088/0031-9155/40/3/001; radii: Rush & Driscoll (1969),
doi:10.1109/TBME.1969.4502598; positions: Klem et al. (1999), Clin Neurophysiol Suppl 52:3. Scalp
spikes need 6 to 20 cm² of active cortex (Tao et al. 2005, doi:10.1111/j.1528-1167.2005.11404.x),
hence sources are patches and not points.
"""

from functools import cache

import numpy as np

from hbac_utils.montage import ELECTRODES, mirror_electrode, mirror_permutation

RADII = (0.87, 0.92, 1.0)  # brain, skull, scalp; relative to the scalp
CONDUCTIVITIES = (0.33, 0.33 / 40, 0.33)  # S/m; ratios of 15 to 80 are in use for the skull
CORTEX = 0.80  # radius of the sources
TERMS = 60  # of the series; 0.8^60 is 2e-6
GRID_POINTS = 600  # in half a sphere, about 7 degrees apart

SENSORS = (*ELECTRODES, "A1", "A2", "CPz")  # the 19 electrodes, both ears, a midline reference
_MIRROR = mirror_permutation(SENSORS)


def direction(inclination: float, azimuth: float) -> np.ndarray:
    """Convert degrees from the vertex and from the nose (right: positive) to a unit vector."""
    theta, phi = np.deg2rad(inclination), np.deg2rad(azimuth)
    return np.array([np.sin(theta) * np.sin(phi), np.sin(theta) * np.cos(phi), np.cos(theta)])


@cache
def sensor_positions() -> dict[str, np.ndarray]:
    """Compute the position of each sensor on the unit sphere."""
    midline = {"Fz": direction(45, 0), "Cz": direction(0, 0)}
    midline |= {"CPz": direction(22, 180), "Pz": direction(45, 180)}
    ring = {"Fp1": 18, "F7": 54, "T3": 90, "T5": 126, "O1": 162}  # degrees along the circumference
    left = {name: direction(90, -azimuth) for name, azimuth in ring.items()}
    left |= {"C3": direction(45, -90), "A1": direction(118, -95)}
    # F3 and P3 are halfway between their neighbours, as measured on the head
    for name, a, b in (("F3", midline["Fz"], left["F7"]), ("P3", midline["Pz"], left["T5"])):
        left[name] = (a + b) / np.linalg.norm(a + b)
    right = {mirror_electrode(name): place * (-1, 1, 1) for name, place in left.items()}
    return midline | left | right


def shell_factors(terms: int = TERMS, conductivities: tuple = CONDUCTIVITIES) -> np.ndarray:
    """Compute Zhang's f_n for n = 1, 2, …, by which the shells change each term of the series."""
    n = np.arange(1, terms + 1)[:, None, None]
    product = np.tile(np.eye(2), (terms, 1, 1))
    for k in range(len(RADII) - 1):
        s = conductivities[k] / conductivities[k + 1]
        r = (RADII[k] / RADII[-1]) ** (2.0 * n + 1)
        step = [[n + (n + 1) * s, (n + 1) * (s - 1) / r], [n * (s - 1) * r, (n + 1) + n * s]]
        product = product @ (np.block(step) / (2 * n + 1))
    n = n[:, 0, 0]
    return n / (n * product[:, 1, 1] + (n + 1) * product[:, 1, 0])


def dipole_potential(
    sensors: np.ndarray, sources: np.ndarray, moments: np.ndarray, factors: np.ndarray
) -> np.ndarray:
    """Compute the potential of current dipoles on the scalp, shape (n_sensors, n_sources).

    ``sensors`` (n_sensors, 3) are unit vectors; ``sources`` and ``moments`` (n_sources, 3) are
    positions inside the innermost shell, not at its centre, and dipole moments in units of
    4π · conductivity of the scalp · squared radius of the head; ``factors`` are `shell_factors`.
    """
    radius = np.linalg.norm(sources, axis=1)
    outward = sources / radius[:, None]
    cosine = sensors @ outward.T
    radial = (moments * outward).sum(axis=1)
    # P_n^1 has a factor sine, which makes this the component towards the sensor
    tangential = sensors @ moments.T - cosine * radial
    before, legendre = np.ones_like(cosine), cosine
    slope_before, slope = np.zeros_like(cosine), np.ones_like(cosine)  # derivative of P_n
    total = np.zeros_like(cosine)
    for n, factor in enumerate(factors, start=1):
        scale = factor * (2 * n + 1) / n * radius ** (n - 1)
        total += scale * (n * radial * legendre + tangential * slope)
        following = ((2 * n + 1) * cosine * legendre - n * before) / (n + 1)
        slope_before, slope = slope, slope_before + (2 * n + 1) * legendre
        before, legendre = legendre, following
    return total


@cache
def lead_field() -> tuple[np.ndarray, np.ndarray]:
    """Compute a grid of source directions, shape (n, 3), and their fields, (n, 3, n_sensors).

    The grid is a Fibonacci lattice; the fields are those of unit dipoles along x, y and z.
    """
    i = np.arange(2 * GRID_POINTS)
    z = 1 - (i + 0.5) / GRID_POINTS
    phi = i * np.pi * (3 - np.sqrt(5))
    points = np.stack([np.sqrt(1 - z**2) * np.sin(phi), np.sqrt(1 - z**2) * np.cos(phi), z], -1)
    right = points[(points[:, 0] > 0) & (points[:, 2] > -0.4)]  # down to the temporal base
    grid = np.concatenate([right, right * (-1, 1, 1)])
    sensors = np.stack([sensor_positions()[name] for name in SENSORS])
    moments, factors = [np.tile(axis, (len(grid), 1)) for axis in np.eye(3)], shell_factors()
    fields = [dipole_potential(sensors, CORTEX * grid, m, factors).T for m in moments]
    return grid, np.stack(fields, axis=1)


def patch_field(inclination: float, azimuth: float, width: float, tilt=(0, 0, 0)) -> np.ndarray:
    """Compute the field of a patch of synchronous cortex, shape (n_sensors,).

    Its centre is a `direction`; it ends at the midline unless its azimuth is zero. ``width`` is the
    standard deviation (degrees) of its Gaussian weight: 10 to 20 is a focus, 40 a lobe. ``tilt`` is
    the tangential moment beside the outward unit moment; above one in the wall of a sulcus.
    """
    (grid, fields), centre = lead_field(), direction(inclination, azimuth)
    angle = np.rad2deg(np.arccos(np.clip(grid @ centre, -1, 1)))
    weight = np.exp(-0.5 * (angle / width) ** 2)
    if centre[0]:
        weight *= grid[:, 0] * centre[0] > 0
    moments = weight[:, None] * (grid + np.array(tilt))
    field = moments.ravel() @ fields.reshape(moments.size, -1)
    return field / np.abs(field[: len(ELECTRODES)]).max()


def mirror_fields(fields: np.ndarray) -> np.ndarray:
    """Exchange the hemispheres of fields, shape (..., n_sensors)."""
    return fields[..., _MIRROR]


def apply_reference(fields: np.ndarray, reference: str) -> np.ndarray:
    """Refer fields, shape (..., n_sensors), to "CPz", "ears" or "average": shape (..., 19)."""
    scalp = fields[..., : len(ELECTRODES)]
    if reference == "average":
        return scalp - scalp.mean(axis=-1, keepdims=True)
    names = ("A1", "A2") if reference == "ears" else (reference,)
    columns = [SENSORS.index(name) for name in names]
    return scalp - fields[..., columns].mean(axis=-1, keepdims=True)
