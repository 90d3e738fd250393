"""Draws a dashboard from what Prometheus answered to its queries, as one SVG that needs nothing else. It is light on a card of its own, and so can be
read on a dark page, too."""

import itertools
import math
import re
from xml.sax.saxutils import escape

# Pixels, of the whole and of a panel.
WIDE, MARGIN, GAP = 1160, 20, 16
HEAD, FOOT = 76, 40
PLOT_HIGH, PLOT_TOP, LEFT, RIGHT = 132, 72, 62, 16
LEGEND_LINE, LEGEND_LINES = 18, 4
TILE_WIDE, TILE_HIGH = 160, 96

COLOURS = ["#2f6fd0", "#d9661f", "#23873f", "#b8306f", "#7b4fc4", "#a37b00", "#0b8a92", "#c22f2f", "#5b6672", "#6b8e23"]
FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"
STYLE = (
    f"text{{font-family:{FONT};font-size:11px;fill:#57606a}}.h{{font-size:20px;font-weight:600;fill:#1f2328}}.t{{font-size:13px;font-weight:600;fill:#1f2328}}"
    ".n{font-size:24px;font-weight:600;fill:#1f2328}.k{fill:#24292f}.e{text-anchor:end}.m{text-anchor:middle}"
    ".g{stroke:#e4e8ec;fill:none}.a{stroke:#8c959f;fill:none}.l{fill:none;stroke-width:1.6;stroke-linejoin:round;stroke-linecap:round}"
    ".s{fill:#dbe7fb;stroke:#2f6fd0;stroke-width:1}.card{fill:#fff;stroke:#d0d7de}"
)


def written(value, unit):
    """A figure as a person reads it."""
    if value is None or math.isnan(value):
        return "–"
    if unit == "percentunit":
        return f"{round(value * 100, 1):g} %"
    if unit == "s":
        for size, word in [(3600, "h"), (60, "min"), (1, "s"), (1e-3, "ms"), (1e-6, "µs")]:
            if abs(value) >= size * 0.9995:
                return f"{float(f'{value / size:.3g}'):g} {word}"
        return "0 s"
    short = f"{float(f'{value / 1000:.3g}'):g}k" if abs(value) >= 10_000 else f"{float(f'{value:.3g}'):g}"
    return short + {"cps": "/s", "reqps": " req/s"}.get(unit, "")


def ticks(low, high, least=0, about=4):
    """Round figures from below the lowest value to above the highest, and no closer to each other than that."""
    if high - low <= 0:
        high = low + 1
    rough = max((high - low) / about, least)
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * by for by in (1, 2, 2.5, 5, 10) if size * by >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def length(words):
    """How wide they are, in the widest font that a reader may have."""
    return sum(10 if letter in "mwMW" else 4 if letter in "fijlrt ./-" else 8 if letter.isupper() else 6.8 for letter in words)


def text(x, y, words, kind=""):
    classed = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{classed}>{escape(words)}</text>'


def wrapped(words, width, lines):
    """So many lines of a text; what does not fit is cut off."""
    out = [""]
    for word in words.replace("`", "").split():
        if out[-1] and length(f"{out[-1]} {word}") > width:
            out.append("")
        out[-1] = f"{out[-1]} {word}".strip()
    return out[:lines - 1] + [out[lines - 1] + " …"] if len(out) > lines else out


def path(points):
    """A line through points, without those that lie on it anyhow."""
    kept = []
    for point in points:
        if len(kept) > 1 and (kept[-1][0] - kept[-2][0]) * (point[1] - kept[-2][1]) == (point[0] - kept[-2][0]) * (kept[-1][1] - kept[-2][1]):
            kept.pop()
        kept.append(point)
    if len(kept) == 1:
        kept.append(kept[0])
    steps = [(x - before[0], y - before[1]) for before, (x, y) in itertools.pairwise(kept)]
    return f"M{kept[0][0]} {kept[0][1]}l" + " ".join(f"{x} {y}" for x, y in steps).replace(" -", "-")


