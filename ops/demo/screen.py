"""What the demo shows in the terminal."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from ops.demo.story import GradeLine


def show_answer(console: Console, message: dict[str, Any]) -> None:
    """The settled answer's citations."""
    verdict = {"COMPLETE": "checked", "ABSTAINED": "not in the material"}
    console.print(f"[dim]{verdict.get(message['state'], message['state'])}[/dim]")
    for citation in message["citations"]:
        headings = dict.fromkeys([citation["document"]["title"], *citation["chunk"]["headingPath"]])
        where = " / ".join(headings)
        mark = "verbatim" if citation["verified"] else "NOT FOUND"
        console.print(
            Text.assemble(
                (f"  [{citation['ordinal'] + 1}] ", "bold"), where, (f"  ({mark})", "green")
            )
        )


def grade_table(lines: Sequence[GradeLine]) -> Table:
    """Alias, proposal, the instructor's mark, and why a person must look."""
    table = Table(title="Proposed grades beside the demo instructor's marks", title_justify="left")
    table.add_column("alias", no_wrap=True)
    table.add_column("submission", ratio=2)
    table.add_column("AI", justify="right", no_wrap=True)
    table.add_column("person", justify="right", no_wrap=True)
    table.add_column("NEEDS_HUMAN, because", ratio=2, overflow="fold")
    for line in lines:
        proposed = "-" if line.proposed is None else f"{line.proposed:.2f}"
        style = "yellow" if line.state == "NEEDS_HUMAN" else ""
        table.add_row(
            line.alias,
            line.trait,
            proposed,
            f"{line.instructor:.0f}",
            "\n".join(line.reasons),
            style=style,
        )
    return table


def agreement(lines: Sequence[GradeLine], points: Decimal) -> str:
    """How near the proposals come to the marks: Pearson's r and the mean absolute error."""
    pairs = [(line.proposed, line.instructor) for line in lines if line.proposed is not None]
    if len(pairs) < 3:
        return "Too few proposals to compare."
    proposed, marked = (np.array([float(p[i]) for p in pairs]) for i in (0, 1))
    trusted = [
        (line.proposed, line.instructor)
        for line in lines
        if line.proposed is not None and line.state == "PROPOSED"
    ]
    error = np.abs(proposed - marked).mean()
    text = (
        f"Over {len(pairs)} graded submissions: "
        f"Pearson r {np.corrcoef(proposed, marked)[0, 1]:.2f}, "
        f"mean absolute error {error:.2f} of {points:.0f} points"
    )
    if trusted:
        near = np.mean([abs(float(p - m)) for p, m in trusted])
        text += f"; over the {len(trusted)} not held for a person, {near:.2f}"
    return (
        text + ". The marks and the texts were written for this demo: this shows that the "
        "comparison works, not how the graders do on real work."
    )


def show_grade(console: Console, who: str, grade: dict[str, Any]) -> None:
    """A released grade as its student reads it."""
    lines = [f"[bold]{grade['total']} of {grade['pointsPossible']} points[/bold]"]
    lines.append(f"Reason: {grade['reason']}")
    for criterion in grade["criteria"]:
        title = criterion["criterion"]["title"]
        lines.append(f"\n[bold]{title}[/bold]: {criterion['points']}")
        lines.append(criterion["rationale"])
        lines += [
            f"  [italic]“{_short(span['quote'])}”[/italic]"
            for span in criterion["evidence"][:2]
            if span["verified"]
        ]
    console.print(Panel("\n".join(lines), title=f"{who} reads the grade", title_align="left"))


def _short(text: str, most: int = 140) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= most else flat[: most - 1] + "…"
