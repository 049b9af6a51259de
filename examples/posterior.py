"""Posterior sampling as in simulation-based inference: p(theta | x) of a simulator, in 6 steps."""

import torch
from torch import nn

import steindiff as sd
from steindiff.adapters.callable import from_function


def simulate(theta: torch.Tensor) -> torch.Tensor:
    """Two moons (Greenberg et al. 2019): theta (N, 2) -> x (N, 2)."""
    angle = torch.pi * (torch.rand(len(theta)) - 0.5)
    radius = 0.1 + 0.01 * torch.randn(len(theta))
    moon = torch.stack([radius * angle.cos() + 0.25, radius * angle.sin()], dim=1)
    return moon + torch.stack([-theta.sum(1).abs(), theta[:, 1] - theta[:, 0]], dim=1) / 2**0.5


torch.manual_seed(0)
layers = [nn.Linear(5, 128), nn.SiLU(), nn.Linear(128, 128), nn.SiLU()]
net = nn.Sequential(*layers, nn.Linear(128, 2))
optimizer = torch.optim.Adam(net.parameters(), 2e-3)
for _ in range(1200):
    theta, noise, t = 2 * torch.rand(512, 2) - 1, torch.randn(512, 2), torch.rand(512, 1)
    velocity = net(torch.cat([(1 - t) * theta + t * noise, t, simulate(theta)], dim=1))
    optimizer.zero_grad()
    (velocity - (noise - theta)).square().mean().backward()
    optimizer.step()

flow = from_function(
    lambda theta, t, x: net(torch.cat([theta, t[:, None], x], dim=1)), "flow", coordinates="flow"
)
start, given = sd.noise((2,), 80.0, range(1000)), {"x": torch.zeros(1000, 2)}
levels = sd.schedules.karras(30, final="zero")
fine = sd.sample(flow, start, levels, "heun", None, conditioning=given).x
for coefficient in (None, "auto"):
    y = sd.sample(flow, start, steps=6, coefficient=coefficient, conditioning=given).x
    print(f"coefficient {coefficient}: relative error {(y - fine).norm() / fine.norm():.3f}")
