"""Weights as one number."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def weights_digest(module: nn.Module) -> str:
    """The hexadecimal SHA-256 over names, shapes, dtypes and bytes of a module's state, in its order.

    Where the weights are makes no difference; a weight that differs in one bit does.
    """
    return state_digest(module.state_dict())


def state_outside(whole: nn.Module, part: nn.Module) -> dict[str, Tensor]:
    """A module's state without that of a part of it: of a model without its vision tower, what texts pass through."""
    inside = {value.data_ptr() for value in part.state_dict().values() if value.numel()}
    return {name: value for name, value in whole.state_dict().items() if value.data_ptr() not in inside}


def state_digest(state: Mapping[str, Tensor]) -> str:
    """`weights_digest` of a state, or of a part of one."""
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(f"{name}{tuple(value.shape)}{value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
