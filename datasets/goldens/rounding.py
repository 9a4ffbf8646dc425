"""Elementary functions of float32 as they would be with one rounding.

libtorch takes them from MKL, whose last bits differ between processors (its high accuracy is an error below one unit in
the last place, not half of one). Goldens that only one maker of processors could give would hold nobody else to account.
"""

import contextlib
import functools

import torch
from tracing import replaced

FUNCTIONS = ("sqrt", "exp", "expm1", "log", "sin", "cos", "pow", "lerp")


def _once(function):
    @functools.wraps(function)
    def rounded(*arguments, **keywords):
        single = [isinstance(x, torch.Tensor) and x.dtype == torch.float32 for x in arguments]
        if not any(single):
            return function(*arguments, **keywords)
        wide = [x.double() if is_single else x for x, is_single in zip(arguments, single)]
        return function(*wide, **keywords).float()

    return rounded


@contextlib.contextmanager
def one_rounding():
    """Inside, `FUNCTIONS` and `**` of float32 tensors are computed in float64 and rounded to float32."""
    with contextlib.ExitStack() as stack:
        for name in FUNCTIONS:
            stack.enter_context(replaced(torch, name, _once(getattr(torch, name))))
            stack.enter_context(replaced(torch.Tensor, name, _once(getattr(torch.Tensor, name))))
        for name in ("__pow__", "__rpow__"):
            stack.enter_context(replaced(torch.Tensor, name, _once(getattr(torch.Tensor, name))))
        yield
