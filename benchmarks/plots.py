"""Plots of the sweeps: ``python -m benchmarks.plots scaling.json docs/img`` draws them again from their measurements."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.engines import ENGINES, FLOOR, OURS
from benchmarks.peers.judge import COUNTS

if TYPE_CHECKING:
    import altair as alt

# Okabe and Ito's colours that are told apart in print and by the colour blind; ours is the darkest
COLOURS = ("#000000", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999933", "#888888")
ORDER = tuple(name for name in ENGINES if name != FLOOR)


def lines(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is plotted: for each size and engine the median; of our own fits those by REML.

    ``optimum`` tells whether the log-likelihood was as good as the best one.
    """
    found: list[dict[str, Any]] = []
    for point in points:
        seen = set()
        for line in point["row"]["engines"]:
            engine = line["attempt"]["engine"]
            if line["median"] is None or engine in seen:
                continue
            seen.add(engine)
            good = line["verdict"] in COUNTS or (engine == OURS and not line["verdict"])
            found.append({"engine": engine, "size": point["size"], "seconds": line["median"], "optimum": good})
    return found


def chart(sweep: Mapping[str, Any]) -> alt.LayerChart:
    """Seconds against size on logarithmic axes, a line for each engine; ours is thick and named where it ends."""
    import altair as alt

    values = lines(sweep["points"])
    shown = [name for name in ORDER if any(value["engine"] == name for value in values)]
    sizes = sorted({value["size"] for value in values})
    # room for our name at the end of our line
    beyond = sizes[-1] * (sizes[-1] / sizes[0]) ** 0.22
    colour = alt.Scale(domain=shown, range=[COLOURS[ORDER.index(name)] for name in shown])
    data: Any = {"values": values}
    base = alt.Chart(data).encode(
        x=alt.X("size:Q", title=f"{sweep['axis']}, log scale",
                scale=alt.Scale(type="log", domain=[sizes[0] * 0.9, beyond], nice=False),
                axis=alt.Axis(values=sizes, format="~s" if sizes[-1] >= 1000 else "d", grid=False)),
        y=alt.Y("seconds:Q", title="seconds per fit, median, log scale", scale=alt.Scale(type="log"),
                axis=alt.Axis(format="~g", values=[10.0**k for k in range(-4, 4)], gridOpacity=0.6)),
        color=alt.Color("engine:N", scale=colour, legend=alt.Legend(title=None, symbolType="stroke", symbolStrokeWidth=3)),
    )
    ours = alt.datum.engine == OURS
    drawn = base.mark_line().encode(strokeWidth=alt.condition(ours, alt.value(3.5), alt.value(1.5)))
    fill = alt.condition(alt.datum.optimum, alt.Color("engine:N", scale=colour, legend=None), alt.value("white"))
    dots = base.mark_point(strokeWidth=1.5).encode(fill=fill, size=alt.condition(ours, alt.value(70), alt.value(35)))
    last = max((value["size"] for value in values if value["engine"] == OURS), default=None)
    label = (
        base.transform_filter(ours & (alt.datum.size == last))
        .mark_text(align="left", dx=9, fontSize=13, fontWeight="bold")
        .encode(text="engine:N")
    )
    title = alt.TitleParams(sweep["title"], subtitle="hollow: a log-likelihood worse than another engine's", anchor="start")
    layers: Any = alt.layer(drawn, dots, label).properties(width=600, height=340, title=title, background="white")
    whole: alt.LayerChart = layers.configure_axis(labelFontSize=12, titleFontSize=13).configure_legend(labelFontSize=12)
    return whole


def draw(document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``scaling-<sweep>.svg`` for every sweep; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for sweep in document["sweeps"]:
        path = folder / f"scaling-{sweep['name']}.svg"
        chart(sweep).save(str(path))
        paths.append(path)
    return paths


def main(arguments: Sequence[str]) -> None:
    """Run the command line."""
    source, folder = arguments
    print("\n".join(map(str, draw(json.loads(Path(source).read_text(encoding="utf-8")), Path(folder)))))


if __name__ == "__main__":
    main(sys.argv[1:])
