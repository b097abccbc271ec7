"""What the candidates for a random part mean, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixeff_fast.report.numbers import grid

if TYPE_CHECKING:
    from collections.abc import Sequence

MEANINGS = {
    "punt": "Levels of {group} differ in their intercept; the effect of {slope} is the same in all of them.",
    "slope_only": "Levels of {group} differ in the effect of {slope}; they have no intercepts of their own.",
    "split_uncorrelated": "Levels of {group} differ in intercept and in the effect of {slope}, with no correlation between "
                          "the two.",
    "double_bar_synonym": "Levels of {group} differ in intercept and in the effect of {slope}, with no correlation between "
                          "the two.",
    "full": "Levels of {group} differ in intercept and in the effect of {slope}, and the two may be correlated.",
}
SPANNED = "Levels of {group} differ at each level of {slope}, and these differences may be correlated."


def option_meaning(key: str, group: str, slope: str, spanned: bool) -> str:
    """One sentence; ``spanned`` where the columns of the slope (a factor) span the intercept."""
    text = SPANNED if spanned and key in ("slope_only", "full") else MEANINGS[key]
    return text.format(group=group, slope=slope)


def option_note(same: Sequence[str], apart: Sequence[str]) -> str:
    """Which other candidates are the same model, and which effects stay in terms of their own."""
    notes = []
    if same:
        notes.append(f"The same model as {' and '.join(same)}.")
    if apart:
        notes.append(f"{', '.join(apart)} on the same group, in a term apart: uncorrelated with these.")
    return " ".join(notes)


def options_text(group: str, slope: str, rows: Sequence[dict[str, Any]]) -> str:
    """A table of the candidates and a line on each."""
    status = [row["design_status"] if row["reason_code"] is None else f"refused ({row['reason_code']})" for row in rows]
    cells = [
        ["", *("*" if row["current"] else "" for row in rows)],
        ["key", *(row["key"] for row in rows)],
        ["formula", *(row["formula"] for row in rows)],
        ["covariance", *(row["covariance_family"] for row in rows)],
        ["design", *status],
        ["theta", *(str(row["theta_parameters"]) for row in rows)],
    ]
    lines = [f"Random part of {slope} over {group}; * is the model as it stands", *grid(cells, left=5), ""]
    lines += [" ".join(filter(None, (f"{row['key']}:", row["plain_meaning"], row["note"]))) for row in rows]
    return "\n".join(lines)
