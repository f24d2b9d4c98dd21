import pytest

from models.losses.schedules import blur_sigma_px, decayed, ema_beta, ema_half_life_nimg


@pytest.mark.parametrize(
    ("nimg", "sigma"), [(0, 32.0), (250_000, 24.0), (10**6, 0.0), (2**40, 0.0)]
)
def test_blur_falls_linearly_to_zero(nimg, sigma):
    assert blur_sigma_px(nimg, 32.0, 1000) == pytest.approx(sigma)


def test_no_fade_is_no_blur():
    assert blur_sigma_px(0, 32.0, 0) == 0


@pytest.mark.parametrize("batch", [8, 64, 2048])
def test_published_half_life_gives_one_beta_for_every_batch(batch):
    beta = ema_beta(10**12, batch, half_life_kimg=batch * 10 / 32, ramp=0.05)
    assert beta == pytest.approx(0.99778, abs=1e-5)


def test_half_life_grows_with_what_was_seen():
    assert ema_half_life_nimg(1000, 10.0, 0.05) == 50
    assert ema_half_life_nimg(10**9, 10.0, 0.05) == 10_000
    assert ema_half_life_nimg(0, 10.0, None) == 10_000
    assert ema_beta(0, 64, 10.0, 0.05) == 0.0
    assert ema_beta(1280, 64, 10.0, 0.05) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("nimg", "factor"), [(0, 1.0), (12_000, 1.0), (18_000, 0.5), (23_988, 0.001), (24_000, 0.0)]
)
def test_rates_fall_linearly_to_the_end(nimg, factor):
    assert decayed(nimg, total_kimg=24.0, decay_kimg=12.0) == pytest.approx(factor)
    assert decayed(nimg, total_kimg=24.0, decay_kimg=0.0) == 1.0