def runs(points, step):
    """The parts of a line, which is broken where nothing was measured."""
    part = []
    for time, value in points:
        if math.isnan(value) or math.isinf(value):
            continue
        if part and time - part[-1][0] > 1.5 * step:
            yield part
            part = []
        part.append((time, value))
    if part:
        yield part


def peak(line):
    return max((value for _, value in line[1] if math.isfinite(value)), default=0)


def legend_rows(names, width):
    """Names beside each other, as many as fit into each row; those that do not fit at all are counted."""
    rows, at = [[]], 0
    for number, name in enumerate(names):
        wide = 18 + length(name) + 12
        if at and at + wide > width:
            if len(rows) == LEGEND_LINES:
                # Room for the words that say so.
                while rows[-1] and rows[-1][-1][0] + length(rows[-1][-1][1]) + 118 > width:
                    rows[-1].pop()
                    number -= 1
                return rows, len(names) - number
            rows.append([])
            at = 0
        rows[-1].append((at, name))
        at += wide
    return rows, 0


class Panel:
    """One panel: its lines, and how high they make it."""

    def __init__(self, panel, wide, begin, end, step):
        self.panel, self.wide, self.begin, self.end, self.step = panel, wide, begin, end, step
        self.lines = sorted(panel["lines"], key=lambda line: (-peak(line), line[0]))
        self.words = wrapped(panel["what"], wide - 28, 2)
        self.top = PLOT_TOP if len(self.words) == 2 else PLOT_TOP - 14
        self.is_numbers = panel["type"] == "stat"
        self.rows, self.left_out = legend_rows([name for name, _ in self.lines], wide - LEFT - RIGHT)

    def high(self):
        if self.is_numbers:
            return self.top + self.tile_rows() * TILE_HIGH + 10
        return self.top + PLOT_HIGH + 34 + LEGEND_LINE * (len(self.rows) if self.lines else 0)

    def tile_rows(self):
        return -(-max(len(self.lines), 1) // self.columns())

    def columns(self):
        return max(1, min(len(self.lines), (self.wide - 28) // TILE_WIDE))

    def drawn(self, high):
        yield f'<rect class="card" width="{self.wide}" height="{high}" rx="6"/>'
        yield text(14, 24, self.panel["title"], "t")
        yield from (text(14, 42 + 14 * row, words) for row, words in enumerate(self.words))
        yield from self.numbers(high) if self.is_numbers else self.plot()

    def numbers(self, high):
        """Each line as its last figure, with how it came to be so below it."""
        if not self.lines:
            yield text(14, self.top + 34, "nothing was measured")
        wide, tall = (self.wide - 28) // self.columns(), (high - self.top - 10) // self.tile_rows()
        for number, (name, points) in enumerate(self.lines):
            x, y = 14 + number % self.columns() * wide, self.top - 8 + number // self.columns() * tall
            values = [value for _, value in points if math.isfinite(value)]
            yield text(x, y + 26, written(values[-1] if values else None, self.panel["unit"]), "n")
            named_in = wrapped(name.replace("_", " "), wide - 12, 2)
            yield from (text(x, y + 44 + 14 * row, words) for row, words in enumerate(named_in))
            top, below = y + 66, y + tall - 4
            low, most = min([0, *values]), max([0, *values]) or 1
            for part in runs(points, self.step):
                at = [(round(x + (time - self.begin) / (self.end - self.begin) * (wide - 16)), round(below - (value - low) / (most - low) * (below - top))) for time, value in part]
                yield f'<path class="s" d="{path([(at[0][0], below), *at, (at[-1][0], below)])}"/>'

    def plot(self):
        unit, wide = self.panel["unit"], self.wide - LEFT - RIGHT
        values = [value for _, points in self.lines for _, value in points if math.isfinite(value)]
        low, high = min([0, *values]), max([0, *values])
        in_minutes = 60 if unit == "s" and high >= 120 else 1
        marks = [mark * in_minutes for mark in ticks(low / in_minutes, high / in_minutes, 1 if unit == "short" else 0)]
        below = self.top + PLOT_HIGH

        def x(time):
            return round(LEFT + (time - self.begin) / (self.end - self.begin) * wide)

        def y(value):
            return round(below - (value - marks[0]) / (marks[-1] - marks[0]) * PLOT_HIGH)

        for mark in marks:
            yield f'<path class="{"a" if abs(mark) < 1e-12 else "g"}" d="M{LEFT} {y(mark)}h{wide}"/>'
            yield text(LEFT - 8, y(mark) + 4, written(mark, unit), "e")
        minutes = (self.end - self.begin) / 60
        every = next(size for size in (1, 2, 5, 10, 30, 60) if minutes / size <= 8)
        for minute in range(0, int(minutes) + 1, every):
            at = x(self.begin + minute * 60)
            yield f'<path class="a" d="M{at} {below}v4"/>' + text(at, below + 18, f"{minute} min" if minute == 0 else f"{minute}", "m")
        if not self.lines:
            yield text(LEFT + wide / 2, self.top + PLOT_HIGH / 2, "nothing was measured", "m")
            return
        colours = {name: (COLOURS[number % len(COLOURS)], number // len(COLOURS)) for number, (name, _) in enumerate(self.lines)}

        def stroke(name):
            colour, round_ = colours[name]
            return f'stroke="{colour}"' + (' stroke-dasharray="5 3"' if round_ else "")

        # The largest is drawn first, and so lies below the others.
        for name, points in self.lines:
            parts = "".join(path([(x(time), y(value)) for time, value in part]) for part in runs(points, self.step))
            yield f'<path class="l" {stroke(name)} d="{parts}"/>' if parts else ""
        for row, names in enumerate(self.rows):
            at = below + 40 + LEGEND_LINE * row
            for left, name in names:
                yield f'<path class="l" style="stroke-width:3" {stroke(name)} d="M{LEFT + left:.0f} {at - 4}h11"/>' + text(round(LEFT + left + 17), at, name, "k")
        if self.left_out:
            left, name = self.rows[-1][-1] if self.rows[-1] else (0, "")
            yield text(round(LEFT + left + 30 + length(name)), below + 40 + LEGEND_LINE * (len(self.rows) - 1), f"and {self.left_out} more")


def draw(title, panels, begin, end, step, note, drawn_from):
    """A dashboard from `begin` to `end`, in seconds, with a point each `step`. Each panel has its `lines`: their names, and what was measured when."""
    half = (WIDE - 2 * MARGIN - GAP) // 2
    out, y = [], HEAD
    for first in range(0, len(panels), 2):
        beside = panels[first:first + 2]
        row = [Panel(panel, half if len(beside) == 2 else WIDE - 2 * MARGIN, begin, end, step) for panel in beside]
        high = max(panel.high() for panel in row)
        for number, panel in enumerate(row):
            inner = "\n".join(part for part in panel.drawn(high) if part)
            out.append(f'<g transform="translate({MARGIN + number * (half + GAP)} {y})">\n{inner}\n</g>')
        y += high + GAP
    tall = y - GAP + FOOT
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {tall}" width="{WIDE}" height="{tall}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>", f"<metadata>{drawn_from}</metadata>", f"<style>{STYLE}</style>",
        f'<rect width="{WIDE}" height="{tall}" rx="10" fill="#f3f5f7"/>',
        text(MARGIN, 36, title, "h"), text(MARGIN, 58, note), *out,
        text(MARGIN, tall - 15, "Drawn by check.py from Prometheus's answers to the dashboard's own queries, and not by Grafana."), "</svg>",
    ]) + "\n"


def named(legend, labels):
    """What a line is called."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda label: labels.get(label[1], ""), legend).strip() or "value"
