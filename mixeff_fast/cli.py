"""The command line: ``mixeff-fast fit``, ``mixeff-fast datasets``, ``mixeff-fast warmup``. A thin layer over the package."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mixeff_fast._version import __version__
from mixeff_fast.errors import ArgumentError, DataError, MixeffError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from mixeff_fast.families import Family


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mixeff-fast", description="Mixed models: certified fits, fast.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    fit = commands.add_parser("fit", help="fit a model and print its summary")
    fit.add_argument("data", metavar="DATA", help="a bundled data set's name, or a .csv or .parquet file")
    fit.add_argument("formula", metavar="FORMULA", help='such as "Reaction ~ Days + (Days | Subject)"')
    fit.add_argument("--ml", action="store_true", help="maximum likelihood instead of REML")
    fit.add_argument("--weights", metavar="COL", help="column of prior weights, or of trials of proportions")
    fit.add_argument("--offset", metavar="COL", help="column that is added to the linear predictor")
    fit.add_argument("--family", metavar="FAMILY", help="of a generalized linear mixed model, such as binomial or poisson")
    fit.add_argument("--link", metavar="LINK", help="another link than the family's usual one, such as probit")
    fit.add_argument("--method", metavar="METHOD", help="joint_laplace (the default) or pirls_profiled, with --family")
    fit.add_argument("--n-agq", metavar="N", type=int, help="Gauss-Hermite nodes per dimension, with --family")
    fit.add_argument("--json", metavar="FILE", type=Path, help="write the fit's artifact here as JSON")
    commands.add_parser("datasets", help="list the bundled data sets")
    commands.add_parser("warmup", help="compile the kernels now, with a progress bar")
    return parser


def read_data(name: str) -> pl.DataFrame | pl.LazyFrame:
    """A bundled data set, or a file by its extension (Parquet lazily: only the columns a model needs are read)."""
    from mixeff_fast import datasets

    path = Path(name)
    suffix = path.suffix.lower()
    if suffix in (".csv", ".parquet"):
        import polars as pl

        if not path.is_file():
            raise DataError(f"there is no file {name}", path=name)
        try:
            return pl.scan_parquet(path) if suffix == ".parquet" else pl.read_csv(path, infer_schema_length=None)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"{name} cannot be read: {error}", path=name) from error
    if path.is_file():
        raise DataError(f"{name} is neither a .csv nor a .parquet file", path=name)
    return datasets.load(name)


def _family(name: str | None, link: str | None) -> Family | None:
    from mixeff_fast.families import given_family

    if name is None:
        if link is not None:
            raise ArgumentError("--link goes with --family", argument="link")
        return None
    return given_family(name, link)


def _fit(arguments: argparse.Namespace) -> None:
    from mixeff_fast.models.spec import compile_model

    spec = compile_model(
        arguments.formula, read_data(arguments.data), family=_family(arguments.family, arguments.link),
        weights=arguments.weights, offset=arguments.offset,
    )
    fit = spec.fit(reml=False if arguments.ml else None, method=arguments.method, n_agq=arguments.n_agq)
    print(fit.summary())
    if arguments.json is not None:
        try:
            arguments.json.write_text(fit.artifact.model_dump_json(indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ArgumentError(f"cannot write {arguments.json}: {error.strerror}", argument="json") from error


def _datasets() -> None:
    from mixeff_fast import datasets

    for row in datasets.provenance().to_dicts():
        print(f"{row['name']:<12} {row['rows']:>6} rows, {row['columns']} columns. {row['description']}")


# between them these use every kernel
WARMUP = (
    ("sleepstudy", "Reaction ~ Days + (Days | Subject)"),
    ("Penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)"),
)


def _warmup() -> None:
    from tqdm import tqdm

    from mixeff_fast import datasets
    from mixeff_fast.kernels._cache import cache_directory
    from mixeff_fast.models.spec import lmm

    for name, formula in tqdm(WARMUP, desc="compiling", unit="model"):
        fit = lmm(formula, datasets.load(name))
        fit.ranef(cond_var=True)
        fit.predict()
    print(f"kernels are ready in {cache_directory()}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 for input that is refused."""
    arguments = _parser().parse_args(argv)
    try:
        if arguments.command == "fit":
            _fit(arguments)
        elif arguments.command == "datasets":
            _datasets()
        else:
            _warmup()
    except MixeffError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
