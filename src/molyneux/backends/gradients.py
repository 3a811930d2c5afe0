"""Gradients where they are needed, whatever the caller switched off."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

Given = ParamSpec("Given")
Result = TypeVar("Result")


def with_gradients(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """The function, which computes gradients also inside `torch.no_grad()` and `torch.inference_mode()`."""

    @wraps(function)
    def inner(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        with torch.inference_mode(False), torch.enable_grad():
            return function(*args, **kwargs)

    return inner
