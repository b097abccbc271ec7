"""The numbers of a fit as the members of a file, and back."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast.errors import SchemaError
from mixeff_fast.fit.certificate import Certificate
from mixeff_fast.fit.glmm import GlmmResult
from mixeff_fast.fit.lmm import LmmResult
from mixeff_fast.schemas.archive import FitStateRecord, GlmmStateRecord
from mixeff_fast.storage.arrays import array_bytes, read_array
from mixeff_fast.storage.plain import from_plain, to_plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mixeff_fast.storage.archive import Archive, Member
    from mixeff_fast.storage.state import FitState

_ARRAYS = ("theta", "beta", "vcov")
_PER_FACTOR = ("effects", "spherical")
_NUMBERS = ("sigma", "objective", "pwrss", "logdet")
_GLMM_NUMBERS = ("objective", "deviance", "penalty", "logdet", "saturated", "inner_decrement", "parameter", "parameter_error")
_GLMM_FIELDS = tuple(field.name for field in fields(GlmmResult) if field.name in GlmmStateRecord.model_fields)
# numbers of which NaN says that there is none
_OPTIONAL = ("parameter", "parameter_error")


def result_record(fit: FitState) -> FitStateRecord:
    """What is no array."""
    result = fit.result
    glmm = None
    if isinstance(result, GlmmResult):
        glmm = GlmmStateRecord(inference=fit.inference, **{name: getattr(result, name) for name in _GLMM_FIELDS})
    return FitStateRecord(
        reml=isinstance(result, LmmResult) and result.reml, refitted=fit.refitted, control=to_plain(fit.control),
        certificate=to_plain(replace(result.certificate, information=None)), glmm=glmm,
    )


def result_members(result: LmmResult | GlmmResult) -> Iterator[Member]:
    """The arrays."""
    glmm = isinstance(result, GlmmResult)
    for name in (*_ARRAYS, "aliased", "point" if glmm else "lam"):
        yield f"arrays/{name}.npy", array_bytes(getattr(result, name))
    numbers = [getattr(result, name) for name in (_GLMM_NUMBERS if glmm else _NUMBERS)]
    yield "arrays/numbers.npy", array_bytes(np.array([math.nan if number is None else number for number in numbers]))
    if result.certificate.information is not None:
        yield "arrays/information.npy", array_bytes(result.certificate.information)
    for name in (*_PER_FACTOR, "singular"):
        for k, array in enumerate(getattr(result, name)):
            yield f"arrays/{name}-{k}.npy", array_bytes(array)


def _several(archive: Archive, name: str) -> tuple[Any, ...]:
    found: list[Any] = []
    while f"arrays/{name}-{len(found)}.npy" in archive:
        member = f"{name}-{len(found)}"
        found.append(read_array(archive.read(f"arrays/{member}.npy"), member, "float64"))
    return tuple(found)


def read_result(record: FitStateRecord, archive: Archive, has_family: bool) -> LmmResult | GlmmResult:
    """The numbers of a fit.

    Raises
    ------
    SchemaError
        They are those of a model of another kind.
    """
    glmm = record.glmm
    if (glmm is not None) != has_family or (glmm is not None and record.reml):
        raise SchemaError("the state of the fit is that of a model of another kind")

    def array(name: str, dtype: str = "float64", shape: tuple[int | None, ...] | None = None) -> Any:
        return read_array(archive.read(f"arrays/{name}.npy"), name, dtype, shape)

    certificate = from_plain(Certificate, record.certificate)
    if glmm is not None and "arrays/information.npy" in archive:
        certificate = replace(certificate, information=array("information", shape=(None, None)))
    names = _NUMBERS if glmm is None else _GLMM_NUMBERS
    values: dict[str, Any] = dict(zip(names, array("numbers", shape=(len(names),)).tolist(), strict=True))
    values |= {name: array(name) for name in (*_ARRAYS, "lam" if glmm is None else "point")}
    values |= {name: _several(archive, name) for name in (*_PER_FACTOR, "singular")}
    values |= {"aliased": array("aliased", "bool"), "certificate": certificate}
    if glmm is None:
        return LmmResult(reml=record.reml, **values)
    values |= {name: None for name in _OPTIONAL if math.isnan(values[name])}
    return GlmmResult(**{name: getattr(glmm, name) for name in _GLMM_FIELDS}, **values)
