"""The chart of README: an SVG of bars, in light and dark, made of text alone; the same figures give the same bytes."""
import statistics
from html import escape

LOADS = (  # the case, as the chart calls it
    ("load, 2 workers", "etl-engine, 2 workers", "ours"),
    ("load, 1 worker", "etl-engine, 1 worker", "ours"),
    ("curl, ready bodies, 2 streams", "curl, documents made before", "floor"),
    ("Python, server-side cursor", "Python, server-side cursor", "other"),
    ("Python, everything fetched", "Python, everything fetched", "other"),
)
DRY = (
    ("dry run, LATERAL, 2 workers", "etl-engine, 2 workers", "ours"),
    ("dry run, LATERAL, 1 worker", "etl-engine, 1 worker", "ours"),
    ("psql COPY, LATERAL", "psql COPY, no documents", "floor"),
)
DELAYS = (("wal", "from the log"), ("poll", "by polls"))
WIDTH, LEFT, BAR, ROW = 790, 250, 400, 24

STYLE = """
 svg { font: 13px system-ui, sans-serif }
 .back { fill: #fff; stroke: #d0d7de } text { fill: #1f2328 } .small { fill: #59636e; font-size: 12px }
 .title { font-weight: 600 } .ours { fill: #0969da } .floor { fill: #818b98 } .other { fill: #bc4c00 }
 .tail { stroke: #59636e; stroke-width: 2 }
 @media (prefers-color-scheme: dark) {
  .back { fill: #0d1117; stroke: #3d444d } text { fill: #f0f6fc } .small { fill: #9198a1 }
  .ours { fill: #4493f8 } .floor { fill: #656c76 } .other { fill: #db6d28 } .tail { stroke: #9198a1 }
 }
"""


def is_possible(found):
    """It shows loads, and delays where they were measured."""
    return "load" in found


def walls(found, names):
    """(label, seconds, class) of these cases."""
    cases = {case["name"]: case["runs"] for case in found["load"]["cases"]}
    return [(label, statistics.median(run["wall_s"] for run in cases[name]), kind) for name, label, kind in names]


def delays(found):
    """(label, median, 95 of 100) in milliseconds."""
    rows = []
    for name, label in DELAYS if "latency" in found else ():
        of_it = found["latency"]["followers"][name]
        for what, field in ((label, "idle_s"), (f"{label}, {of_it['rate']:.0f} changes/s", "stream_s")):
            ms = sorted(1000 * second for second in of_it[field])
            rows.append((what, statistics.median(ms), ms[max(0, -(-len(ms) * 95 // 100) - 1)]))
    return rows


def main_figures(found):
    """(what, value) for the text that stands for the chart."""
    films = f"{found['load']['about']['films']:,} films"
    loaded = {label: seconds for label, seconds, _ in walls(found, LOADS)}
    yield f"{films} into the index, etl-engine", f"{loaded['etl-engine, 2 workers']:.1f} s"
    yield "an ordinary loader in Python", f"{loaded['Python, server-side cursor']:.1f} s"
    for label, median, _ in delays(found):
        yield f"commit to index {label}, median", milliseconds(median)


def milliseconds(value):
    return f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


class Drawing:
    """From top to bottom."""

    def __init__(self):
        self.y, self.parts = 14, []

    def text(self, x, content, kind="", anchor="start"):
        words = f' class="{kind}"' if kind else ""
        end = ' text-anchor="end"' if anchor == "end" else ""
        self.parts.append(f'<text x="{x}" y="{self.y}"{words}{end}>{escape(content)}</text>')

    def title(self, content, small):
        self.y += 14
        self.text(16, content, "title")
        self.y += 17
        self.text(16, small, "small")
        self.y += 8

    def bar(self, label, length, kind, value, tail=None):
        """Lengths are parts of the longest bar; the tail goes from the bar's end."""
        self.y += ROW
        self.text(LEFT - 10, label, anchor="end")
        width = max(1.0, BAR * length)
        self.parts.append(f'<rect class="{kind}" x="{LEFT}" y="{self.y - 13}" width="{width:.1f}" height="17" rx="2"/>')
        end = LEFT + width
        if tail:
            end = max(end, LEFT + BAR * tail)
            self.parts.append(f'<path class="tail" d="M{LEFT + width:.1f} {self.y - 4.5}H{end:.1f}m0 -4v8"/>')
        self.text(f"{end + 7:.1f}", value)

    def svg(self, label):
        height = self.y + 20
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
            f' role="img" aria-label="{escape(label)}">\n<style>{STYLE}</style>\n'
            f'<rect class="back" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>\n'
            + "\n".join(self.parts)
            + "\n</svg>\n"
        )


def draw(found):
    drawing, about = Drawing(), found["load"]["about"]
    films = f"{about['films']:,} films"
    most = max(seconds for _, seconds, _ in walls(found, LOADS + DRY))
    for title, small, rows in (
        (f"{films} into the index, seconds", "shorter is better", walls(found, LOADS)),
        (f"The documents of {films} made and printed, seconds", "by the same scale", walls(found, DRY)),
    ):
        drawing.title(title, small)
        for label, seconds, kind in rows:
            drawing.bar(label, seconds / most, kind, f"{seconds:.1f}")
        drawing.y += 20
    if "latency" in found:
        draw_delays(drawing, delays(found))
    drawing.y += 26
    versions = ", ".join((about["engine"], about["postgres"], about["search"]))
    drawing.text(16, f"{versions}, all on {about['cpu']}; {about['date']}", "small")
    return drawing.svg(f"How fast etl-engine is, with {films}")


def draw_delays(drawing, rows):
    drawing.title(
        "From commit to index, milliseconds",
        "median of single changes, with one poll a second; the line ends where 95 of 100 have arrived",
    )
    most = max(slow for _, _, slow in rows)
    for label, median, slow in rows:
        drawing.bar(label, median / most, "ours", f"{milliseconds(median)} - {milliseconds(slow)}", slow / most)
