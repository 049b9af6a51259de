"""Time series: a flow network trained in seconds, and what relaxing its 6 steps changes."""

import math

import torch
from torch import nn

import steindiff as sd
from steindiff.adapters.callable import from_function

LENGTH = 32


def series(count: int) -> torch.Tensor:
    """Oscillations of random phase and frequency with a drift: (count, LENGTH)."""
    t = torch.linspace(0, 1, LENGTH)
    phase, frequency, drift = (torch.rand(count, 1) for _ in range(3))
    return torch.sin(2 * math.pi * ((2 + 2 * frequency) * t + phase)) / 2 + (drift - 0.5) * t


torch.manual_seed(0)
layers = [nn.Linear(LENGTH + 1, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU()]
net = nn.Sequential(*layers, nn.Linear(256, LENGTH))
optimizer = torch.optim.Adam(net.parameters(), 2e-3)
for _ in range(800):
    x0, noise, t = series(256), torch.randn(256, LENGTH), torch.rand(256, 1)
    velocity = net(torch.cat([(1 - t) * x0 + t * noise, t], dim=1))
    optimizer.zero_grad()
    (velocity - (noise - x0)).square().mean().backward()
    optimizer.step()

flow = from_function(
    lambda x, t: net(torch.cat([x, t[:, None]], dim=1)), "flow", coordinates="flow"
)
x = sd.noise((LENGTH,), 80.0, range(500))
fine = sd.sample(flow, x, sd.schedules.karras(30, final="zero"), "heun", None).x
for coefficient in (None, "auto"):
    y = sd.sample(flow, x, steps=6, coefficient=coefficient).x
    print(f"coefficient {coefficient}: relative error {(y - fine).norm() / fine.norm():.3f}")
