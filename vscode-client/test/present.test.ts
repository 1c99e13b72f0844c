import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { handoffRemark, reportTitle, scientific, statusView, traceHeadline, verdictHeadline, verdictTable, verdictView, type Situation } from "../src/present";
import type { Output, TraceVerdict, Verdict } from "../src/protocol";

const output: Output = {
  name: "sample",
  max_abs: 1.2e-7,
  mean_abs: 3e-8,
  rel_l2: 4.5e-8,
  tolerance: 1e-5,
  needed_tolerance: 1.2e-7,
  passed: true,
};
const passed: Verdict = {
  port: "WanTransformer3DModel",
  test: "tests/local_tests/transformers/test_wan.py::test_wan",
  tier: "weights",
  status: "passed",
  reason: null,
  outputs: [output],
  seconds: 3.42,
  known_since: null,
  by_itself: false,
};
const failed: Verdict = {
  ...passed,
  status: "failed",
  outputs: [output, { ...output, name: "residual", max_abs: 0.031, passed: false }],
};
const skipped: Verdict = { ...passed, status: "skipped", reason: "needs a CUDA device", outputs: [] };
const calm: Situation = { state: "ready", message: "", run: null, verdict: null, outdated: false };

describe("a verdict in the status bar", () => {
  it("names the largest error of all outputs", () => {
    assert.equal(verdictView(passed, false).text, "$(pass) parity passed · max 1.2e-07");
    assert.equal(verdictView(failed, false).text, "$(error) parity failed · max 3.1e-02");
  });

  it("never shows a skip as success", () => {
    const view = verdictView(skipped, false);
    assert.equal(view.text, "$(circle-slash) skipped: no evidence");
    assert.equal(view.tone, "warning");
    assert.match(view.tooltip, /needs a CUDA device/);
  });

  it("is in the tone of success for passed alone", () => {
    const statuses: Verdict["status"][] = ["passed", "failed", "skipped", "error", "cancelled"];
    const green = statuses.filter((status) => verdictView({ ...passed, status }, false).tone === "passed");
    assert.deepEqual(green, ["passed"]);
  });

  it("loses its tone after an edit", () => {
    const view = verdictView(passed, true);
    assert.equal(view.tone, "plain");
    assert.match(view.text, /before edits/);
  });

  it("is the trace's where that came last", () => {
    const differs: TraceVerdict = { port: "WanTransformer3DModel", status: "failed", summary: "differs at blocks.0.ffn" };
    const view = statusView({ ...calm, verdict: differs });
    assert.equal(view.text, "$(error) trace differs at blocks.0.ffn");
    assert.equal(view.tooltip, "WanTransformer3DModel: differs at blocks.0.ffn");
    assert.equal(view.tone, "error");
    assert.equal(statusView({ ...calm, verdict: { ...differs, status: "passed" } }).text, "$(pass) trace passed");
    assert.equal(statusView({ ...calm, verdict: differs, outdated: true }).tone, "plain");
    const long = traceHeadline({ ...differs, summary: "differs at ".padEnd(90, "x") });
    assert.equal(long.length, 48);
    assert.match(long, /…$/);
  });

  it("does without numbers where a run gave none", () => {
    assert.equal(verdictHeadline({ ...failed, outputs: [] }), "parity failed");
    assert.equal(verdictHeadline({ ...failed, outputs: [{ ...output, max_abs: null }] }), "parity failed");
  });
});

describe("the status item", () => {
  it("puts a server in trouble before an old verdict", () => {
    assert.equal(statusView({ ...calm, state: "failed", message: "no server", verdict: passed }).tone, "error");
  });

  it("shows what runs before an old verdict", () => {
    const run = { id: "1", title: "Parity of Wan" };
    assert.match(statusView({ ...calm, state: "running", run, verdict: passed }).text, /Parity of Wan/);
  });

  it("claims nothing while there is no verdict", () => {
    assert.deepEqual(statusView(calm), { text: "$(beaker) ditproof", tooltip: "", tone: "plain" });
  });
});

describe("the table in the log", () => {
  it("has an aligned row for each output", () => {
    assert.equal(
      verdictTable(failed),
      [
        "parity failed · max 3.1e-02 — tests/local_tests/transformers/test_wan.py::test_wan" +
          " (WanTransformer3DModel, weights, 3.4 s)",
        "  output    max abs  mean abs  rel l2   tolerance  would need  verdict",
        "  sample    1.2e-07  3.0e-08   4.5e-08  1.0e-05    1.2e-07     passed",
        "  residual  3.1e-02  3.0e-08   4.5e-08  1.0e-05    1.2e-07     failed",
      ].join("\n"),
    );
  });

  it("says why a run was skipped", () => {
    assert.match(verdictTable(skipped), /\n {2}because: needs a CUDA device$/);
  });
});

describe("numbers", () => {
  it("are written like Python writes them", () => {
    const written = [0, 1, 0.031, 1.2e-7, 3e-120, -2.5e10].map(scientific);
    assert.deepEqual(written, ["0.0e+00", "1.0e+00", "3.1e-02", "1.2e-07", "3.0e-120", "-2.5e+10"]);
    assert.equal(scientific(null), "-");
    assert.equal(scientific(Infinity), "Infinity");
  });
});

describe("a run in the status bar", () => {
  const run = { id: "1", title: "weights of WanTransformer3DModel" };

  it("shows what it is at, where that is short", () => {
    const view = statusView({ ...calm, state: "running", message: "importing torch", run: { ...run, short: "weights" } });
    assert.equal(view.text, "$(loading~spin) weights: importing torch");
    assert.equal(view.tooltip, run.title);
  });

  it("shows its title otherwise", () => {
    const view = statusView({ ...calm, state: "running", message: "call tests/test_wan.py::test_wan", run });
    assert.equal(view.text, "$(loading~spin) weights of WanTransformer3DModel");
    assert.equal(view.tooltip, "call tests/test_wan.py::test_wan");
  });
});

describe("the title of a report of weights", () => {
  const wan = { port: "WanTransformer3DModel", verdict: "proven" } as const;

  it("tells the port and the verdict", () => {
    assert.equal(reportTitle({ text: "", reports: [wan] }), "WanTransformer3DModel weights: proven");
  });

  it("tells every verdict of several ports", () => {
    const other = { port: "CausalWanTransformer3DModel", verdict: "unknown" } as const;
    assert.equal(
      reportTitle({ text: "", reports: [wan, other] }),
      "WanTransformer3DModel and 1 more weights: proven, unknown",
    );
  });
});

describe("what is said beside a handoff", () => {
  const answer = (items: number, cells: number) => ({
    markdown: "",
    json: {
      port: "WanTransformer3DModel",
      gate: { verdict: items > 0 ? "left" : "clean", items: new Array<unknown>(items).fill({}) },
      state_files: [{ path: "a/PORT_STATUS.md", changes: new Array<unknown>(cells).fill({}) }],
    },
    edits: {},
  }) as const;

  it("is nothing where nothing was left and no cell is behind", () => {
    assert.equal(handoffRemark(answer(0, 0)), undefined);
  });

  it("counts what was left and what is behind", () => {
    assert.equal(
      handoffRemark(answer(1, 2)),
      "WanTransformer3DModel: 1 thing left behind by debugging; 2 cells of a/PORT_STATUS.md behind.",
    );
    assert.equal(handoffRemark(answer(2, 0)), "WanTransformer3DModel: 2 things left behind by debugging.");
  });
});
