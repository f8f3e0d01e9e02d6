"""Temperatures: what they are fitted to, and how far they may go."""

from __future__ import annotations

import numpy as np
import pytest

from fpve.heads.calibration import fit_temperature, log_loss


def drawn(temperature: float, count: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and classes that were drawn with their probabilities at a temperature."""
    random = np.random.default_rng(0)
    logits = (3 * random.normal(size=(count, 4))).astype(np.float32)
    noise = random.gumbel(size=logits.shape)
    return logits, (logits / temperature + noise).argmax(axis=1)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.5])
def test_the_temperature_is_found_by_which_classes_were_drawn(temperature: float) -> None:
    """It is what the classes were drawn at, and gives the least log loss of those about it."""
    logits, codes = drawn(temperature)
    weights = np.ones(len(codes), np.float32)
    found = fit_temperature(logits, codes, weights)
    assert found == pytest.approx(temperature, rel=0.03)
    least = log_loss(logits, codes, weights, found)
    assert least <= min(log_loss(logits, codes, weights, found * factor) for factor in (0.98, 1.02))


def test_rows_without_weight_do_not_count() -> None:
    """What weighs nothing changes neither the temperature nor the loss."""
    logits, codes = drawn(1.5, 400)
    weights = np.ones(400, np.float32)
    wrong = np.concatenate([codes, 3 - codes])
    doubled, beside = np.concatenate([logits, logits]), np.concatenate([weights, 0 * weights])
    assert fit_temperature(doubled, wrong, beside) == fit_temperature(logits, codes, weights)
    assert log_loss(doubled, wrong, beside) == pytest.approx(log_loss(logits, codes, weights), rel=1e-12)


def test_rows_that_are_all_right_do_not_make_it_certain() -> None:
    """Where likelihood would have ever more certainty, it is no more than twice what was learnt."""
    logits = np.eye(3, dtype=np.float32) * 4
    assert fit_temperature(logits, np.arange(3), np.ones(3, np.float32)) == pytest.approx(0.5, rel=1e-6)


def test_log_loss_is_that_of_the_true_class() -> None:
    """It is the mean of -log p, also where p is too small for a float."""
    logits = np.array([[0, 0], [2_000, 0]], np.float32)
    assert log_loss(logits, np.array([0, 1]), np.ones(2, np.float32)) == pytest.approx((np.log(2) + 2_000) / 2)
