/** The style and the script of the report's page. Colours are those of the editor's theme. */

export const REPORT_STYLE = `
body { padding: 0 24px 32px; color: var(--vscode-foreground); font: 13px/1.5 var(--vscode-font-family); max-width: 1180px; }
h1 { font-size: 20px; font-weight: 600; margin: 18px 0 6px; }
h2 { font-size: 15px; font-weight: 600; margin: 26px 0 8px; }
p { margin: 4px 0; }
code, ol.found b, td b { font-family: var(--vscode-editor-font-family); font-size: 12px; }
.verdict { font-size: 13px; font-weight: 600; padding: 2px 10px; border-radius: 10px; margin-left: 8px; vertical-align: 3px;
  border: 1px solid currentColor; }
.verdict.passed { color: var(--vscode-testing-iconPassed); }
.verdict.failed, .verdict.error { color: var(--vscode-errorForeground); }
.reason { font-size: 14px; }
.how, .calls, .legend, #told { color: var(--vscode-descriptionForeground); }
.banner { padding: 6px 12px; border-left: 3px solid var(--vscode-editorWarning-foreground);
  background: var(--vscode-textBlockQuote-background); }
table { border-collapse: collapse; width: 100%; }
th { text-align: left; font-weight: 600; color: var(--vscode-descriptionForeground); }
th, td { padding: 5px 12px 5px 0; vertical-align: top; border-bottom: 1px solid var(--vscode-widget-border, #8884); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.kind { color: var(--vscode-errorForeground); }
.message { max-width: 80ch; }
ol.found { padding-left: 22px; margin: 0; }
ol.found li { padding: 6px 0 12px; }
ol.found dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 12px; margin: 6px 0 0; }
ol.found dt { color: var(--vscode-descriptionForeground); }
ol.found dd { margin: 0; overflow-wrap: anywhere; }
.cause { font-weight: 600; }
button { font: inherit; cursor: pointer; }
button.link { all: unset; cursor: pointer; color: var(--vscode-textLink-foreground); text-decoration: underline;
  overflow-wrap: anywhere; }
button.again { color: var(--vscode-button-foreground); background: var(--vscode-button-background); border: 0;
  border-radius: 2px; padding: 4px 12px; margin-top: 6px; }
button:focus-visible, svg:focus-visible, summary:focus-visible { outline: 1px solid var(--vscode-focusBorder);
  outline-offset: 2px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 22px; }
.legend svg { width: 14px; height: 14px; vertical-align: -2px; margin-right: 6px; }
#drift { width: 100%; height: auto; display: block; cursor: crosshair; }
#drift text { font: 12px var(--vscode-font-family); fill: var(--vscode-descriptionForeground); }
#drift .found text { font-weight: 700; font-size: 12px; fill: var(--vscode-errorForeground); }
.grid { stroke: var(--vscode-widget-border, #8884); stroke-width: 1; }
.border { stroke: var(--vscode-descriptionForeground); stroke-width: 1; stroke-dasharray: 1 4; }
.cursor { stroke: var(--vscode-focusBorder); stroke-width: 1; }
.hatch { stroke: var(--vscode-charts-green); stroke-width: 1.5; opacity: 0.55; }
path.floor, rect.floor { fill: url(#hatch); stroke: none; }
.free circle { fill: var(--vscode-editor-background); stroke: var(--vscode-charts-blue); stroke-width: 1.4; }
.free.line { fill: none; stroke: var(--vscode-charts-blue); stroke-width: 1; opacity: 0.6; }
.own path { fill: var(--vscode-charts-orange); }
.cross { fill: none !important; stroke: var(--vscode-errorForeground); stroke-width: 1.6; }
.found circle { fill: none; stroke: var(--vscode-errorForeground); stroke-width: 1.8; }
#told { min-height: 3em; }
#told b { color: var(--vscode-foreground); font-family: var(--vscode-editor-font-family); }
summary { cursor: pointer; margin: 4px 0; }
details table { margin-top: 6px; }
`;

/** Clicks, the place under the pointer, and the arrow keys. What it shows of the rows is set as text, never as HTML. */
export const REPORT_SCRIPT = `
const editor = acquireVsCodeApi();
const open = (place) => { if (place !== null && place !== undefined) editor.postMessage({ open: Number(place) }); };
document.addEventListener("click", (event) => {
  const target = event.target.closest("[data-open], [data-again]");
  if (target === null) return;
  if (target.dataset.again !== undefined) editor.postMessage({ again: true });
  else open(target.dataset.open);
});
const plot = document.getElementById("drift");
if (plot !== null) {
  const rows = JSON.parse(document.getElementById("rows").textContent);
  const told = document.getElementById("told");
  const cursor = plot.querySelector(".cursor");
  const left = Number(plot.dataset.left), step = Number(plot.dataset.step);
  let at = editor.getState()?.at ?? -1;
  const show = (next) => {
    at = Math.min(rows.length - 1, Math.max(0, next));
    editor.setState({ at });
    const x = left + (at + 0.5) * step;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.setAttribute("visibility", "visible");
    const row = rows[at];
    const name = document.createElement("b");
    name.textContent = row.text;
    told.replaceChildren(name, document.createElement("br"),
      "free run " + row.free + ", lockstep " + row.own + ", rounding " + row.floor);
  };
  const under = (event) => {
    const box = plot.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * plot.viewBox.baseVal.width;
    return Math.floor((x - left) / step);
  };
  plot.addEventListener("pointermove", (event) => show(under(event)));
  plot.addEventListener("click", (event) => { show(under(event)); open(rows[at].open); });
  plot.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: rows.length - 1,
      PageUp: at - 10, PageDown: at + 10 };
    if (event.key in moves) { show(moves[event.key]); event.preventDefault(); }
    else if (event.key === "Enter" && at >= 0) open(rows[at].open);
  });
  if (at >= 0 && at < rows.length) show(at);
}
`;
