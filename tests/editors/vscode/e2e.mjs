// The porter's way through the extension, in a real VS Code. Called by test_vscode.py with a JSON of paths;
// prints one JSON line: for each part {ok, seconds, error}.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Session, retry } from "./session.mjs";

const options = JSON.parse(process.argv[2]);
const DIT = "fastvideo/models/dits/hunyuangamecraft.py"; // its module names no EntryClass
const DIT_CLASS = "HunyuanGameCraftTransformer3DModel";
const PORT = "fastvideo/models/dits/wanvideo.py";
const TESTS = "tests/local_tests/transformers";
const CONFIG = "fastvideo/configs/models/dits/wanvideo.py";
const TARGET = String.raw`r"blocks.\1.to_q.\2"`;
const TYPO = String.raw`r"blocks.\1.to_qq.\2"`;
const RIGHT = "* (1 + scale_msa)";
const WRONG = "* (1.01 + scale_msa)";

const NORM = "self.norm_q = RMSNorm(dim, eps=eps)"; // of the cross attention: the first such line of the file
const SEEDED = "self.norm_q = RMSNorm(dim, eps=10 * eps)";
const PORT_CLASS = "WanTransformer3DModel";
const LACKING = "fastvideo/models/dits/kandinsky5.py"; // has an official model, and no recipe of ours
const LACKING_CLASS = "Kandinsky5Transformer3DModel";

const WEIGHTS_TEST = "test_wan_weights_parity.py";
const WEIGHTS = "wan_tiny_weights";

const test = basename(options.parityTest);
const results = {};
mkdirSync(options.out, { recursive: true });

function prepare(workspace) {
  cpSync(options.fastvideo, workspace, { recursive: true });
  const folder = join(workspace, TESTS);
  mkdirSync(folder, { recursive: true });
  // With the helpers that lie beside it.
  for (const name of readdirSync(dirname(options.parityTest))) {
    if (name.endsWith(".py")) copyFileSync(join(dirname(options.parityTest), name), join(folder, name));
  }
}

async function part(name, session, action) {
  const start = Date.now();
  try {
    await action();
    results[name] = { ok: true };
  } catch (error) {
    results[name] = { ok: false, error: String(error?.stack ?? error).slice(0, 2000) };
    await session.screenshot(`failed-${name}`).catch(() => {});
  }
  results[name].seconds = (Date.now() - start) / 1000;
}

async function findingAndFix(session) {
  const { page } = session;
  const finding = await session.shownProblem("DIT101", DIT_CLASS);
  await retry(5, async () => {
    await finding.dblclick(); // the cursor goes to the finding
    await page.locator(".view-line", { hasText: `class ${DIT_CLASS}` }).waitFor({ timeout: 3000 });
  });
  // Only now: the editor draws no squiggle outside of what it shows.
  await page.locator(".squiggly-error, .squiggly-warning, .squiggly-info").first().waitFor({ state: "attached" });
  await session.screenshot("finding");

  await session.takeQuickFix(/EntryClass/, () => session.screenshot("quick-fix"));
  await finding.waitFor({ state: "detached" });

  const file = join(session.workspace, DIT);
  await session.save(DIT, new RegExp(`^EntryClass = \\[?${DIT_CLASS}\\]?$`, "m"));
  const before = readFileSync(join(options.fastvideo, DIT), "utf8");
  assert.ok(readFileSync(file, "utf8").startsWith(before.trimEnd()), "the fix changed more than the file's end");
  await retry(5, async () => {
    await page.keyboard.press("Control+End");
    await page.locator(".view-line", { hasText: "EntryClass" }).waitFor({ timeout: 3000 });
  });
  await session.screenshot("fixed");
}

async function parityPasses(session) {
  await session.quickOpen(test);
  await runParity(session);
  const status = session.statusItem();
  await status.filter({ hasText: /parity passed · max \d\.\de[+-]\d\d/ }).waitFor({ timeout: options.parityTimeoutMs });
  assert.equal(await status.locator(".codicon-pass").count(), 1, "passed has its icon");
  await session.errorCount(/^0$/); // a passed run leaves no red
  await session.filterPanel("DIT901");
  await session.screenshot("parity-passed");
}

