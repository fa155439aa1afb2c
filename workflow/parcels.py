"""Parts of the messages of `wire`: arrays as texts, functions as their code.

Only what the trusted side sends is ever unpickled.
"""

import base64
import io
import marshal
import pickle
from importlib import import_module
from types import CellType, CodeType, FunctionType, ModuleType

import numpy as np
import torch

HIDDEN = ("helpers.checks", "__main__")  # modules that the other side does not have


class Unfit(TypeError):
    """A value of a kind that no answer needs."""


def to_text(data) -> str:
    return base64.b64encode(data).decode()


def array(value) -> dict:
    """A NumPy array of numbers as a message."""
    if value.dtype.kind not in "biufc":
        raise Unfit(f"an array of {value.dtype} is not an array of numbers")
    data = to_text(np.ascontiguousarray(value).tobytes())
    return {"dtype": value.dtype.str, "shape": list(value.shape), "data": data}


def from_array(message) -> np.ndarray:
    dtype = np.dtype(str(message["dtype"]))
    if dtype.kind not in "biufc":
        raise Unfit(f"{dtype} is no kind of number")
    data = bytearray(base64.b64decode(message["data"]))
    return np.frombuffer(data, dtype).reshape(message["shape"])


def tensor(value) -> dict:
    value = value.detach().cpu()
    value = value.float() if value.dtype in (torch.bfloat16, torch.half) else value
    return array(value.numpy())


class OnlyShared(pickle.Pickler):
    """For the other side, which lacks some modules.

    A function that it cannot import goes there as its code, so that derivatives can be
    taken of it. One that draws random numbers stays here and is called from there.
    """

    def __init__(self, file, whole):
        super().__init__(file)
        self.whole = whole  # a generator that is an argument is the answer's to use

    def reducer_override(self, value):
        generator = isinstance(value, torch.Generator | np.random.Generator)
        if generator and value is not self.whole:
            raise pickle.PicklingError("its state belongs to one side")
        if isinstance(value, ModuleType):
            return import_module, (value.__name__,)
        hidden = str(getattr(value, "__module__", "")).startswith(HIDDEN)
        if isinstance(value, FunctionType) and (hidden or "<" in value.__qualname__):
            return function, parts(value)
        if hidden:
            raise pickle.PicklingError("not known on the other side")
        return NotImplemented


def parts(function) -> tuple:
    """What a function is made of: its code and all that the code looks up."""
    looked_up = {n for code in codes(function.__code__) for n in code.co_names}
    around = {n: v for n, v in function.__globals__.items() if n in looked_up}
    cells = tuple(cell.cell_contents for cell in function.__closure__ or ())
    code = marshal.dumps(function.__code__)
    return code, around, function.__defaults__, cells, function.__kwdefaults__


def codes(code):
    """The code of a function and of the functions in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from codes(part)


def function(code, around, defaults, cells, named):
    """The function of these parts."""
    closure = tuple(map(CellType, cells))
    made = FunctionType(marshal.loads(code), dict(around), None, defaults, closure)
    made.__kwdefaults__ = named
    return made


def pickled(value) -> bytes | None:
    file = io.BytesIO()
    try:
        OnlyShared(file, value).dump(value)
    except Exception:  # a function inside another, a lambda, an open file
        return None
    return file.getvalue()
