"""Builds wheel and sdist and checks what they hold: nothing outside ``mixeff_fast/``, and all that belongs there."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = (
    "mixeff_fast/py.typed",
    "mixeff_fast/kernels/factor.py",
    "mixeff_fast/schemas/fit.py",
    "mixeff_fast/schemas/json/fit_artifact.schema.json",
    "mixeff_fast/datasets/sleepstudy.parquet",
    "mixeff_fast/datasets/provenance.json",
)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "build", "--outdir", folder, str(ROOT)], check=True, capture_output=True)
        wheel = next(Path(folder).glob("*.whl"))
        sdist = next(Path(folder).glob("*.tar.gz"))
        names = zipfile.ZipFile(wheel).namelist()
        strays = [n for n in names if not n.startswith("mixeff_fast/") and ".dist-info/" not in n]
        missing = [n for n in EXPECTED if n not in names]
        with tarfile.open(sdist) as archive:
            inside = {name.partition("/")[2] for name in archive.getnames()}
        missing += [f"{n} (sdist)" for n in EXPECTED if n not in inside]
    if strays or missing:
        print(f"wheel holds strays {strays} and lacks {missing}")
        return 1
    print(f"wheel holds {len(names)} files, all inside mixeff_fast/")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
