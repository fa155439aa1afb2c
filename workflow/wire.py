"""Answers and checks in two processes: plain values as messages, functions as calls.

The checks of the exercises run where a submission cannot reach them, and its answers
where they can do no harm. An answer is a function: this side sends arguments, that
side calls it and sends what it gives. Arguments may be functions, too, so both sides
use the same `Peer`.

What comes from a submission is never unpickled. Values are numbers, texts, lists,
arrays, tensors, and dataclasses of the library, made anew from their fields; functions
arrive as a number to call. Only what the trusted side sends may be pickled.
"""

import base64
import builtins
import contextlib
import json
import pickle
import struct
import time
from dataclasses import fields, is_dataclass
from fractions import Fraction
from importlib import import_module

import numpy as np
import torch
from parcels import HIDDEN, Unfit, array, from_array, pickled, tensor, to_text

LARGEST = 2**27  # bytes of a message
PLAIN = (bool, int, float, str, type(None))
SEQUENCES = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
KINDS = {*SEQUENCES, "ellipsis", "tensor", "array", "scalar", "bytes", "dict"}
KINDS |= {"fraction", "function", "object", "known", "dataclass"}


class Peer:
    """One of the two sides of a connection. Only the trusted one sends pickles."""

    def __init__(self, connection, trusted: bool, seconds: float | None = None):
        self.connection, self.trusted = connection, trusted
        self.until = None if seconds is None else time.monotonic() + seconds
        self.functions = []  # ours, which the other side may call by their place
        self.sent, self.known = {}, {}  # objects that both sides have, by a number

    # Messages

    def send(self, message):
        data = json.dumps(message).encode()
        self.connection.settimeout(self.left())
        self.connection.sendall(struct.pack("!Q", len(data)) + data)

    def receive(self) -> dict:
        (size,) = struct.unpack("!Q", self.read(8))
        if size > LARGEST:
            raise Unfit(f"a value of more than {LARGEST >> 20} MB")
        message = json.loads(self.read(size))
        if not isinstance(message, dict):
            raise Unfit("no message")
        return message

    def read(self, size) -> bytes:
        data = bytearray()
        while len(data) < size:
            self.connection.settimeout(self.left())
            try:
                part = self.connection.recv(min(size - len(data), 2**20))
            except TimeoutError:
                raise TimeoutError("no answer in time") from None
            if not part:
                raise EOFError("the other side has ended")
            data += part
        return bytes(data)

    def left(self) -> float | None:
        """Seconds that this connection still has."""
        if self.until is None:
            return None
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("no answer in time")
        return left

    # Calls

    def call(self, place, arguments, options):
        """Call a function of the other side."""
        values = self.pack([list(arguments), options])
        self.send({"call": place, "values": values})
        return self.result()

    def result(self):
        """What the other side gives, and what it asks for in the meantime."""
        while True:
            message = self.receive()
            if "call" in message:
                self.serve(message)
            elif "raises" in message:
                raise error(*message["raises"])
            else:
                return self.unpack(message["gives"])

    def serve(self, message):
        """Call a function of ours for the other side."""
        try:
            arguments, options = self.unpack(message["values"])
            given = self.functions[int(message["call"])](*arguments, **options)
            reply = {"gives": self.pack(given)}
        except (EOFError, TimeoutError, ConnectionError):
            raise
        except Exception as failure:
            reply = {"raises": [type(failure).__name__, str(failure)[:2000]]}
        self.send(reply)

    # Values

    def pack(self, value):
        """A value as what JSON can hold."""
        if type(value) in PLAIN:
            return value
        if value is ...:
            return {"is": "ellipsis"}
        if isinstance(value, torch.Tensor):
            return {"is": "tensor", **tensor(value)}
        if isinstance(value, np.generic):
            return {"is": "scalar", **array(np.asarray(value))}
        if isinstance(value, np.ndarray):
            return {"is": "array", **array(value)}
        return self.pack_more(value)

    def pack_more(self, value):
        if isinstance(value, bytes | bytearray):
            return {"is": "bytes", "data": to_text(value)}
        if isinstance(value, Fraction):
            return {"is": "fraction", "parts": [value.numerator, value.denominator]}
        if isinstance(value, dict):
            items = [[self.pack(k), self.pack(v)] for k, v in value.items()]
            return {"is": "dict", "items": items}
        for name, kind in SEQUENCES.items():
            if isinstance(value, kind) and not self.keeps_its_class(value):
                return {"is": name, "items": [self.pack(v) for v in value]}
        return self.pack_object(value)

    def keeps_its_class(self, value) -> bool:
        """A named tuple goes to the untrusted side as it is, and comes back plain."""
        return self.trusted and hasattr(value, "_fields")

    def pack_object(self, value):
        if self.trusted and id(value) in self.sent:
            return {"is": "known", "number": self.sent[id(value)][0]}
        if self.trusted and (data := pickled(value)) is not None:
            number = len(self.sent)
            self.sent[id(value)] = number, value  # and the value lives on
            return {"is": "object", "number": number, "data": to_text(data)}
        if is_dataclass(value) and type(value).__module__.startswith("helpers."):
            return self.pack_dataclass(value)
        if callable(value):
            self.functions.append(value)
            return {"is": "function", "place": len(self.functions) - 1}
        raise Unfit(f"{type(value).__name__} is no number, list, array or function")

    def pack_dataclass(self, value):
        parts = {f.name: self.pack(getattr(value, f.name)) for f in fields(value)}
        kind = [type(value).__module__, type(value).__name__]
        return {"is": "dataclass", "kind": kind, "parts": parts}

    def unpack(self, message):
        """The value; anything but a value of the kinds above is refused."""
        if type(message) in PLAIN:
            return message
        kind = message["is"]
        if kind not in KINDS:
            raise Unfit(f"{kind!r} is no kind of value")
        if kind in SEQUENCES:
            return SEQUENCES[kind](self.unpack(v) for v in message["items"])
        if kind in ("object", "known") and self.trusted:
            raise Unfit("an object that is no value")
        return getattr(self, f"unpack_{kind}")(message)

    def unpack_ellipsis(self, message):
        return ...

    def unpack_tensor(self, message):
        return torch.from_numpy(from_array(message))

    def unpack_array(self, message):
        return from_array(message)

    def unpack_scalar(self, message):
        return from_array(message)[()]

    def unpack_bytes(self, message):
        return base64.b64decode(message["data"])

    def unpack_fraction(self, message):
        return Fraction(*map(int, message["parts"]))

    def unpack_dict(self, message):
        return {self.unpack(k): self.unpack(v) for k, v in message["items"]}

    def unpack_function(self, message):
        place = int(message["place"])
        return lambda *arguments, **options: self.call(place, arguments, options)

    def unpack_object(self, message):
        value = pickle.loads(base64.b64decode(message["data"]))
        self.known[message["number"]] = value
        return value

    def unpack_known(self, message):
        return self.known[message["number"]]

    def unpack_dataclass(self, message):
        module, name = map(str, message["kind"])
        if not module.startswith("helpers.") or module.startswith(HIDDEN):
            raise Unfit(f"{module}.{name} is not of the library")
        kind = vars(import_module(module)).get(name)
        if not (is_dataclass(kind) and isinstance(kind, type)):
            raise Unfit(f"{module}.{name} is no dataclass")
        return kind(**{k: self.unpack(v) for k, v in message["parts"].items()})


def error(name, text) -> Exception:
    """The error of the other side, if it is one that Python has."""
    kind = getattr(builtins, str(name), None)
    if isinstance(kind, type) and issubclass(kind, Exception):
        with contextlib.suppress(Exception):  # some want more than a text
            return kind(str(text))
    return RuntimeError(f"{name}: {text}")
