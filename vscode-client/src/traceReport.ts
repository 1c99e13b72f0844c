/**
 * The report of a trace as the page of a webview. Pure: what is known in, HTML out.
 *
 * Every text of the server is escaped; the page runs one script of our own, under a nonce, and loads nothing. What
 * can be opened is a number into `places`: the page names no file.
 */
import { driftPlot, escaped, type Marked } from "./drift";
import { scientific } from "./present";
import type { DriftRow, KnownTrace, Trace, TraceDivergence, TracePlace } from "./protocol";
import { REPORT_SCRIPT, REPORT_STYLE } from "./traceReportPage";

export interface Report {
  readonly html: string;
  /** What the page's numbers stand for. */
  readonly places: readonly TracePlace[];
}

const NAMES: Record<Trace["status"], { readonly mark: string; readonly word: string }> = {
  passed: { mark: "✓", word: "agrees" },
  failed: { mark: "✗", word: "differs" },
  skipped: { mark: "–", word: "skipped" },
  error: { mark: "!", word: "not traced" },
  cancelled: { mark: "–", word: "cancelled" },
};

const KINDS: Record<TraceDivergence["kind"], string> = {
  inside: "differs inside",
  between: "differs before",
  layout: "another order",
  dtype: "loses accuracy",
  nonfinite: "NaN or infinity",
};

export function traceTitle(known: KnownTrace): string {
  const name = known.port.split("::").at(-1) ?? known.port;
  return known.trace === null ? `${name} trace` : `${name} trace: ${NAMES[known.trace.status].word}`;
}

export function traceReport(known: KnownTrace, nonce: string): Report {
  const places: TracePlace[] = [];
  const page = new Page(places);
  const body = known.trace === null ? page.unknown(known) : page.whole(known, known.trace);
  const policy = `default-src 'none'; style-src 'nonce-${nonce}'; script-src 'nonce-${nonce}'`;
  const html = `<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<title>${escaped(traceTitle(known))}</title><style nonce="${nonce}">${REPORT_STYLE}</style></head>
<body>${body}<script nonce="${nonce}">${REPORT_SCRIPT}</script></body></html>`;
  return { html, places };
}

class Page {
  constructor(private readonly places: TracePlace[]) {}

  unknown(known: KnownTrace): string {
    const name = known.port.split("::").at(-1) ?? known.port;
    const said = known.running ? "It is being traced …" : (known.trouble ?? "It was not traced yet.");
    return `<h1>${escaped(name)}</h1><p>${escaped(said)}</p>${again()}`;
  }

  whole(known: KnownTrace, trace: Trace): string {
    const found = trace.first === null ? [] : [trace.first, ...trace.others];
    return [
      this.head(known, trace),
      trace.drift.length === 0 ? "" : this.drift(trace.drift, found),
      found.length === 0 ? "" : this.findings(found),
      trace.outputs.length === 0 ? "" : outputs(trace),
      remarks(trace),
      trace.drift.length === 0 ? "" : this.every(trace.drift),
    ].join("\n");
  }

  private head(known: KnownTrace, trace: Trace): string {
    const { mark, word } = NAMES[trace.status];
    const compared = trace.compared;
    const how =
      compared === null
        ? ""
        : `<p class="how">against <b>${escaped(compared.official)}</b> in small: random weights, seed ` +
          `${compared.seed}, ${escaped(compared.device)}, recipe <b>${escaped(compared.recipe)}</b>, ` +
          `${count(compared.cases.length, "case")} (${escaped(compared.cases.join(", "))}); ` +
          `${count(trace.aligned, "place")} compared in ${trace.seconds.toFixed(1)} s</p>`;
    const next = trace.next_step === "" ? "" : `<p>${escaped(sentence(trace.next_step))}</p>`;
    return (
      `<h1>${escaped(trace.port)} <span class="verdict ${trace.status}">${mark} ${word}</span></h1>` +
      `${banner(known)}<p class="reason">${escaped(sentence(trace.reason))}</p>${next}${how}${again()}`
    );
  }

