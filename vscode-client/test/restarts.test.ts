import assert from "node:assert/strict";
import { it } from "node:test";
import { CrashBudget } from "../src/restarts";

it("a server that keeps crashing is given up", () => {
  const budget = new CrashBudget(2, 1000);
  assert.deepEqual([0, 10, 20].map((time) => budget.spend(time)), [true, true, false]);
});

it("a crash now and then is forgiven", () => {
  const budget = new CrashBudget(1, 1000);
  assert.deepEqual([0, 1000, 2000, 2500].map((time) => budget.spend(time)), [true, true, true, false]);
});
