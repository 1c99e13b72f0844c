import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { driftPlot, groupsOf } from "../src/drift";
import type { DriftRow, KnownTrace, Trace, TraceDivergence } from "../src/protocol";
import { marks, traceReport, traceTitle } from "../src/traceReport";

const row = (module: string, error: number | null, change: Partial<DriftRow> = {}): DriftRow => ({
  module,
  official: module,
  end: "out",
  label: "out",
  free: error,
  error,
  floor: 1e-7,
  status: "compared",
  layout: null,
  place: { path: "fastvideo/models/dits/wanvideo.py", line: 165 },
  ...change,
});
const rows = [row("patch_embedding", 0), row("blocks.0.norm", 2e-5), row("blocks.0.ffn", 0), row("blocks.1.norm", null)];
const eps: TraceDivergence = {
  kind: "inside",
  native: { module: "blocks.0.norm", path: "fastvideo/models/dits/wanvideo.py", line: 165 },
  official: { module: "blocks.0.norm", path: "/site-packages/diffusers/wan.py", line: 95 },
  error: 2e-5,
  floor: 1e-7,
  operation: { native: "rms_norm(x, eps=1e-05)", official: "rms_norm(x, eps=1e-06)" },
  message: "eps is <1e-05>",
  hypothesis: null,
  calls: 2,
  reaches_outputs: true,
  output_error: 3e-6,
  tap: { module: "blocks.0.norm", end: "out", label: "out" },
};
const trace: Trace = {
  port: "WanTransformer3DModel",
  status: "failed",
  reason: "one place computes something else",
  next_step: "",
  outputs: [],
  first: eps,
  others: [],
  aligned: 4,
  unaligned: [{ side: "native", module: "rotary" }],
  not_fired: [],
  seconds: 2,
  reaches_outputs: true,
  layouts: [],
  drift: rows,
  compared: {
    official: "diffusers:WanTransformer3DModel",
    recipe: "wan",
    device: "cpu",
    dtype: null,
    seed: 0,
    cases: ["plain"],
    dropped: [],
  },
  missing: [],
  unexpected: [],
  notes: [],
};
const known: KnownTrace = { port: "dits/wan.py::WanTransformer3DModel", stale: false, running: false, trouble: null, trace };

describe("the plot of the drift", () => {
  it("groups the places by numbered block", () => {
    const groups = groupsOf(rows).map(({ name, from, to }) => [name, from, to]);
    assert.deepEqual(groups, [["patch_embedding", 0, 1], ["blocks.0", 1, 3], ["blocks.1", 3, 4]]);
  });

  it("puts a larger error higher, exact ones lowest and what has no number highest", () => {
    const heights = [...driftPlot(rows, []).matchAll(/<circle cx="[\d.]+" cy="([\d.]+)" r="2.6"\/>/g)].map((m) => Number(m[1]));
    const [exact, wrong, again] = heights;
    assert.equal(heights.length, 3);
    assert.equal(exact, again);
    assert.ok(exact !== undefined && wrong !== undefined && wrong < exact);
    const cross = /class="cross" d="M[\d.]+ ([\d.]+)/.exec(driftPlot(rows, []));
    assert.ok(cross !== null && Number(cross[1]) < wrong);
  });

  it("draws no mark for a place that was not called", () => {
    const absent = driftPlot([row("a", null, { status: "absent" })], []);
    assert.doesNotMatch(absent, /class="cross" d/);
  });

  it("marks what was found, but for a loss in a lower dtype", () => {
    assert.deepEqual(marks(rows, [eps]), [{ at: 1, label: "1" }]);
    assert.deepEqual(marks(rows, [{ ...eps, kind: "dtype" }]), []);
    assert.match(driftPlot(rows, marks(rows, [eps])), /class="found"><circle[^>]*\/><text[^>]*>1</);
  });
});

describe("the report of a trace", () => {
  it("says the verdict in words, not by colour alone", () => {
    assert.match(traceReport(known, "n").html, /✗ differs/);
    assert.match(traceReport({ ...known, trace: { ...trace, status: "passed", first: null } }, "n").html, /✓ agrees/);
    assert.equal(traceTitle(known), "WanTransformer3DModel trace: differs");
  });

  it("escapes what the server says", () => {
    const { html } = traceReport(known, "n");
    assert.match(html, /eps is &lt;1e-05&gt;/);
    assert.doesNotMatch(html, /eps is </);
  });

  it("ends no script with the name of a module", () => {
    const evil = { ...trace, drift: [row("</script><script>alert(1)", 0)] };
    assert.doesNotMatch(traceReport({ ...known, trace: evil }, "n").html, /<script>alert/);
  });

  it("names no file in the page, only numbers into its places", () => {
    const { html, places } = traceReport(known, "n");
    const opened = [...html.matchAll(/data-open="(\d+)"/g)].map((match) => places[Number(match[1])]);
    assert.ok(opened.some((place) => place?.path === "/site-packages/diffusers/wan.py" && place.line === 95));
    assert.equal(opened.includes(undefined), false);
  });

  it("allows only what carries its nonce", () => {
    const { html } = traceReport(known, "abc");
    assert.match(html, /default-src 'none'; style-src 'nonce-abc'; script-src 'nonce-abc'/);
    assert.equal([...html.matchAll(/<script(?! type="application\/json")/g)].length, 1);
  });

  it("says that a result is old, is being replaced, or outlived a failure", () => {
    assert.match(traceReport({ ...known, stale: true }, "n").html, /Stale: files have changed/);
    assert.match(traceReport({ ...known, stale: true, running: true }, "n").html, /being traced again/);
    assert.match(traceReport({ ...known, trouble: "cancelled" }, "n").html, /From before: cancelled/);
    assert.match(traceReport({ ...known, trace: null, trouble: "no torch" }, "n").html, /no torch/);
  });

  it("lists what was not compared", () => {
    assert.match(traceReport(known, "n").html, /rotary \(native\)/);
  });
});
