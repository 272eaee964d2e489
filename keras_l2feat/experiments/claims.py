"""What a paper claims next to what was computed, and whether they agree."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from keras_l2feat.files import atomic_path

__all__ = ["Claims", "column", "write_csv"]

_AGREES = {
    "=": lambda computed, claimed, slack: abs(computed - claimed) <= slack,
    "≤": lambda computed, claimed, slack: computed <= claimed + slack,
    "≥": lambda computed, claimed, slack: computed >= claimed - slack,
    "<": lambda computed, claimed, slack: computed < claimed,
    ">": lambda computed, claimed, slack: computed > claimed,
}


@dataclass
class Claims:
    """Rows of claimed and computed numbers, in order."""

    rows: list = field(default_factory=list)

    def check(
        self,
        what: str,
        claimed: float,
        computed: float,
        relation: str = "=",
        *,
        tolerance: float = 1e-4,
    ) -> bool:
        """Add a row: `computed relation claimed`, up to `tolerance` relative to `claimed` (absolute
        if that is 0)."""
        slack = tolerance * (abs(claimed) or 1.0)
        agrees = bool(_AGREES[relation](computed, claimed, slack))
        row = {"what": what, "relation": relation, "claimed": claimed, "computed": computed}
        self.rows.append({**row, "agrees": agrees})
        return agrees

    @property
    def agreed(self) -> str:
        """`All 7 claims agree.`, or which do not."""
        failed = [row["what"] for row in self.rows if not row["agrees"]]
        if not failed:
            return f"All {len(self.rows)} claims agree."
        count = f"{len(self.rows) - len(failed)} of {len(self.rows)}"
        return f"{count} claims agree; not: {'; '.join(failed)}."

    def report(self, out: Path, text: str) -> str:
        """Write `claims.csv` into `out`; and how many agree, the text, and the table."""
        write_csv(self.rows, out / "claims.csv")
        return f"{self.agreed} {text}\n\n{self.table()}"

    def table(self) -> str:
        """A Markdown table."""
        lines = ["| what | claimed | computed | agrees |", "|---|---|---|---|"]
        for row in self.rows:
            relation = "" if row["relation"] == "=" else row["relation"] + " "
            agrees = "yes" if row["agrees"] else "**no**"
            lines.append(
                f"| {row['what']} | {relation}{_number(row['claimed'])} | "
                f"{_number(row['computed'])} | {agrees} |"
            )
        return "\n".join(lines)


def column(rows: Sequence[dict], name: str) -> list:
    """What rows have under a name."""
    return [row[name] for row in rows]


def write_csv(rows: Sequence[dict], path: str | Path) -> None:
    """Write a list of dicts as CSV, whole or not at all."""
    with atomic_path(Path(path)) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)


def _number(value) -> str:
    if float(value).is_integer() and abs(value) < 1e15:
        return str(int(value))
    return f"{value:.8g}"
