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
