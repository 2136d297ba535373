"""What computes a run: device, precision, threads, and whether results have to repeat bit for bit."""

from __future__ import annotations

import os
from typing import Any

import torch

from edgeface.errors import ConfigError
from trainer.config import Config


def prepare(config: Config) -> None:
    """Set torch up for a run: threads, seed, fast or repeatable operators.

    ``deterministic`` takes operators that repeat bit for bit; torch warns of those that have no such form.
    """
    torch.set_num_threads(config.threads or os.cpu_count() or 1)
    torch.manual_seed(config.seed)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(config.deterministic, warn_only=True)
    torch.backends.cudnn.benchmark = not config.deterministic
    torch.set_float32_matmul_precision("highest" if config.deterministic else "high")


def pick_device(name: str) -> torch.device:
    """``auto`` takes the GPU where there is one. Raises ``ConfigError`` for a GPU that is not there."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("`device`: cuda was asked for, but torch sees no GPU here; set device=auto or device=cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def pick_amp(name: str, device: torch.device) -> str:
    """``auto`` takes bf16 where the hardware multiplies it, fp16 on other GPUs, and nothing on other CPUs."""
    if name != "auto":
        if name == "fp16" and device.type == "cpu":
            raise ConfigError("`amp`: fp16 needs a GPU; set amp=auto")
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "off"


def autocast(device: torch.device, amp: str) -> Any:
    dtype = torch.float16 if amp == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=amp != "off")