async function parityFails(session) {
  const { page } = session;
  const port = join(session.workspace, PORT);
  const source = readFileSync(port, "utf8");
  assert.ok(source.includes(RIGHT), `${PORT} has no '${RIGHT}' to get wrong`);
  writeFileSync(port, source.replace(RIGHT, WRONG));

  await session.quickOpen(test);
  await runParity(session);
  const status = session.statusItem();
  await status.filter({ hasText: /parity failed · max \d\.\de[+-]\d\d/ }).waitFor({ timeout: options.parityTimeoutMs });
  assert.equal(await status.locator(".codicon-pass").count(), 0, "failed does not look passed");

  // The row names the line of the comparison that failed.
  const lines = readFileSync(join(session.workspace, TESTS, test), "utf8").split("\n");
  const line = lines.findIndex((text) => text.trimStart().startsWith("assert_close(")) + 1;
  await session.shownProblem("DIT901", `[Ln ${line},`);
  await session.errorCount(/^[1-9]/);

  await session.screenshot("parity-failed");

  await page.getByRole("button", { name: "Show in File" }).click();
  await page.locator(".squiggly-error").first().waitFor({ state: "attached" });
  await page.locator(".view-line", { hasText: "assert_close(" }).last().waitFor();
  await page.locator(".statusbar-item", { hasText: `Ln ${line},` }).waitFor();
  await session.screenshot("parity-failed-line");

  await session.runCommand("ditproof: Show Logs");
  await page.locator(".output-view .monaco-editor").waitFor();
  await session.filterPanel("would need");
  await page.locator(".output-view .view-line", { hasText: /would.need/ }).first().waitFor();
  await session.screenshot("parity-log");
}

/** Nothing is asked for: the names are measured because the config was opened. */
async function weightsProven(session) {
  await session.hideSidebar();
  await session.goToLine(mappingLine() + 9); // the lens above and the rules below are in view
  await weightsLens(session, /1095 of 1095 keys proven against diffusers:WanTransformer3DModel/, options.weightsTimeoutMs);
  await hint(session, "→ 80 keys").waitFor();
  await session.idle(options.weightsTimeoutMs); // the gates and the other ports of this mapping
  await session.screenshot("weights-proven");
}

/** A typo in a target is seen while it is typed, and gone when it is taken back; nothing is saved. */
async function weightsFollowTyping(session) {
  const { page } = session;
  const line = ruleLine();
  const before = readFileSync(join(session.workspace, CONFIG), "utf8").split("\n")[line - 1];
  const column = before.indexOf(TARGET) + TARGET.indexOf("to_q") + "to_q".length + 1;
  await session.typeAt(line, column, "q", TYPO);
  await hint(session, "→ 80 keys, all wrong").waitFor();
  await weightsLens(session, /80 keys have no place, 80 parameters stay empty/);
  await session.shownProblem("DIT609", `[Ln ${line},`);
  await page.locator(".squiggly-error").first().waitFor({ state: "attached" });
  await session.screenshot("weights-broken");

  await session.undo(TARGET);
  await hint(session, "→ 80 keys, all wrong").waitFor({ state: "detached" });
  await weightsLens(session, /1095 of 1095 keys proven/);
  await session.problem("DIT609").waitFor({ state: "detached" });
  assert.equal(readFileSync(join(session.workspace, CONFIG), "utf8").includes("to_qq"), false, "nothing was saved");
}

/** A rule that is not there any more: its keys have no place, and the fix writes it again. */
async function weightsQuickFix(session) {
  const { page } = session;
  const rule = page.locator(".view-line", { hasText: TARGET }).first();
  await session.goToLine(ruleLine());
  await retry(5, async () => {
    await page.keyboard.press("Control+1"); // the key deletes lines of the editor only
    if (await rule.isVisible()) await page.keyboard.press("Control+Shift+K");
    await rule.waitFor({ state: "detached", timeout: 3000 });
  });
  await weightsLens(session, /80 keys have no place, 80 parameters stay empty/);

  // It stands at the line of the model that builds what stays empty.
  const finding = await session.shownProblem("DIT609", "no rule takes 80 official names");
  await retry(5, async () => {
    await finding.dblclick();
    await page.locator(".tab.active", { hasText: /models/ }).waitFor({ timeout: 3000 });
  });
  await page.locator(".view-line", { hasText: "self.blocks = " }).first().waitFor();
  await page.locator(".squiggly-error").first().waitFor({ state: "attached" });
  await session.takeQuickFix(/Write the missing mapping rule/, () => session.screenshot("weights-quick-fix"));
  await session.problem("DIT609").waitFor({ state: "detached" });

  await page.locator(".tab", { hasText: /configs/ }).click();
  await weightsLens(session, /1095 of 1095 keys proven/);
  await hint(session, "→ 80 keys").waitFor();
  await session.screenshot("weights-rule-written");
  assert.ok(readFileSync(join(session.workspace, CONFIG), "utf8").includes(TARGET), "nothing was saved");
}

