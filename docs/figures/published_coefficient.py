"""Figure: the published coefficient is 1/(1 - r) for Euler, and what sampling with it does.

python docs/figures/published_coefficient.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure

import steindiff as sd
from steindiff.stein import Published

DIMENSION, COMPONENTS, SAMPLES, SEED = 32, 8, 1024, 0
OUT = Path(__file__).with_suffix(".png")


def mixture() -> sd.denoisers.GaussianMixture:
    generator = torch.Generator().manual_seed(SEED)
    means = 2 * torch.randn(COMPONENTS, DIMENSION, generator=generator, dtype=torch.float64)
    return sd.denoisers.GaussianMixture(means, 0.1)


def on_the_marginal(sigma: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(SEED + 1)
    clean = mixture().sample(SAMPLES, generator)
    return clean + sigma * torch.randn(clean.shape, generator=generator, dtype=torch.float64)


def gamma(ratio: float, sigma: float) -> float:
    """The coefficient of one Euler step with the exact divergence, pooled over the batch."""
    rule = Published(estimator="exact", gamma_max=None, mean="batch")
    levels = [sigma, ratio * sigma, ratio * sigma / 10]
    record = sd.sample(
        mixture(), on_the_marginal(sigma), levels, "euler", rule, end="none", record=True
    ).record
    assert record is not None
    return float(record.gamma[0, 0])


def main() -> None:
    figure = Figure(figsize=(10, 3.8), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    ratios = torch.linspace(0.05, 0.9, 18).tolist()
    left.plot(ratios, [1 / (1 - r) for r in ratios], color="#444", label="1/(1 - r)")
    for sigma, marker in ((5.0, "o"), (1.0, "s"), (0.3, "^")):
        values = [gamma(r, sigma) for r in ratios]
        left.plot(ratios, values, marker, label=f"measured at sigma = {sigma:g}", alpha=0.7)
    left.set(xlabel="r = sigma'/sigma", ylabel="published gamma*", yscale="log")
    left.set_title("The published coefficient of an Euler step", fontsize=11)
    left.legend()

    x, fine_levels = on_the_marginal(10.0), sd.schedules.karras(100, 0.02, 10.0)
    fine = sd.sample(mixture(), x, fine_levels, "heun", None).x
    steps = list(range(3, 13))
    rules = {
        "Euler": None,
        "published, gamma <= 1": Published(estimator="ratio"),
        "published, unclamped": Published(estimator="ratio", gamma_max=None),
        "energy (default)": sd.stein.Energy(),
    }
    for name, rule in rules.items():
        errors = []
        for count in steps:
            levels = sd.schedules.karras(count, 0.02, 10.0)
            error = sd.sample(mixture(), x, levels, "euler", rule, end="none").x - fine
            errors.append(error.square().mean().sqrt().item())
        right.plot(steps, errors, "--" if "<=" in name else "-", label=name)
        print(f"{name:24}", [f"{error:.3g}" for error in errors])
    right.set(xlabel="NFE", ylabel="RMSE to the fine solution", yscale="log")
    right.set_title(f"Exact denoiser: mixture in {DIMENSION} dimensions", fontsize=11)
    right.legend()
    figure.savefig(OUT)


if __name__ == "__main__":
    main()
