"""Predictions for the rows of the fit or for new data: population, conditional on all random effects, or on some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast.errors import ArgumentError, DataError
from mixeff_fast.fit.lmm import linear_predictor
from mixeff_fast.formula import model_formula, render
from mixeff_fast.frame import design_columns, read_new
from mixeff_fast.vocabulary import among

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.fit.lmm import LmmResult

    Float = NDArray[np.float64]


def chosen_effects(model: CompiledModel, effects: tuple[Float, ...], re_form: str | None) -> tuple[Float | None, ...]:
    """Effects to condition on: all (None), none (``"population"``), or those a formula names; per factor, None for none.

    Raises
    ------
    ArgumentError
        An effect the model does not have, or no random term.
    """
    if re_form is None:
        return effects
    if among(re_form, ("population",)):
        return tuple(None for _ in effects)
    text = re_form.strip() if isinstance(re_form, str) else ""
    terms = model_formula("response " + text).random if text.startswith("~") else ()
    if not terms:
        raise ArgumentError(
            f're_form is None, "population" or a one-sided formula of random terms such as "~(1 | g)", not {re_form!r}',
            argument="re_form",
        )
    kept = [np.zeros_like(e) for e in effects]
    used = [False] * len(effects)
    for term in terms:
        missing = {v.key for each in term.lhs.terms for v in each.variables} - set(model.frame.variables)
        if not missing:
            missing = set(design_columns(term.lhs, model.frame.variables).names)
            wanted = frozenset(missing)
            for block in model.blocks:
                if model.factors[block.factor].group.name != term.group_name:
                    continue
                for column, name in enumerate(block.names, block.first):
                    if name in wanted:
                        kept[block.factor][:, column] = effects[block.factor][:, column]
                        used[block.factor] = True
                        missing.discard(name)
        if missing:
            raise ArgumentError(
                f"re_form asks for {', '.join(sorted(missing))} by {term.group_name}, which the model "
                f"{render(model.formula)} does not have",
                argument="re_form",
                missing=sorted(missing),
            )
    return tuple(e if u else None for e, u in zip(kept, used, strict=True))


def predict_rows(
    model: CompiledModel,
    result: LmmResult | GlmmResult,
    newdata: Any,
    re_form: str | None,
    allow_new_levels: bool,
    offset: Any = None,
) -> Float:
    """Predicted linear predictors, of a linear model the responses, shape (rows,).

    Raises
    ------
    DataError
        Columns missing from ``newdata``, unseen levels of a fixed effect, or unseen levels of a grouping factor without
        ``allow_new_levels`` (with it their effects are zero, the mean of their distribution).
    """
    effects = chosen_effects(model, result.effects, re_form)
    full = tuple(np.zeros((0, f.width)) if e is None else e for e, f in zip(effects, model.factors, strict=True))
    frame = model.frame
    if newdata is None:
        if offset is not None:
            raise ArgumentError("offset goes with newdata; the rows of the fit have theirs", argument="offset")
        codes = tuple(None if e is None else f.group.codes for e, f in zip(effects, model.factors, strict=True))
        out = linear_predictor(model, result.beta, full, frame.variables, codes, frame.n)
        return out if frame.offset is None else out + frame.offset
    names = [f.group.name for e, f in zip(effects, model.factors, strict=True) if e is not None]
    new = read_new(frame.scheme, newdata, fixed=True, groups=names, offset=offset)
    if not allow_new_levels:
        for name in names:
            unseen = np.flatnonzero(new.groups[name].codes < 0)
            if len(unseen):
                raise DataError(
                    f"grouping factor {name!r} has levels in rows {unseen[:5].tolist()} ({len(unseen)} rows) that the fit has "
                    "not seen; allow_new_levels=True predicts them with random effects of zero",
                    column=name,
                    rows=unseen[:5].tolist(),
                    count=len(unseen),
                )
    codes = tuple(
        None if e is None else new.groups[f.group.name].codes for e, f in zip(effects, model.factors, strict=True)
    )
    out = linear_predictor(model, result.beta, full, new.variables, codes, new.n)
    return out if new.offset is None else out + new.offset