async function weightsHover(session) {
  const rule = session.page.locator(".view-line", { hasText: "to_q" }).filter({ hasText: "attn1" }).first();
  await session.hover(rule, /blocks\.\{0\.\.39\}\.attn1\.to_q\.weight/);
  await session.screenshot("weights-hover");
  await session.page.keyboard.press("Escape");
}

async function weightsReport(session) {
  const { page } = session;
  await session.runCommand("ditproof: Prove Weights");
  const report = page.locator(".tab.active", { hasText: /weights: proven/ });
  await report.waitFor({ timeout: options.weightsTimeoutMs });
  await page.locator(".view-line", { hasText: "verdict" }).first().waitFor();
  await session.screenshot("weights-report");
}

/** A wrong constant is saved, and nothing else is asked for. */
async function traceUnderlines(session) {
  const { page } = session;
  await session.hideSidebar();
  await session.goToLine(lineWith(`class ${PORT_CLASS}`, PORT));
  await lens(session, /not traced yet: trace it/);
  const line = lineWith(NORM, PORT);
  const column = readFileSync(join(session.workspace, PORT), "utf8").split("\n")[line - 1].indexOf("eps=eps") + 5;
  await session.typeAt(line, column, "10 * ", SEEDED);
  await session.save(PORT, /RMSNorm\(dim, eps=10 \* eps\)/);
  await until(options.traceTimeoutMs, () => session.shownProblem("DIT903", `[Ln ${line},`));
  await page.locator(".squiggly-error").first().waitFor({ state: "attached" });
  await session.idle(options.weightsTimeoutMs);
  await session.screenshot("trace-differs");
}

async function traceHover(session) {
  const line = session.page.locator(".view-line", { hasText: "eps=10" }).first();
  await session.hover(line, /rounding alone makes/);
  await session.screenshot("trace-hover");
  await session.page.keyboard.press("Escape");
}

/** From the lens to the report, from a point of its plot to the line; in both themes. */
async function traceReport(session) {
  const { page } = session;
  await session.goToLine(lineWith(`class ${PORT_CLASS}`, PORT));
  await lens(session, /differs at blocks\.0\./);
  await session.screenshot("trace-lens");
  const tab = page.locator(".tab", { hasText: `${PORT_CLASS} trace: differs` });
  await retry(5, async () => {
    if (!(await tab.isVisible())) await page.locator(".codelens-decoration a", { hasText: "differs at" }).first().click();
    await tab.waitFor({ timeout: 20_000 });
  });
  await session.hidePanel();
  const report = page.frameLocator("iframe.webview.ready").frameLocator("#active-frame");
  await report.locator("h1", { hasText: "differs" }).waitFor();
  await report.locator("#drift .found").first().waitFor();
  await session.screenshot("trace-report");

  // By keyboard: to the first mark that differs, and from there to its line.
  const mark = Number(await report.locator("#drift .found circle").first().getAttribute("cx"));
  const [left, step] = await report.locator("#drift").evaluate((plot) => [plot.dataset.left, plot.dataset.step].map(Number));
  await report.locator("#drift").focus();
  await page.keyboard.press("Home");
  for (let at = Math.round((mark - left) / step - 0.5); at > 0; at--) await page.keyboard.press("ArrowRight");
  await report.locator("#told", { hasText: "norm_q" }).waitFor();
  await page.keyboard.press("Enter");
  await page.locator(".statusbar-item", { hasText: `Ln ${lineWith(NORM, PORT)},` }).waitFor();

  await session.runCommand("Preferences: Toggle between Light/Dark Themes");
  await page.locator(".monaco-workbench.vs").waitFor();
  await session.screenshot("trace-report-light");
  await session.runCommand("Preferences: Toggle between Light/Dark Themes");
}

