"""The results of the documentation: ``python -m benchmarks.page peers.json scaling.json plans.json inference.json``.

Replaces what stands between two marks of the page by the tables and plots of the documents, in the order they are given.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import inference, plans
from benchmarks.peers.table import markdown, read_row, seconds, versions
from benchmarks.plots import ORDER, lines

DEFAULT_PAGE = Path("docs/benchmarks.md")
START, END = "<!-- results: start -->", "<!-- results: end -->"
LEVEL = 3


def render(document: Mapping[str, Any]) -> str:
    """One document as Markdown, its headings below those of the page."""
    if document["kind"] == "peers":
        return markdown([read_row(record) for record in document["rows"]], document["facts"], document["tolerance"], LEVEL)
    if document["kind"] == "inference":
        return inference.markdown(inference.read(document), document["facts"], LEVEL)
    if document["kind"] == "plans":
        return plans.markdown(plans.read(document), document["facts"], LEVEL)
    return scaling(document)


def scaling(document: Mapping[str, Any]) -> str:
    """The plots, and the medians that they show."""
    heading = "#" * LEVEL
    parts = [f"{heading} Time against size", "", *(f"- {name}: {value}" for name, value in document["facts"].items()), ""]
    for sweep in document["sweeps"]:
        parts += [f"{heading}# Against {sweep['axis']}", "", f"`{sweep['title']}`", ""]
        parts += [f"![seconds per fit against {sweep['axis']}](img/scaling-{sweep['name']}.svg)", ""]
        parts += [*_medians(sweep), "", *_reasons(sweep), ""]
    rows = [read_row(point["row"]) for sweep in document["sweeps"] for point in sweep["points"]]
    return "\n".join([*parts, f"{heading}# Versions", "", *versions(rows), ""])


def _medians(sweep: Mapping[str, Any]) -> list[str]:
    """A line for each size; in brackets where the log-likelihood was worse than another engine's."""
    found = {(value["engine"], value["size"]): value for value in lines(sweep["points"])}
    engines = [name for name in ORDER if any(engine == name for engine, _ in found)]
    parts = [f"| {sweep['axis']} | {' | '.join(engines)} |", "|---" * (len(engines) + 1) + "|"]
    for size in (point["size"] for point in sweep["points"]):
        cells = []
        for engine in engines:
            value = found.get((engine, size))
            text = seconds(value["seconds"] if value else None)
            cells.append(text if value is None or value["optimum"] else f"[{text}]")
        parts.append(f"| {size:,} | {' | '.join(cells)} |")
    return parts


def _reasons(sweep: Mapping[str, Any]) -> list[str]:
    """Why engines take no part, or stop to."""
    failed = ((point["size"], line["attempt"]) for point in sweep["points"] for line in point["row"]["engines"])
    return [f"- {a['engine']} at {size:,}: {a['status']}: {a['reason']}" for size, a in failed if a["reason"]]


def update(page: str, documents: Sequence[Mapping[str, Any]]) -> str:
    """The page with its results replaced.

    Raises
    ------
    ValueError
        The page does not have both marks, once each.
    """
    if page.count(START) != 1 or page.count(END) != 1 or page.index(END) < page.index(START):
        raise ValueError(f"the page needs {START} and, after it, {END}, once each")
    before, rest = page.split(START)
    after = rest.split(END)[1]
    results = "\n".join(render(document) for document in documents)
    return f"{before}{START}\n\n{results}\n{END}{after}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    p.add_argument("documents", type=Path, nargs="+", help="JSON files of the peers, scaling, plans and inference tools")
    p.add_argument("--page", type=Path, default=DEFAULT_PAGE, help=f"the page (default {DEFAULT_PAGE})")
    chosen = p.parse_args(arguments)
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in chosen.documents]
    chosen.page.write_text(update(chosen.page.read_text(encoding="utf-8"), documents), encoding="utf-8")


if __name__ == "__main__":
    main()
