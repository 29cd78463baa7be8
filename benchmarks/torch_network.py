"""Builds and trains a network in PyTorch, as its users would write it."""

from typing import Literal

import numpy as np

from dgex.networks import NetworkConfig
from dgex.protocols import Protocol

Compiled = Literal["nothing", "forward", "all"]


class TorchNetwork:
    """Trains an ``nn.Sequential``; the samples are tensors already, so that no data loader takes time.

    It runs on the GPU where PyTorch finds one. As in dgex, products of float32 are TF32 there at the default precision,
    and those of a bfloat16 network are bfloat16, with parameters and loss in float32 (autocast).

    ``compiled`` says what ``torch.compile`` gets: nothing, the forward pass and so its gradient, or the optimiser as
    well. With ``fused`` the optimiser is the fused Adam, as there is no fused NAdam.
    """

    def __init__(
        self, config: NetworkConfig, protocol: Protocol, weights: list[np.ndarray],
        landmark: np.ndarray, target: np.ndarray, *, compiled: Compiled = "nothing", fused: bool = False,
    ) -> None:  # fmt: skip
        import torch
        from torch import nn

        class Affine(nn.Module):
            """Computes ``scale * x + shift``, with a learnable scale and shift for each unit."""

            def __init__(self, units: int) -> None:
                super().__init__()
                self.scale = nn.Parameter(torch.ones(units))
                self.shift = nn.Parameter(torch.zeros(units))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.scale * x + self.shift

        def layer(inputs: int, units: int, activation: nn.Module, adaptive: bool) -> list[nn.Module]:
            dense = nn.Linear(inputs, units, bias=not adaptive)
            return [dense, Affine(units), activation, Affine(units)] if adaptive else [dense, activation]

        activation = getattr(nn, config.activation.capitalize())()
        layers: list[nn.Module] = []
        inputs = config.landmarks
        for units in config.hidden:
            layers += [*layer(inputs, units, activation, config.taaf != "none"), nn.Dropout(config.dropout)]
            inputs = units
        adaptive = config.taaf == "all"
        layers += layer(inputs, config.targets, activation if adaptive else nn.Identity(), adaptive)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.model = nn.Sequential(*layers).to(self.device)
        with torch.no_grad():
            for parameter, weight in zip(self.model.parameters(), weights, strict=True):
                parameter.copy_(torch.from_numpy(weight).T if weight.ndim == 2 else torch.from_numpy(weight))
        # The epsilon is Keras's; NAdam's momentum schedule is the same as Keras's.
        parameters, eps = list(self.model.parameters()), 1e-7
        self.optimizer: torch.optim.Optimizer = (
            torch.optim.Adam(parameters, protocol.learning_rate, eps=eps, fused=True)
            if fused
            else torch.optim.NAdam(parameters, protocol.learning_rate, eps=eps)
        )
        self.forward = self.model if compiled == "nothing" else torch.compile(self.model)
        self.update = torch.compile(self.optimizer.step) if compiled == "all" else self.optimizer.step
        self.batch = protocol.batch
        self.bfloat16 = config.compute_dtype == "bfloat16"
        self.tf32 = self.device == "cuda" and config.matmul_precision == "default"
        self.landmark, self.target = (torch.from_numpy(values).to(self.device) for values in (landmark, target))

    def parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    def predict(self, landmark: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            return self.model.eval()(torch.from_numpy(landmark).to(self.device)).cpu().numpy()

    def train_epoch(self) -> None:
        import torch

        torch.set_float32_matmul_precision("high" if self.tf32 else "highest")
        self.model.train()
        for batch in torch.randperm(len(self.landmark), device=self.device).split(self.batch):
            self.optimizer.zero_grad()
            with torch.autocast(self.device, torch.bfloat16, enabled=self.bfloat16):
                loss = torch.nn.functional.l1_loss(self.forward(self.landmark[batch]), self.target[batch])
            loss.backward()
            self.update()
        if self.device == "cuda":
            torch.cuda.synchronize()