/** The report that is open follows, and so does everything else. */
async function traceAgrees(session) {
  const { page } = session;
  const tab = page.locator(`.tab[data-resource-name="${basename(PORT)}"]`).first();
  await tab.click();
  await session.goToLine(lineWith(NORM, PORT));
  await session.undo(NORM);
  await session.save(PORT, /RMSNorm\(dim, eps=eps\)\n\s+self.norm_k/);
  await page.locator(".tab", { hasText: `${PORT_CLASS} trace: agrees` }).waitFor({ timeout: options.traceTimeoutMs });
  await session.goToLine(lineWith(`class ${PORT_CLASS}`, PORT));
  await lens(session, /agrees with diffusers:WanTransformer3DModel in fp32 \(\d+ taps, (all exact|max error \S+)\)/);
  await session.errorCount(/^0$/);
  await session.screenshot("trace-agrees");
}

/** Where nobody has written down the inputs: the fix begins with them. */
async function traceRecipe(session) {
  const { page } = session;
  await session.runCommand("View: Close All Editors");
  await session.quickOpen(basename(LACKING));
  await session.goToLine(lineWith(`class ${LACKING_CLASS}`, LACKING));
  await lens(session, /no recipe for a trace: write one/);
  await session.putCursor(lineWith(`class ${LACKING_CLASS}`, LACKING), "class K".length + 1);
  await session.takeQuickFix(new RegExp(`Write a recipe for ${LACKING_CLASS}`), () => session.screenshot("trace-recipe-fix"));
  await page.locator(`.tab.active[data-resource-name="${LACKING_CLASS}.py"]`).waitFor();
  await page.locator(".view-line", { hasText: "def inputs(case)" }).first().waitFor();
  await session.screenshot("trace-recipe");
}

/** A port, one parity test with small weights, and nothing else that a save would run. */
function prepareSaves(workspace) {
  cpSync(options.fastvideo, workspace, { recursive: true });
  const folder = join(workspace, TESTS);
  mkdirSync(folder, { recursive: true });
  const fixtures = dirname(options.parityTest);
  const writing = ["write_wan_weights.py", test]; // the small configuration stands in the test
  for (const name of ["conftest.py", "cpu_fastvideo.py", WEIGHTS_TEST, ...writing]) {
    copyFileSync(join(fixtures, name), join(folder, name));
  }
  const environment = { ...process.env, PYTHONPATH: workspace, PYTHONDONTWRITEBYTECODE: "1" };
  execFileSync(options.projectPython, [join(folder, writing[0]), join(folder, WEIGHTS)], { env: environment, stdio: "pipe" });
  for (const name of writing) rmSync(join(folder, name));
}

/** The runs of our test that were kept, the newest first; FastVideo's own tests of the port need CUDA. */
function keptRuns(session) {
  const told = execFileSync(options.server, ["evidence", "--history", "--format", "json", "--root", session.workspace]);
  return JSON.parse(told).filter((run) => run.subject.endsWith(WEIGHTS_TEST));
}

async function saveTyped(session, text, expected, saved, at = 0) {
  const line = lineWith(RIGHT, PORT);
  const before = readFileSync(join(session.workspace, PORT), "utf8").split("\n")[line - 1];
  await session.typeAt(line, at === 0 ? before.length + 1 : before.indexOf(RIGHT) + at, text, expected);
  await session.save(PORT, saved);
}

const verdictOf = (session, text) =>
  session.statusItem().filter({ hasText: text }).waitFor({ timeout: options.parityTimeoutMs });

