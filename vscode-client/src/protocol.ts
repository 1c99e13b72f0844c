/** What the server sends beyond the language server protocol. No `vscode` import: the tests read these too. */

export interface Run {
  readonly id: string;
  readonly title: string;
  /** What stands before the message where the two together are short enough to be read in passing. */
  readonly short?: string | null;
}

/** `ditproof/status` */
export interface ServerStatus {
  readonly state: "ready" | "indexing" | "running";
  readonly message: string;
  readonly run: Run | null;
}

export interface Output {
  readonly name: string;
  readonly max_abs: number | null;
  readonly mean_abs: number | null;
  readonly rel_l2: number | null;
  readonly tolerance: number | null;
  readonly needed_tolerance: number | null;
  readonly passed: boolean;
}

/** `ditproof/verdict`, and the result of the command `ditproof.parity` */
export interface Verdict {
  readonly uri?: string;
  readonly port: string | null;
  /** `path::name`, the path relative to the root */
  readonly test: string;
  readonly tier: string;
  readonly status: "passed" | "failed" | "skipped" | "error" | "cancelled";
  readonly reason: string | null;
  readonly outputs: readonly Output[];
  readonly seconds: number;
  /** When the run ended that this is the verdict of (seconds since the epoch); null where it has just been run. */
  readonly known_since: number | null;
  /** A save started it: nobody waits for it. */
  readonly by_itself: boolean;
  /** It was told before: this is what several tests came to together. */
  readonly repeated?: boolean;
}

/** `ditproof/traceChanged` */
export interface TraceChanged {
  /** `path::Class` */
  readonly port: string;
  readonly class: string;
  /** What a trace has come to just now; null where only something else has changed. */
  readonly verdict: { readonly status: Verdict["status"]; readonly summary: string } | null;
}

/** What a trace has come to. */
export interface TraceVerdict {
  readonly port: string;
  readonly status: Verdict["status"];
  /** `differs at blocks.0.attn.norm_q`, in a few words. */
  readonly summary: string;
}

/** The argument of `ditproof.parity`; lines count from 0, null stands for the whole file. */
export interface ParityTarget {
  readonly uri: string;
  readonly line: number | null;
}

/** The argument of `ditproof.weights`: a place, or one port by `path::Class`. */
export type WeightsTarget = { readonly uri: string; readonly line: number | null } | { readonly port: string };

/** The result of `ditproof.weights`. */
export interface WeightsAnswer {
  /** The report as the command line prints it. */
  readonly text: string;
  readonly reports: readonly { readonly port: string; readonly verdict: "proven" | "broken" | "unknown" }[];
}

/** A line of code; `path` is relative to the root of the tree, or absolute outside of it. Lines count from 1. */
export interface TracePlace {
  readonly path: string | null;
  readonly line: number | null;
}

export interface TraceSpot extends TracePlace {
  readonly module: string;
}

/** One aligned place over the depth: its error in the free run, and its own error in lockstep. */
export interface DriftRow {
  readonly module: string;
  readonly official: string;
  readonly end: "in" | "out";
  readonly label: string;
  readonly free: number | null;
  readonly error: number | null;
  readonly floor: number | null;
  readonly status: "compared" | "layout" | "absent" | "incomparable";
  readonly layout: string | null;
  readonly place: TracePlace | null;
}

export interface TraceDivergence {
  readonly kind: "inside" | "between" | "layout" | "dtype" | "nonfinite";
  readonly native: TraceSpot;
  readonly official: TraceSpot;
  readonly error: number | null;
  readonly floor: number | null;
  readonly operation: { readonly native: string | null; readonly official: string | null } | null;
  readonly message: string;
  readonly hypothesis: { readonly message: string } | null;
  readonly calls: number;
  readonly reaches_outputs: boolean | null;
  readonly output_error: number | null;
  readonly tap: { readonly module: string; readonly end: string; readonly label: string };
}

/** What `ditproof trace --format json` writes, as far as the report shows it. */
export interface Trace {
  readonly port: string;
  readonly status: Verdict["status"];
  readonly reason: string;
  readonly next_step: string;
  readonly outputs: readonly Output[];
  readonly first: TraceDivergence | null;
  readonly others: readonly TraceDivergence[];
  readonly aligned: number;
  readonly unaligned: readonly { readonly side: string; readonly module: string }[];
  readonly not_fired: readonly string[];
  readonly seconds: number;
  readonly reaches_outputs: boolean | null;
  readonly layouts: readonly string[];
  readonly drift: readonly DriftRow[];
  readonly compared: {
    readonly official: string;
    readonly recipe: string;
    readonly device: string;
    readonly dtype: string | null;
    readonly seed: number;
    readonly cases: readonly string[];
    readonly dropped: readonly { readonly setting: string; readonly reason: string }[];
  } | null;
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly notes: readonly string[];
}

/** What is known of one port. */
export interface KnownTrace {
  /** `path::Class` */
  readonly port: string;
  readonly stale: boolean;
  readonly running: boolean;
  /** Why the last attempt brought nothing. */
  readonly trouble: string | null;
  readonly trace: Trace | null;
}

/** The result of `ditproof.trace` and of the request `ditproof/trace`. */
export interface TraceAnswer {
  readonly root: string;
  readonly traces: readonly KnownTrace[];
}

/** The argument of `ditproof.trace`: a place, or one port by `path::Class`. */
export type TraceTarget =
  | { readonly uri: string; readonly line: number | null }
  | { readonly port: string; readonly again?: boolean };

/** The argument of `ditproof.handoff`: a place, or one port by `path::Class`. */
export type HandoffTarget = { readonly uri: string; readonly line: number | null } | { readonly port: string };

/** The result of `ditproof.handoff`. */
export interface HandoffAnswer {
  readonly markdown: string;
  readonly json: {
    readonly port: string;
    readonly gate: { readonly verdict: "clean" | "left" | "unknown"; readonly items: readonly unknown[] };
    readonly state_files: readonly { readonly path: string; readonly changes: readonly unknown[] }[];
  };
  /** What brings the state files up to date, by URI. */
  readonly edits: HandoffEdits;
}

export type HandoffEdits = Readonly<
  Record<
    string,
    {
      range: { start: { line: number; character: number }; end: { line: number; character: number } };
      newText: string;
    }[]
  >
>;
