"""Samples as Markdown tables and a chart, put between the marks in docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from .cases import CLEAN, NEW_TABLE, PEER_PART
from .samples import LIMIT, OURS, Figures, Sample, figures, pick, values
from .to_snowflake import FILES

PAGE, CHART = "performance.md", "performance.svg"
COLOURS = {OURS: "#0072b2", "other": "#d55e00"}
GROWTH = {
    "rows": "rows, append-only",
    "bytes": "bytes, wide, append-only",
    "streams": "streams, the same rows in all",
    "columns": "columns, at most 100 of them filled",
}


def line(sample: Sample) -> str:
    """Return one run as it goes by."""
    what = f"{sample.workload} {sample.number}".strip()
    server = "" if sample.server is None else f", server {sample.server:.2f} s"
    return (
        f"{sample.part:16} {what:40.40} {sample.program:15} {sample.rows:>10,} rows {sample.wall:8.2f} s "
        f"{sample.rows / sample.wall:>11,.0f}/s  cpu {sample.cpu:.2f} s{server}, {sample.peak / 1e6:.0f} MB"
    )


def sections(samples: Sequence[Sample], about: dict[str, str]) -> dict[str, str]:
    """Return the Markdown of each part that was measured, by name."""
    made = {
        "loads": _loads(samples),
        "peers": _peers(samples),
        "disturbed": _disturbed(pick(samples, part="disturbed"), startups(samples).get(OURS, 0.0)),
        "startup": _startup(pick(samples, part="startup")),
        "snowflake": _snowflake(pick(samples, part="snowflake")),
        "growth": "\n\n".join(_growth(samples, what) for what in GROWTH).strip(),
    }
    return {name: f"{text}\n\n{_provenance(about)}" for name, text in made.items() if text}


def publish(samples: Sequence[Sample], about: dict[str, str], docs: Path) -> None:
    """Write what was measured into the page, and leave there what was not."""
    page = docs / PAGE
    text = page.read_text("utf-8")
    for name, section in sections(samples, about).items():
        text = placed(text, name, section)
    page.write_text(text, "utf-8")
    if pick(samples, part="loads"):
        (docs / CHART).write_text(chart(samples), "utf-8")


def placed(text: str, name: str, section: str) -> str:
    """Return *text* with *section* between the marks of that name.

    Raises:
        ValueError: the marks are not there, once each.
    """
    start, end = (re.escape(mark) for mark in (f"<!-- measured: {name} -->", f"<!-- end of {name} -->"))
    replaced, count = re.subn(
        f"({start}\n).*?({end})", lambda found: f"{found[1]}{section}\n{found[2]}", text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"docs/{PAGE} has {count} places for {name!r}, instead of one")
    return replaced


# --- the tables


def startups(samples: Iterable[Sample]) -> dict[str, float]:
    """Return the seconds that each program needs for nothing, or next to it, but a new table."""
    found = pick(samples, part="startup", workload=NEW_TABLE)
    return {name: figures(pick(found, program=name)).wall for name in values(found, "program")}


def loaded(samples: Sequence[Sample]) -> list[tuple[str, str, dict[str, Figures]]]:
    """Return (workload, number, figures by program) for each pair of ours and the limit."""
    found, starts = pick(samples, part="loads"), startups(samples)
    rows = []
    for workload in values(found, "workload"):
        here = pick(found, workload=workload)
        for number in values(pick(here, program=OURS), "number"):
            alike = [sample for sample in here if sample.number in (number, "")]
            by_program = {
                name: figures(pick(alike, program=name), 0.0 if name == OURS else starts.get(name, 0.0))
                for name in values(alike, "program")
            }
            rows.append((workload, number, by_program))
    return rows


def _loads(samples: Sequence[Sample]) -> str:
    rows = loaded(samples)
    peers = list(dict.fromkeys(name for *_, found in rows for name in found if name not in (OURS, LIMIT)))
    head = ["workload", "`number`", "rows", "rows/s", "limit, rows/s", "of the limit", *(f"× {name}" for name in peers)]
    head += ["peak RSS", "µs/row: target", "server", "server, limit", "spread: target", "limit"]
    lines = []
    for workload, number, found in rows:
        ours, limit = found[OURS], found[LIMIT]
        lines.append(
            [
                *(workload, number, f"{ours.rows:,}", f"{ours.rate:,.0f}", f"{limit.rate:,.0f}"),
                f"**{ours.rate / limit.rate:.2f}**",
                *(_times(ours.rate / found[name].rate) if name in found else "–" for name in peers),
                *(f"{ours.peak / 1e6:.0f} MB", f"{ours.cpu_us:.1f}", _number(ours.server_us), _number(limit.server_us)),
                *(f"{ours.spread:.0%}", f"{limit.spread:.0%}"),
            ]
        )
    return f"![Rows a second of each program, as a share of the limit]({CHART})\n\n{_table(head, lines)}" if lines else ""


def _peers(samples: Sequence[Sample]) -> str:
    lines, starts, seen = [], startups(samples), set()
    for workload, _, found in loaded(samples):
        for name, peer in found.items():
            if name not in (OURS, LIMIT) and (workload, name) not in seen:
                seen.add((workload, name))
                measured = [f"{peer.wall:.1f} s", f"{starts.get(name, 0):.1f} s", f"{peer.rate:,.0f}"]
                costs = [f"{peer.peak / 1e6:.0f} MB", f"{peer.cpu_us:.0f}", _number(peer.server_us), f"{peer.spread:.0%}"]
                lines.append([workload, name, f"{peer.rows:,}", *measured, *costs])
    head = ["workload", "program", "rows", "time", "start-up in it", "rows/s without it"]
    return _table([*head, "peak RSS", "µs/row: program", "server", "spread"], lines)


def _disturbed(samples: Sequence[Sample], start: float) -> str:
    if not samples:
        return ""
    by_name = {name: figures(pick(samples, workload=name), start) for name in values(samples, "workload")}
    clean = by_name[CLEAN].rate
    lines = [
        [name, f"{found.rate:,.0f}", f"**{found.rate / clean:.2f}**", f"{found.peak / 1e6:.0f} MB", f"{found.spread:.0%}"]
        for name, found in by_name.items()
    ]
    return _table(["stream", "rows/s, without start-up", "of the clean one", "peak RSS", "spread"], lines)


def _startup(samples: Sequence[Sample]) -> str:
    lines = []
    for program in values(samples, "program"):
        for what in values(pick(samples, program=program), "workload"):
            found = pick(samples, program=program, workload=what)
            cost = figures(found)
            cpu = sorted(sample.cpu for sample in found)[len(found) // 2]
            lines.append([program, what, f"{cost.wall:.2f} s", f"{cpu:.2f} s", f"{cost.peak / 1e6:.0f} MB", f"{cost.spread:.0%}"])
    return _table(["program", "and", "time", "processor", "peak RSS", "spread"], lines)


def _snowflake(samples: Sequence[Sample]) -> str:
    lines = []
    for workload in values(samples, "workload"):
        here = pick(samples, workload=workload)
        files = pick(here, program=FILES)
        whole, parquet = figures(pick(here, program=OURS)), figures(files)
        rates = [f"{1e6 / parquet.cpu_us:,.0f}", f"{1e6 / whole.cpu_us:,.0f}"]
        lines.append([workload, f"{whole.rows:,}", *rates, files[0].number, f"{whole.peak / 1e6:.0f} MB"])
    head = ["workload", "rows", "to Parquet: rows per processor second", "all of it", "files", "peak RSS"]
    return _table(head, lines)


def _growth(samples: Sequence[Sample], what: str) -> str:
    lines, start = [], startups(samples).get(OURS)
    here = pick(samples, part=f"growth: {what}")
    for size in values(here, "workload"):
        found = figures(pick(here, workload=size), start or 0.0)
        without = None if start is None else 1e6 / found.rate
        cost = [f"{found.wall:.2f} s", _number(found.wall / found.rows * 1e6, 2), _number(without, 2)]
        cost += [_number(found.cpu_us, 2), _number(found.server_us, 2), f"{found.peak / 1e6:.0f} MB", f"{found.spread:.0%}"]
        lines.append([size, f"{found.rows:,}", *cost])
    head = [GROWTH[what], "rows", "time", "µs a row", "without start-up", "target's processor", "server's"]
    return _table([*head, "peak RSS", "spread"], lines)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Return a table, all columns but the first to the right; nothing at all without lines."""
    rules = ["---", *["--:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *lines)) if lines else ""


def _provenance(about: dict[str, str]) -> str:
    rounds, scale = about["rounds"], float(about["scale"])
    smaller = "" if scale == 1 else f", {scale:g} times the rows"
    return f"<sub>{about['date']}; {about['machine']}; {about['server']}; peers: {about['peers']}; medians of {rounds} runs{smaller}.</sub>"


def _times(ratio: float) -> str:
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.1f}"


def _number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


# --- the chart


def chart(samples: Sequence[Sample]) -> str:
    """Return an SVG with a bar for each workload and program, as a share of the limit."""
    bars: list[str] = []
    width, left, right, height = 860, 230, 110, 18
    scale, y = width - left - right, 56
    for workload, number, found in loaded(samples):
        title = escape(f"{workload}, {number}")
        bars.append(f'<text x="8" y="{y + 13}" font-weight="bold">{title}</text>')
        for name, cost in found.items():
            if name == LIMIT:
                continue
            share = cost.rate / found[LIMIT].rate
            colour = COLOURS.get(name, COLOURS["other"])
            length = max(1.0, min(share, 1.15) * scale)
            bars.append(f'<text x="{left - 6}" y="{y + 13}" text-anchor="end">{escape("" if name == OURS else name)}</text>')
            bars.append(f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="{height - 4}" fill="{colour}"/>')
            bars.append(f'<text x="{left + length + 6:.1f}" y="{y + 13}">{share:.1%}</text>')
            y += height
        y += height // 2
    end = left + scale
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 8}" font-family="sans-serif" font-size="12">',
            f'<rect width="{width}" height="{y + 8}" fill="#ffffff"/>',
            '<text x="8" y="20" font-size="15">Rows a second, as a share of what PostgreSQL takes of ready bytes</text>',
            f'<text x="8" y="40">blue: {OURS}; orange: peers, which get one row in {PEER_PART}</text>',
            f'<line x1="{end}" y1="48" x2="{end}" y2="{y}" stroke="#999999"/>',
            f'<text x="{end}" y="44" text-anchor="middle">limit</text>',
            *bars,
            "</svg>\n",
        ]
    )
