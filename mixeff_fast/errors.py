"""Typed errors and notices.

Every error carries a stable ``code``, a message that names the remedy, and the facts behind it in ``fields``
(also readable as attributes): ``err.fields["column"]`` is ``err.column``.
"""

from __future__ import annotations

from typing import Any, ClassVar


class MixeffError(Exception):
    """Base of every error that mixeff_fast raises on purpose.

    Parameters
    ----------
    message
        What is wrong and what mends it.
    fields
        The facts of the case (column, rows, counts, ...), kept as ``fields`` and readable as attributes.
    """

    code: ClassVar[str] = "mm_error"

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.fields = fields

    def __getattr__(self, name: str) -> Any:
        fields = self.__dict__.get("fields", {})
        if name in fields:
            return fields[name]
        raise AttributeError(f"{type(self).__name__!r} has no field {name!r}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.message, self.fields)


def _rebuild(cls: type[MixeffError], message: str, fields: dict[str, Any]) -> MixeffError:
    return cls(message, **fields)


class FormulaError(MixeffError):
    """A formula that cannot be read, or that asks for something formulas may not ask for.

    Fields: ``formula`` (the whole text), ``kind`` (a label such as ``"UnmatchedParen"``), ``offset`` and
    ``length`` (the offending characters, counted from 0).
    """

    code = "mm_formula_error"

    def __init__(self, message: str, *, formula: str = "", kind: str = "Other", offset: int = 0, length: int = 0,
                 **fields: Any) -> None:
        self.reason = message
        caret = ""
        if formula:
            line_start = formula.rfind("\n", 0, offset) + 1
            line_end = formula.find("\n", offset)
            line = formula[line_start:] if line_end < 0 else formula[line_start:line_end]
            first = max(0, offset - line_start - 60)
            shown = line[first : offset - line_start + 60]
            caret = f"\n  {shown}\n  {' ' * (offset - line_start - first)}{'^' * max(1, min(length, 60))}"
        super().__init__(message + caret, formula=formula, kind=kind, offset=offset, length=length, **fields)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.reason, self.fields)


class DataError(MixeffError):
    """Data that cannot enter a model: missing columns or values, wrong types, unseen levels, infinite values."""

    code = "mm_data_error"


class SchemaError(MixeffError):
    """An artifact or archive whose name, version or content does not match its schema."""

    code = "mm_schema_error"


class ArgumentError(MixeffError, ValueError):
    """An argument outside its documented values."""

    code = "mm_arg_error"


class InferenceUnavailable(MixeffError):
    """An inferential quantity that cannot be certified for this fit; ``reason_code`` says why."""

    code = "mm_inference_unavailable"


class NotIdentifiable(MixeffError):
    """A model whose parameters the data cannot tell apart."""

    code = "mm_not_identifiable"


class FitError(MixeffError):
    """A model that compiled but cannot be fitted; ``reason_code`` says why."""

    code = "mm_fit_error"


class BackendError(MixeffError):
    """The numerical engine failed in a way that is not the caller's doing."""

    code = "mm_backend_error"


class MixeffNotice(UserWarning):
    """Base of the notices: facts the caller should know that do not stop the work. Each is also in the artifact."""

    code: ClassVar[str] = "mm_notice"


class GroupingCoercionNotice(MixeffNotice):
    """A numeric or logical grouping column was read as a factor."""

    code = "mm_grouping_coercion_notice"


class FactorCoercionNotice(MixeffNotice):
    """A response of two labels was read as failure and success."""

    code = "mm_factor_coercion_notice"


class ScalingNotice(MixeffNotice):
    """Predictors on very different scales. The engine scales inside; results stay in the caller's units."""

    code = "mm_scaling_notice"


class RankNotice(MixeffNotice):
    """Fixed-effect columns that are linear combinations of earlier ones were left out of the fit."""

    code = "mm_rank_notice"


class LevelsNotice(MixeffNotice):
    """Unused levels were dropped, or an order of levels was assumed."""

    code = "mm_levels_notice"


class MissingRowsNotice(MixeffNotice):
    """Rows with missing values were left out because ``na_action="omit"``."""

    code = "mm_missing_rows_notice"


class ConvergenceNotice(MixeffNotice):
    """The optimizer did not reach a point that the certificate accepts."""

    code = "mm_convergence_notice"


class SeparationNotice(MixeffNotice):
    """Outcomes of a binomial response are separated, so that the likelihood need have no maximum at finite estimates."""

    code = "mm_separation_notice"


class MeanNotice(MixeffNotice):
    """Linear predictors of a prediction or a simulation have no mean in the family's space: NaN stands in their place."""

    code = "mm_mean_notice"


class KernelNotice(MixeffNotice):
    """Facts about kernel compilation, such as a cache folder that cannot be written."""

    code = "mm_kernel_notice"
