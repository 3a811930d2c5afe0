"""Weights as one number."""

import hashlib

import torch
from torch import nn


def weights_digest(module: nn.Module) -> str:
    """The hexadecimal SHA-256 over names, shapes, dtypes and bytes of a module's state, in its order.

    Where the weights are makes no difference; a weight that differs in one bit does.
    """
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
