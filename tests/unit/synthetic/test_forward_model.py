import numpy as np
import pytest

from hbac_utils.synthetic import forward_model as fm


def homogeneous_sphere(sensors, source, moment):
    """Mosher, Leahy & Lewis (1999), doi:10.1109/10.748978: closed form without a series."""
    d = sensors - source
    distance = np.linalg.norm(d, axis=1)
    depth = source @ source
    f = distance * (distance + 1 - sensors @ source)
    c1 = (2 * (d @ source) / distance**3 + 1 / distance - 1) / depth
    c2 = (2 / distance**3 + (distance + 1) / f) / depth
    return (c1 - c2 * (sensors @ source)) * (source @ moment) + c2 * depth * (sensors @ moment)


def test_equal_conductivities_give_the_closed_form_of_one_sphere():
    sensors = np.random.default_rng(0).normal(size=(20, 3))
    sensors /= np.linalg.norm(sensors, axis=1, keepdims=True)
    source, moment = np.array([0.1, 0.5, 0.4]), np.array([0.3, -1.0, 2.0])
    factors = fm.shell_factors(150, conductivities=(1, 1, 1))
    ours = fm.dipole_potential(sensors, source[None], moment[None], factors)[:, 0]
    np.testing.assert_allclose(ours, homogeneous_sphere(sensors, source, moment), atol=1e-10)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_shell_factors_solve_the_boundary_conditions(n):
    # potential A r^n + B r^-(n+1) in each shell; potential and current are continuous
    (r1, r2, _), (s1, s2, s3) = fm.RADII, fm.CONDUCTIVITIES
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
    homogeneous = (2 * n + 1) / (n * s3)  # at the surface of one sphere
    assert fm.shell_factors()[n - 1] == pytest.approx((a + b) / homogeneous, rel=1e-9)


def test_patch_is_largest_above_itself_and_mirrors():
    left, right = fm.patch_field(45, -90, 12), fm.patch_field(45, 90, 12)  # C3, C4
    assert fm.SENSORS[int(np.argmax(left))] == "C3"
    assert left[:19].max() == 1
    np.testing.assert_allclose(fm.mirror_fields(left)[:19], right[:19], atol=1e-9)


@pytest.mark.parametrize(("reference", "value"), [("CPz", 21), ("ears", 19.5), ("average", 9)])
def test_references(reference, value):
    field = np.arange(22.0)  # 19 electrodes, A1, A2, CPz
    np.testing.assert_allclose(fm.apply_reference(field, reference), np.arange(19) - value)