  private findings(found: readonly TraceDivergence[]): string {
    const items = found.map((one) => {
      const more = one.calls > 1 ? ` <span class="calls">and ${one.calls - 1} more like it</span>` : "";
      const cause = one.hypothesis === null ? "" : `<p class="cause">${escaped(sentence(one.hypothesis.message))}</p>`;
      return (
        `<li><p><span class="kind">${KINDS[one.kind]}</span> <b>${escaped(one.native.module || "the model")}</b>${more}</p>` +
        `<p class="message">${escaped(sentence(one.message))}</p>${cause}` +
        `<dl><dt>port</dt><dd>${this.link(one.native)}${operation(one, one.operation?.native)}</dd>` +
        `<dt>official</dt><dd>${this.link(one.official)}${operation(one, one.operation?.official)}</dd>` +
        `<dt>error</dt><dd>${numbers(one)}</dd></dl></li>`
      );
    });
    return `<h2>Where it differs</h2><ol class="found">${items.join("")}</ol>`;
  }

  private drift(rows: readonly DriftRow[], found: readonly TraceDivergence[]): string {
    const told = rows.map((row) => ({
      text: `${row.module || "(the model)"} ${row.end} ${row.label}`,
      free: measured(row.free),
      own: row.status === "absent" ? "not called" : measured(row.error),
      floor: row.floor === null ? "not measured" : measured(row.floor),
      open: this.place(row.place),
    }));
    const data = JSON.stringify(told).replaceAll("<", "\\u003c");
    return (
      `<h2 id="depth">Drift over depth</h2>` +
      `<p class="legend"><span><svg viewBox="0 0 14 14"><g class="free"><circle cx="7" cy="7" r="3"/></g></svg>` +
      `free run: errors add up</span>` +
      `<span><svg viewBox="0 0 14 14"><g class="own"><path d="M7 2l5 5l-5 5l-5 -5Z"/></g></svg>` +
      `lockstep: what each place adds itself</span>` +
      `<span><svg viewBox="0 0 14 14"><rect class="floor" width="14" height="14"/></svg>` +
      `what rounding alone makes</span></p>` +
      driftPlot(rows, marks(rows, found)) +
      `<p id="told" aria-live="polite">Each mark is a place where both models hold the same value, in the order of ` +
      `the port's calls. Point at one, or use the arrow keys; click or Enter opens its line.</p>` +
      `<script type="application/json" id="rows">${data}</script>`
    );
  }

  /** The plot as a table, for whoever cannot see it, or looks for a name. */
  private every(rows: readonly DriftRow[]): string {
    const body = rows.map(
      (row) =>
        `<tr><td>${this.link(row.place, row.module || "(the model)")} ${row.end} ${escaped(row.label)}</td>` +
        `<td>${escaped(row.official || "(the model)")}</td><td class="number">${measured(row.free)}</td>` +
        `<td class="number">${measured(row.error)}</td><td class="number">${measured(row.floor)}</td>` +
        `<td>${escaped(row.layout ?? (row.status === "compared" ? "" : row.status))}</td></tr>`,
    );
    return (
      `<details><summary>Every compared place (${rows.length})</summary><table><thead><tr><th>port</th>` +
      `<th>official</th><th class="number">free run</th><th class="number">lockstep</th>` +
      `<th class="number">rounding</th><th></th></tr></thead><tbody>${body.join("")}</tbody></table></details>`
    );
  }

  private link(place: TracePlace | null, text?: string): string {
    const shown = text ?? named(place);
    const open = this.place(place);
    if (open === null) return `<span>${escaped(shown)}</span>`;
    return `<button class="link" data-open="${open}" title="${escaped(place?.path ?? "")}">${escaped(shown)}</button>`;
  }

  private place(place: TracePlace | null): number | null {
    if (place?.path === undefined || place.path === null) return null;
    return this.places.push(place) - 1;
  }
}

