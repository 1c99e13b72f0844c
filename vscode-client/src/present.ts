/**
 * What people read: the status item's text and the summary of a run. Pure, so that it is tested without an editor.
 *
 * Invariant: only `passed` looks like success. Skipped and cancelled runs measured nothing, and say so.
 */
import type { HandoffAnswer, Output, Run, ServerStatus, TraceVerdict, Verdict, WeightsAnswer } from "./protocol";

export type ServerState = "disabled" | "starting" | "failed" | ServerStatus["state"];

/** `passed` is the one tone that may be shown in green. */
export type Tone = "plain" | "passed" | "warning" | "error";

export interface View {
  readonly text: string;
  readonly tooltip: string;
  readonly tone: Tone;
}

export interface Situation {
  readonly state: ServerState;
  readonly message: string;
  readonly run: Run | null;
  /** The last one, of a parity run or of a trace. */
  readonly verdict: Verdict | TraceVerdict | null;
  /** Python was edited since the verdict. */
  readonly outdated: boolean;
}

const LONGEST = 48;

/** A server in trouble comes first, then what runs now, then the last verdict. */
export function statusView(now: Situation): View {
  switch (now.state) {
    case "disabled":
      return { text: "$(circle-slash) ditproof: off", tooltip: "Turned off by ditproof.enable", tone: "plain" };
    case "failed":
      return { text: "$(warning) ditproof: no server", tooltip: now.message, tone: "error" };
    case "starting":
      return { text: "$(loading~spin) ditproof", tooltip: "The server is starting", tone: "plain" };
    case "running":
      return runView(now.run, now.message);
    case "indexing":
    case "ready":
      break;
  }
  if (now.verdict !== null) return verdictView(now.verdict, now.outdated);
  if (now.state === "indexing") return { text: "$(sync~spin) ditproof", tooltip: now.message, tone: "plain" };
  return { text: "$(beaker) ditproof", tooltip: now.message, tone: "plain" };
}

function runView(run: Run | null, message: string): View {
  if (run?.short === undefined || run.short === null) {
    return { text: `$(loading~spin) ${run?.title ?? "ditproof"}`, tooltip: message, tone: "plain" };
  }
  return { text: `$(loading~spin) ${run.short}: ${message}`, tooltip: run.title, tone: "plain" };
}

/** What the report of some ports is called: `WanTransformer3DModel weights: proven`. */
export function reportTitle(answer: WeightsAnswer): string {
  const [first, ...others] = answer.reports;
  if (first === undefined) return "weights";
  const verdicts = new Set(answer.reports.map((report) => report.verdict));
  const more = others.length === 0 ? "" : ` and ${others.length} more`;
  return `${first.port}${more} weights: ${[...verdicts].join(", ")}`;
}

/** What is said beside a handoff; undefined where nothing was left and no state file is behind. */
export function handoffRemark(answer: HandoffAnswer): string | undefined {
  const left = answer.json.gate.items.length;
  const behind = answer.json.state_files.filter((file) => file.changes.length > 0);
  const cells = behind.reduce((sum, file) => sum + file.changes.length, 0);
  const parts = [
    left > 0 ? `${left} thing${left > 1 ? "s" : ""} left behind by debugging` : null,
    cells > 0 ? `${cells} cell${cells > 1 ? "s" : ""} of ${behind.map((file) => file.path).join(", ")} behind` : null,
  ].filter((part) => part !== null);
  return parts.length === 0 ? undefined : `${answer.json.port}: ${parts.join("; ")}.`;
}

export function verdictView(verdict: Verdict | TraceVerdict, outdated: boolean): View {
  const told =
    "summary" in verdict ? [`${verdict.port}: ${verdict.summary}`] : [verdict.test, verdict.reason, knownSince(verdict)];
  const tooltip = [...told, outdated ? "Python was edited since this run." : null]
    .filter((line) => line !== null && line !== "")
    .join("\n");
  const headline = "summary" in verdict ? traceHeadline(verdict) : verdictHeadline(verdict);
  // Neither red nor green: nobody knows yet what the edit did.
  if (outdated) return { text: `$(history) ${headline} (before edits)`, tooltip, tone: "plain" };
  switch (verdict.status) {
    case "passed":
      return { text: `$(pass) ${headline}`, tooltip, tone: "passed" };
    case "failed":
      return { text: `$(error) ${headline}`, tooltip, tone: "error" };
    case "skipped":
      return { text: `$(circle-slash) ${headline}`, tooltip, tone: "warning" };
    case "error":
      return { text: `$(warning) ${headline}`, tooltip, tone: "error" };
    case "cancelled":
      return { text: `$(circle-slash) ${headline}`, tooltip, tone: "plain" };
  }
}

/** That nothing was run just now, and when it was. */
function knownSince(verdict: Verdict): string | null {
  if (verdict.known_since === null) return null;
  return `The same files, weights and packages were run at ${new Date(verdict.known_since * 1000).toLocaleString()}.`;
}

export function verdictHeadline(verdict: Verdict): string {
  switch (verdict.status) {
    case "passed":
    case "failed": {
      const worst = worstOf(verdict.outputs);
      return `parity ${verdict.status}${worst === null ? "" : ` · max ${worst}`}`;
    }
    case "skipped":
      return "skipped: no evidence";
    case "error":
      return "parity could not run";
    case "cancelled":
      return "parity cancelled: no evidence";
  }
}

export function traceHeadline(verdict: TraceVerdict): string {
  switch (verdict.status) {
    case "passed":
      return "trace passed";
    case "failed":
      return shortened(`trace ${verdict.summary}`);
    case "skipped":
      return "trace skipped: no evidence";
    case "error":
      return "trace could not run";
    case "cancelled":
      return "trace cancelled: no evidence";
  }
}

/** The status bar is narrow; the tooltip has all of it. */
function shortened(text: string): string {
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST - 1)}…`;
}

/** The run as a small table for the log: one row an output. */
export function verdictTable(verdict: Verdict): string {
  const port = verdict.port === null ? "" : `${verdict.port}, `;
  const lines = [
    `${verdictHeadline(verdict)} — ${verdict.test} (${port}${verdict.tier}, ${verdict.seconds.toFixed(1)} s)`,
  ];
  if (verdict.reason !== null && verdict.reason !== "") lines.push(`  because: ${verdict.reason}`);
  const known = knownSince(verdict);
  if (known !== null) lines.push(`  ${known}`);
  if (verdict.outputs.length > 0) {
    const rows = [["output", "max abs", "mean abs", "rel l2", "tolerance", "would need", "verdict"]];
    for (const output of verdict.outputs) {
      const numbers = [output.max_abs, output.mean_abs, output.rel_l2, output.tolerance, output.needed_tolerance];
      rows.push([output.name, ...numbers.map(scientific), output.passed ? "passed" : "failed"]);
    }
    lines.push(...aligned(rows).map((row) => `  ${row}`));
  }
  return lines.join("\n");
}

/** Like Python's `%.1e`, so that the editor and the command line print the same number the same way. */
export function scientific(value: number | null): string {
  if (value === null) return "-";
  if (!Number.isFinite(value)) return String(value);
  return value.toExponential(1).replace(/e([+-])(\d)$/, "e$10$2");
}

function worstOf(outputs: readonly Output[]): string | null {
  const known = outputs.map((output) => output.max_abs).filter((value) => value !== null);
  return known.length === 0 ? null : scientific(Math.max(...known));
}

function aligned(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, at) => (widths[at] = Math.max(widths[at] ?? 0, cell.length)));
  return rows.map((row) => row.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join("  ").trimEnd());
}