/** Nothing is asked for: the test runs because the port was saved. */
async function savesPass(session) {
  await session.hideSidebar();
  await session.goToLine(lineWith(`class ${PORT_CLASS}`, PORT));
  await lens(session, /Run parity: /);
  await saveTyped(session, "  # seen", "# seen", /# seen$/m);
  await verdictOf(session, /parity passed · max \d\.\de[+-]\d\d/);
  await session.idle(options.parityTimeoutMs);
  assert.deepEqual(keptRuns(session).map((run) => run.status), ["passed"]);
  assert.equal(keptRuns(session)[0].weights.length, 1, "the weights are part of the evidence");
  await session.screenshot("saves-passed");
}

/** What was run is handed over as a document; the code action of the class leads there too. */
async function savesHandedOver(session) {
  const { page } = session;
  await session.runCommand("ditproof: Hand Over");
  const shown = page.locator(".tab.active", { hasText: `${PORT_CLASS} handoff.md` });
  await shown.waitFor();
  await page.locator(".view-line", { hasText: /parity_test:.*\.py/ }).first().waitFor();
  await page.locator(".view-line", { hasText: /production_loader_strictness:.strict/ }).first().waitFor();
  await session.screenshot("saves-handed-over");
  await shown.locator(".codicon-close").click();
  await shown.waitFor({ state: "detached" });
}

async function savesFail(session) {
  await saveTyped(session, ".01", WRONG, /\(1\.01 \+ scale_msa\)/, "* (1".length + 1);
  await verdictOf(session, /parity failed · max \d\.\de[+-]\d\d/);
  const lines = readFileSync(join(session.workspace, TESTS, WEIGHTS_TEST), "utf8").split("\n");
  const line = lines.findIndex((text) => text.trimStart().startsWith("assert_close(")) + 1;
  await session.shownProblem("DIT901", `[Ln ${line},`);
  await session.shownProblem("DIT901", "The parity test of this port is red");
  assert.deepEqual(keptRuns(session).map((run) => run.status), ["failed", "passed"]);
  assert.equal(await session.notifications(), "", "a save brings no message");
  await session.screenshot("saves-failed");
}

/** Taking it back asks for no run: the same contents were run before. */
async function savesUndone(session) {
  await session.undo(RIGHT);
  await session.save(PORT, /\* \(1 \+ scale_msa\) .*# seen$/m);
  await verdictOf(session, /parity passed · max \d\.\de[+-]\d\d/);
  await session.problem("DIT901").waitFor({ state: "detached" });
  assert.deepEqual(keptRuns(session).map((run) => run.status), ["failed", "passed"]);
  await session.screenshot("saves-undone");
}

async function savesWithoutWeights(session) {
  rmSync(join(session.workspace, TESTS, WEIGHTS), { recursive: true });
  await saveTyped(session, " again", "# seen again", /# seen again$/m);
  await verdictOf(session, /skipped: no evidence/);
  assert.equal(await session.statusItem().locator(".codicon-pass").count(), 0, "a skip does not look passed");
  await session.shownProblem("DIT902", "no-weights");
  assert.equal(keptRuns(session)[0].status, "skipped");
  await session.screenshot("saves-skipped");
}

async function until(timeoutMs, action) {
  const end = Date.now() + timeoutMs;
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (Date.now() > end) throw error;
    }
  }
}

const lineWith = (text, path = CONFIG) =>
  readFileSync(join(options.fastvideo, path), "utf8").split("\n").findIndex((line) => line.includes(text)) + 1;
const ruleLine = () => lineWith(TARGET);
const mappingLine = () => lineWith("param_names_mapping:");

async function lens(session, text, timeout = 30_000) {
  await session.page.locator(".codelens-decoration", { hasText: text }).first().waitFor({ timeout });
}

const weightsLens = lens;

/** A hint is part of its line; its blanks are no-break spaces. */
function hint(session, text) {
  const spaced = new RegExp(`${text.replaceAll(" ", "\\s")}\\s*$`);
  return session.page.locator(".view-line", { hasText: "to_q" }).filter({ hasText: spaced }).first();
}

/** From the palette, with the cursor in the test. */
async function runParity(session) {
  const lines = readFileSync(join(session.workspace, TESTS, test), "utf8").split("\n");
  await session.goToLine(lines.findIndex((line) => line.startsWith("def test_")) + 1);
  await session.runCommand("ditproof: Run Parity Test");
}

/** A folder that nobody trusts brings settings of its own, which would run its program. */
function prepareTrap(workspace) {
  cpSync(join(options.fastvideo, "fastvideo"), join(workspace, "fastvideo"), { recursive: true });
  const program = join(workspace, "program");
  writeFileSync(program, `#!/bin/sh\ntouch ${workspace}/was-run\n`, { mode: 0o755 });
  mkdirSync(join(workspace, ".vscode"));
  writeFileSync(
    join(workspace, ".vscode", "settings.json"),
    JSON.stringify({ "ditproof.path": program, "ditproof.interpreter": program, "ditproof.projectPython": program }),
  );
}

async function untrusted(session) {
  await session.shownProblem("DIT101", DIT_CLASS);
  const offered = await session.offeredCommands("ditproof: ");
  assert.ok(offered.includes("ditproof: Restart Server"), `the palette offers ${offered}`);
  for (const runs of ["ditproof: Run Parity Test", "ditproof: Prove Weights", "ditproof: Trace"]) {
    assert.ok(!offered.includes(runs), `'${runs}' is offered in an untrusted workspace`);
  }
  assert.ok(!existsSync(join(session.workspace, "was-run")), "the workspace's program was run");
  await session.screenshot("untrusted");
}

/** The lens says why nothing is proven; a click on it leads to VS Code's trust and runs nothing. */
async function untrustedWeights(session) {
  const { page } = session;
  await session.goToLine(lineWith(`class ${DIT_CLASS}`, DIT));
  await weightsLens(session, /weights not proven yet: the workspace is not trusted/);
  const told = page.locator(".notification-list-item-message", { hasText: "has to be trusted first" });
  await retry(5, async () => {
    if (!(await told.isVisible())) await page.locator(".codelens-decoration a", { hasText: "not trusted" }).click();
    await told.waitFor({ timeout: 3000 });
  });
  await page.getByRole("button", { name: "Manage Trust" }).waitFor();
  assert.ok(!existsSync(join(session.workspace, "was-run")), "the workspace's program was run");
  await session.screenshot("untrusted-weights");
}

/** One VS Code with a file open, and the given parts one after the other. */
async function inSession({ file = DIT, settings = {}, ...how }, all) {
  const parts = Object.fromEntries(Object.entries(all).filter(([name]) => name.startsWith(options.only)));
  if (Object.keys(parts).length === 0) return;
  let session;
  try {
    session = await Session.start({
      codeServer: options.codeServer,
      vsix: options.vsix,
      settings: { "ditproof.path": options.server, "ditproof.projectPython": options.projectPython, ...settings },
      out: options.out,
      ...how,
    });
    await session.open(file);
    await session.serverReady();
    await session.showProblems(); // for all parts
    for (const [name, action] of Object.entries(parts)) await part(name, session, () => action(session));
  } catch (error) {
    results.start = { ok: false, error: String(error?.stack ?? error).slice(0, 2000) };
  } finally {
    await session?.close();
  }
}

await inSession(
  // What is measured in the background would take the processor from the parity runs.
  { prepare, settings: { "ditproof.weights.onSave": false, "ditproof.trace.onSave": false } },
  { "finding-and-fix": findingAndFix, "parity-passes": parityPasses, "parity-fails": parityFails },
);
await inSession(
  { prepare, file: CONFIG, height: 1240 }, // the lens of the mapping and the rule in question at once
  {
    "weights-proven": weightsProven,
    "weights-follow-typing": weightsFollowTyping,
    "weights-hover": weightsHover,
    "weights-quick-fix": weightsQuickFix,
    "weights-report": weightsReport,
  },
);
await inSession(
  { prepare, file: PORT, height: 1000 },
  {
    "trace-underlines": traceUnderlines,
    "trace-hover": traceHover,
    "trace-report": traceReport,
    "trace-agrees": traceAgrees,
    "trace-recipe": traceRecipe,
  },
);
await inSession(
  {
    prepare: prepareSaves,
    file: PORT,
    settings: { "ditproof.weights.onSave": false, "ditproof.trace.onSave": false, "ditproof.parity.onSave": true },
  },
  {
    "saves-pass": savesPass,
    "saves-handed-over": savesHandedOver,
    "saves-fail": savesFail,
    "saves-undone": savesUndone,
    "saves-without-weights": savesWithoutWeights,
  },
);
await inSession({ prepare: prepareTrap, trusted: false }, { untrusted, "untrusted-weights": untrustedWeights });
process.stdout.write(`${JSON.stringify(results)}\n`);
