"""What this package reads and writes: schemas, formulas, verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mixeff_fast
from mixeff_fast._version import __version__
from mixeff_fast.formula.functions import FUNCTIONS, WRAPPERS
from mixeff_fast.formula.parser import BARS, PRECEDENCE

if TYPE_CHECKING:
    import polars as pl

    from mixeff_fast.schemas.base import Header
    from mixeff_fast.schemas.registry import Negotiated

_INTERCEPT_FORMS = ("1", "0", "-1")
_GROUPINGS = ("g", "a:b", "a & b", "a/b", "a*b")
_FUNCTIONS = (
    "lmm", "glmm", "compile_model", "sufficient_statistics", "parse_formula", "compare", "parametric_bootstrap", "load",
    "revive",
)
_VERBS = (
    "audit", "explain_model", "random_options", "compare_covariance", "random_blocks", "roles", "changes", "parameterization",
    "diagnostics", "optimizer_certificate", "reproducibility", "reporting_table", "as_json", "save", "prepare", "fixef", "coef",
    "ranef", "varcorr", "vcov", "predict", "simulate", "refit", "update", "summary", "inference_table", "inference_options",
    "contrast", "estimability", "lincomb", "test_effect", "anova", "drop1", "test_random_effect", "confint", "profile",
    "verify_convergence", "is_singular", "grid", "predictions", "means", "comparisons", "model_report", "tidy", "glance",
    "augment",
)  # fmt: skip


def known_schemas() -> pl.DataFrame:
    """The schemas of artifacts.

    Returns
    -------
    polars.DataFrame
        ``schema_name``, ``schema_version`` (semantic) and ``status``: ``"emitted"``, or ``"reserved"`` where no verb writes it
        yet.

    Examples
    --------
    >>> known_schemas()["schema_name"][0]
    'mixeff_fast.compiled_model_artifact'
    """
    import polars as pl

    from mixeff_fast.schemas import registry

    names = ("schema_name", "schema_version", "status")
    rows = [(known.schema_name, known.schema_version, known.status) for known in registry.known_schemas()]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")


def negotiate(header: Header | dict[str, Any] | str) -> Negotiated:
    """Whether an artifact with this header can be read.

    Versions of one major number are readable by each other: fields a version does not know are ignored. Before 1.0 a later
    minor version is not.

    Parameters
    ----------
    header
        The header of an artifact: ``fit.artifact.header``, a dictionary, or JSON text of at most 10,000 characters.

    Returns
    -------
    Negotiated
        ``schema_name``, ``schema_version`` (what wrote it), ``reads`` (this package's version), ``status``.

    Raises
    ------
    SchemaError
        An unknown schema, another major version, or no header at all; ``input`` is what was given, ``readable`` the versions
        that are read, by name.

    Examples
    --------
    >>> negotiate({"schema_name": "mixeff_fast.fit_artifact", "schema_version": "1.4.0"}).reads
    '1.1.0'
    """
    from mixeff_fast.schemas import registry

    return registry.negotiate(header)


def formula_manifest() -> dict[str, Any]:
    """What formulas may hold, which schemas are written and which verbs there are.

    Returns
    -------
    dict
        ``package_version``; ``schema_versions``, by name; ``formula_features``: ``operators``, ``intercept_forms``,
        ``random_term_forms``, ``transformations``; ``capabilities``: a flag for each function, and for each verb of a
        specification or a fit.

    Examples
    --------
    >>> manifest = formula_manifest()
    >>> "poly" in manifest["formula_features"]["transformations"], manifest["capabilities"]["compare"]
    (True, True)
    """
    from mixeff_fast.schemas import registry

    objects = (mixeff_fast.LinearMixedModel, mixeff_fast.ModelSpec)
    capabilities = {name: name in mixeff_fast.__all__ for name in _FUNCTIONS}
    capabilities |= {name: any(hasattr(each, name) for each in objects) for name in _VERBS}
    return {
        "package_version": __version__,
        "schema_versions": {known.schema_name: known.schema_version for known in registry.known_schemas()},
        "formula_features": {
            "operators": ["~", *sorted(BARS), *PRECEDENCE],
            "intercept_forms": list(_INTERCEPT_FORMS),
            "random_term_forms": [
                *(f"(x {bar} {group})" for bar in sorted(BARS) for group in _GROUPINGS),
                *(f"{wrapper}(x | g)" for wrapper in sorted(WRAPPERS)),
            ],
            "transformations": sorted(FUNCTIONS),
        },
        "capabilities": capabilities,
    }
