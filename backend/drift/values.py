"""Columns as drift knows them: by role, name and kind; and their values as numpy arrays or counts of texts."""

from __future__ import annotations

import hashlib
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Role = Literal["feature", "prediction"]
Kind = Literal["number", "text", "flag", "other"]
Precision = Literal["double", "single", "half"]
ROLES: tuple[Role, ...] = get_args(Role)
KINDS: tuple[Kind, ...] = get_args(Kind)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LONGEST_TEXT = 120
LONGEST_QUOTED = 40
_DTYPES: dict[Precision, type[np.floating[Any]]] = {"double": np.float64, "single": np.float32, "half": np.float16}


def quoted(text: str) -> str:
    """A text from outside within a sentence: short, in one line, without what could pass for our own marks."""
    plain = "".join(one if one.isprintable() and one != "`" else "?" for one in text[: LONGEST_QUOTED + 1])
    return f"`{plain[:LONGEST_QUOTED]}…`" if len(text) > LONGEST_QUOTED else f"`{plain}`"


class Key(NamedTuple):
    """Which column of a model: a feature by its name, or the prediction."""

    role: Role
    name: str

    def __str__(self) -> str:
        return "the prediction" if self.role == "prediction" else quoted(self.name)


PREDICTION = Key("prediction", "prediction")


class Column(NamedTuple):
    """A column that a source of rows has.

    Args:
        key: what it is to the model.
        kind: of its values.
        type: as the source calls it (`double`, `float`, `string`), for people.
        precision: of its numbers.
    """

    key: Key
    kind: Kind
    type: str
    precision: Precision = "double"


def column_of(key: Key, arrow: pa.DataType) -> Column:
    """What a column of an Arrow type is."""
    plain = arrow.value_type if pa.types.is_dictionary(arrow) else arrow
    return Column(key, _kind_of(plain), str(plain), _precision_of(plain))


def _kind_of(arrow: pa.DataType) -> Kind:
    types = pa.types
    if types.is_boolean(arrow):
        return "flag"
    if types.is_integer(arrow) or types.is_floating(arrow) or types.is_decimal(arrow):
        return "number"
    if types.is_string(arrow) or types.is_large_string(arrow) or types.is_string_view(arrow):
        return "text"
    return "other"


def _precision_of(arrow: pa.DataType) -> Precision:
    if pa.types.is_float32(arrow):
        return "single"
    return "half" if pa.types.is_float16(arrow) else "double"


def rounded(values: Floats, precision: Precision) -> Floats:
    """A copy of numbers in a reference's precision, -0 as 0: what was trained in single precision meets itself again when it is
    served in double. A finite number that single precision cannot hold stays as it is instead of becoming infinite."""
    if precision == "double":
        return values + 0.0
    with np.errstate(over="ignore"):
        near = values.astype(_DTYPES[precision]).astype(np.float64) + 0.0
    return np.where(np.isinf(near), values, near)


def aligned(array: pa.Array) -> Floats:
    """The numbers of a column in double precision, row by row, NaN where there is none.

    Raises ArrowInvalid or ValueError for what is no number at all.
    """
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not pa.types.is_floating(array.type):
        array = array.cast(pa.float64(), safe=False)
    return np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64)


def numbers(array: pa.Array) -> tuple[Floats, int]:
    """The numbers of a column without those that are NULL, and how many those are. Raises as `aligned`."""
    return aligned(array.drop_null() if array.null_count else array), int(array.null_count)


def plain_texts(array: pa.Array) -> pa.Array:
    """A column of texts or truth values (as `false` and `true`) as plain strings."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    return array if pa.types.is_string(array.type) else array.cast(pa.string())


def texts(array: pa.Array) -> tuple[dict[str, int], int]:
    """How often each text (or truth value) comes, and how many are NULL."""
    counted = pc.value_counts(plain_texts(array))
    found: dict[str, int] = {}
    for value, count in zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True):
        if value is not None:
            name = text_of(value)
            found[name] = found.get(name, 0) + count
    return found, int(array.null_count)


def text_of(text: str) -> str:
    """A category's name: a long text by its beginning and a digest, so that it stays itself."""
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]}…{hashlib.sha256(text.encode()).hexdigest()[:16]}"
