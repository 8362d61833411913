"""Where an ONNX model keeps numbers outside of its own file, read off its bytes: onnx itself is not needed to serve.

A protocol buffer is a row of fields, each a key (number and wire type) and a value. Only the fields on the way from
the model to the external data of its tensors are entered; everything else, numbers included, is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["external_files"]

# Message -> number of the field -> message in it; from onnx.proto3.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}
_VARINT, _EIGHT_BYTES, _LENGTH, _FOUR_BYTES = 0, 1, 2, 5


def external_files(model: bytes) -> set[str]:
    """Names of the files that a model refers to, as they stand in it.

    Raises
    ------
    ValueError
        If the bytes are no ONNX model.
    """
    try:
        return set(_locations(memoryview(model), "model"))
    except (IndexError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError("not an ONNX model") from error


def _locations(message: memoryview, kind: str) -> Iterator[str]:
    if kind == "entry":
        entry = {number: bytes(value) for number, value in _fields(message)}
        if entry.get(1) == b"location":
            yield entry.get(2, b"").decode()
        return
    for number, value in _fields(message):
        inside = _INSIDE[kind].get(number)
        if inside is not None:
            yield from _locations(value, inside)


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Number and bytes of every field that has a length."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        wire = key & 7
        if wire == _VARINT:
            _, place = _varint(message, place)
        elif wire == _LENGTH:
            length, place = _varint(message, place)
            if length > len(message) - place:
                raise IndexError("a field that ends after its message")
            yield key >> 3, message[place : place + length]
            place += length
        elif wire in (_EIGHT_BYTES, _FOUR_BYTES):
            place += 8 if wire == _EIGHT_BYTES else 4
        else:
            raise IndexError(f"wire type {wire}")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """An integer of seven bits a byte, lowest first, and the place after it."""
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
        if shift > 63:
            raise IndexError("an integer of more than ten bytes")
