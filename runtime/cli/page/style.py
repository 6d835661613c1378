"""The style of an execution's page: light and dark, narrow and wide, and in print."""

from typing import Final

__all__ = ["STYLE"]

STYLE: Final = """
:root{color-scheme:light dark;--bg:#f6f7f8;--card:#fff;--ink:#1b222c;--soft:#566070;--line:#dde2e8;
--done:#1f7a54;--bad:#b3261e;--doubt:#8f5b00;--busy:#1d5fa8;--wait:#687385;--tint:12%}
@media (prefers-color-scheme:dark){:root{--bg:#12151a;--card:#1a1f26;--ink:#e6eaf0;--soft:#9ba6b5;
--line:#2e3640;--done:#58c596;--bad:#f3877c;--doubt:#e6b254;--busy:#74b5f8;--wait:#8e99a8;--tint:20%}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:76rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}
h1{font-size:1.6rem;line-height:1.2;margin:0 0 .25rem;display:flex;gap:.75rem;align-items:center;
flex-wrap:wrap}
h2{font-size:1.05rem;margin:0 0 .75rem}
section{background:var(--card);border:1px solid var(--line);border-radius:.6rem;margin-top:1.25rem;
padding:1rem 1.1rem}
code,.id{font-family:ui-monospace,SFMono-Regular,Menlo,monospace;font-size:.9em;overflow-wrap:anywhere}
.soft{color:var(--soft)}p{margin:.35rem 0}
.facts{display:flex;flex-wrap:wrap;gap:.4rem 2rem;margin:.75rem 0 0}
.facts div{min-width:7rem}.facts dt{color:var(--soft);font-size:.8rem}.facts dd{margin:0}
.tag{--c:var(--wait);display:inline-block;color:var(--c);border:1px solid var(--c);
background:color-mix(in srgb,var(--c) var(--tint),transparent);border-radius:1rem;padding:0 .6rem;
font-size:.8rem;line-height:1.5rem;font-weight:600;white-space:nowrap}
.done,.completed{--c:var(--done)}.failed{--c:var(--bad)}.in_doubt,.interrupted{--c:var(--doubt)}
.running,.ready,.backing_off{--c:var(--busy)}.waiting,.pending,.skipped,.cancelled{--c:var(--wait)}
.wide{overflow-x:auto}.wide:focus-visible{outline:2px solid var(--busy);outline-offset:2px}
table{border-collapse:collapse;width:100%}
th{color:var(--soft);font-size:.8rem;font-weight:600}
td,th{padding:.3rem .9rem .3rem 0;text-align:left;border-bottom:1px solid var(--line);
vertical-align:top}
tr:last-child td{border-bottom:0}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;
white-space:nowrap}td.error{color:var(--bad);min-width:16rem;overflow-wrap:anywhere}
svg{display:block;max-width:none}svg text{fill:var(--ink);font:12px system-ui,sans-serif}
svg .soft{fill:var(--soft)}svg .grid{stroke:var(--line)}
.bar{fill:var(--done)}.bar.b{fill:color-mix(in srgb,var(--done) 72%,var(--card))}
.bar.x{fill:var(--bad)}.bar:hover,.bar:focus-visible{stroke:var(--ink);stroke-width:1.5}
.node rect{fill:color-mix(in srgb,var(--c) var(--tint),var(--card));stroke:var(--c)}
.edge{fill:none;stroke:var(--soft);stroke-opacity:.55}.edge.grown{stroke-dasharray:4 3}
.error-list li{margin:.5rem 0}.error-list code{display:inline-block}
details>summary{cursor:pointer;font-weight:600}
@media print{body{background:#fff}section{break-inside:avoid}}
"""