/** Where a finding stands in the plot, which shows float32: a loss in a lower dtype has no place there. */
export function marks(rows: readonly DriftRow[], found: readonly TraceDivergence[]): Marked[] {
  return found.flatMap(({ kind, tap }, number) => {
    if (kind === "dtype") return [];
    const at = rows.findIndex((row) => row.module === tap.module && row.end === tap.end && row.label === tap.label);
    return at < 0 ? [] : [{ at, label: String(number + 1) }];
  });
}

function banner(known: KnownTrace): string {
  if (known.running) return `<p class="banner" role="status">It is being traced again …</p>`;
  if (known.trouble !== null) return `<p class="banner" role="status">From before: ${escaped(known.trouble)}.</p>`;
  if (!known.stale) return "";
  return `<p class="banner" role="status">Stale: files have changed since this trace. Save to trace again.</p>`;
}

function outputs(trace: Trace): string {
  const rows = trace.outputs.map(
    (output) =>
      `<tr><td>${escaped(output.name)}</td><td class="number">${measured(output.max_abs)}</td>` +
      `<td class="number">${measured(output.mean_abs)}</td><td class="number">${measured(output.rel_l2)}</td>` +
      `<td>${output.passed ? "✓ agrees" : "✗ differs"}</td></tr>`,
  );
  return (
    `<h2>Outputs</h2><table><thead><tr><th>output</th><th class="number">max abs</th><th class="number">mean abs</th>` +
    `<th class="number">rel l2</th><th></th></tr></thead><tbody>${rows.join("")}</tbody></table>`
  );
}

/** What was not compared, and what else a reader should know before trusting the verdict. */
function remarks(trace: Trace): string {
  const lists: [string, readonly string[]][] = [
    ["Without a counterpart, so not compared", trace.unaligned.map(({ side, module }) => `${module} (${side})`)],
    ["Called around their hooks, so not compared", trace.not_fired],
    ["Parameters that stayed empty", trace.missing],
    ["Official tensors without a place", trace.unexpected],
    ["Official settings that the port did not take", trace.compared?.dropped.map((one) => one.setting) ?? []],
    ["Differences of mere form", trace.layouts],
    ["Notes", trace.notes],
  ];
  const parts = lists
    .filter(([, items]) => items.length > 0)
    .map(
      ([title, items]) =>
        `<details${title === "Notes" ? " open" : ""}><summary>${title} (${items.length})</summary><ul>` +
        `${items.map((item) => `<li>${escaped(item)}</li>`).join("")}</ul></details>`,
    );
  return parts.length === 0 ? "" : `<h2>Remarks</h2>${parts.join("")}`;
}

const again = (): string => `<p><button class="again" data-again="1">Trace again</button></p>`;

function named(place: TracePlace | null): string {
  if (place?.path === undefined || place.path === null) return "unknown";
  const file = place.path.split("/").at(-1) ?? place.path;
  return place.line === null ? file : `${file}:${place.line}`;
}

function operation(one: TraceDivergence, side: string | null | undefined): string {
  return one.operation === null ? "" : ` <code>${escaped(side ?? "nothing")}</code>`;
}

function numbers(one: TraceDivergence): string {
  const parts = [`<b>${measured(one.error)}</b> of the official norm`];
  if (one.floor !== null) {
    const factor = one.error === null || one.floor === 0 ? null : one.error / one.floor;
    const times = factor === null ? "" : `, ${factor < 1000 ? factor.toPrecision(2) : scientific(factor)} times as much`;
    parts.push(`rounding alone makes ${measured(one.floor)}${times}`);
  }
  if (one.reaches_outputs !== null) {
    const size = one.output_error === null ? "" : ` by ${measured(one.output_error)}`;
    parts.push(one.reaches_outputs ? `the outputs differ${size}` : "the outputs agree");
  }
  return parts.join("; ");
}

const measured = (error: number | null): string => (error === 0 ? "0" : scientific(error));
const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? "" : "s"}`;
const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);
