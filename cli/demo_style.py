"""The style of the demo's report: one column, light and dark, nothing fetched from anywhere."""

CSS = """
:root { color-scheme: light dark; --paper: #fcfcfa; --ink: #1d2327; --faint: #5b6670; --grid: #d9dde0; --panel: #f1f3f2;
  --first: #1f6f8b; --second: #c2571a; --third: #5a6b2f; --good: #2b6b3f; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181b; --ink: #e6e9eb; --faint: #9aa5ad; --grid: #343c42;
  --panel: #1d2327; --first: #6cb8d6; --second: #f0955a; --third: #a9bd72; --good: #7fc796; --bad: #f2867d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 50rem; padding: 3rem 1.25rem 5rem; background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.6 system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; text-wrap: balance; }
h2 { font-size: 1.25rem; margin: 3rem 0 .6rem; }
p, ul, ol { margin: 0 0 1rem; }
.lead { color: var(--faint); font-size: 1.15rem; margin-bottom: 2rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr)); gap: .75rem; margin: 1.5rem 0 2rem; }
.tile { background: var(--panel); border-radius: .5rem; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.55rem; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile span { color: var(--faint); font-size: .9rem; line-height: 1.35; display: block; }
figure { margin: 1.25rem 0 1.75rem; }
figure svg { width: 100%; height: auto; display: block; overflow: visible; }
figcaption { color: var(--faint); font-size: .92rem; margin-top: .4rem; }
.scroll { overflow-x: auto; margin: 1rem 0 2rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .45rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--grid); }
th { color: var(--faint); font-weight: 600; vertical-align: bottom; white-space: normal; }
th:nth-child(2), td:nth-child(2), .words td, .words th { text-align: left; }
.words td { white-space: normal; }
code { font: .9em ui-monospace, "Liberation Mono", monospace; overflow-wrap: anywhere; }
pre { background: var(--panel); border-radius: .5rem; padding: .8rem 1rem; overflow-x: auto; font-size: .9rem; }
.verdict { font-weight: 650; }
.good { color: var(--good); }
.bad { color: var(--bad); }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1.5rem; }
.columns h3 { margin: 0 0 .4rem; font-size: 1rem; }
.columns ul { padding-left: 1.1rem; font-size: .95rem; overflow-wrap: anywhere; }
@media print { body { max-width: none; } }
"""
