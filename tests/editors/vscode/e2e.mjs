// The porter's way through the extension, in a real VS Code. Called by test_vscode.py with a JSON of paths;
// prints one JSON line: for each part {ok, seconds, error}.
import assert from "node:assert/strict";
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { Session, waitFor } from "./session.mjs";

const options = JSON.parse(process.argv[2]);
const DIT = "fastvideo/models/dits/hunyuangamecraft.py"; // its module names no EntryClass
const DIT_CLASS = "HunyuanGameCraftTransformer3DModel";
const PORT = "fastvideo/models/dits/wanvideo.py";
const TESTS = "tests/local_tests/transformers";
const RIGHT = "* (1 + scale_msa)";
const WRONG = "* (1.01 + scale_msa)";

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
  await finding.dblclick(); // the cursor goes to the finding
  await page.locator(".view-line", { hasText: `class ${DIT_CLASS}` }).waitFor();
  // Only now: the editor draws no squiggle outside of what it shows.
  await page.locator(".squiggly-error, .squiggly-warning, .squiggly-info").first().waitFor({ state: "attached" });
  await session.screenshot("finding");

  await session.takeQuickFix(/EntryClass/, () => session.screenshot("quick-fix"));
  await finding.waitFor({ state: "detached" });

  await page.keyboard.press("Control+1");
  await page.keyboard.press("Control+S");
  const file = join(session.workspace, DIT);
  const entry = new RegExp(`^EntryClass = \\[?${DIT_CLASS}\\]?$`, "m");
  await waitFor(`${DIT} to be saved with an EntryClass`, 10_000, () => entry.test(readFileSync(file, "utf8")));
  const before = readFileSync(join(options.fastvideo, DIT), "utf8");
  assert.ok(readFileSync(file, "utf8").startsWith(before.trimEnd()), "the fix changed more than the file's end");
  await page.keyboard.press("Control+End");
  await page.locator(".view-line", { hasText: "EntryClass" }).waitFor();
  await session.screenshot("fixed");
}

async function parityPasses(session) {
  await session.quickOpen(test);
  await runParity(session);
  const status = session.statusItem();
  await status.filter({ hasText: /parity passed · max \d\.\de[+-]\d\d/ }).waitFor({ timeout: options.parityTimeoutMs });
  assert.equal(await status.locator(".codicon-pass").count(), 1, "passed has its icon");
  await session.filterPanel("DIT901");
  assert.equal(await session.problem("DIT901").count(), 0, "a passed run leaves no red");
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
  assert.ok(!offered.includes("ditproof: Run Parity Test"), "a parity run is offered in an untrusted workspace");
  assert.ok(!existsSync(join(session.workspace, "was-run")), "the workspace's program was run");
  await session.screenshot("untrusted");
}

/** One VS Code, with the given parts one after the other. */
async function inSession(how, parts) {
  let session;
  try {
    session = await Session.start({
      codeServer: options.codeServer,
      vsix: options.vsix,
      settings: { "ditproof.path": options.server, "ditproof.projectPython": options.projectPython },
      out: options.out,
      ...how,
    });
    await session.open(DIT);
    await session.serverReady();
    await session.page.keyboard.press("Control+Shift+M"); // Problems stays open for all parts
    await session.page.locator(".markers-panel").waitFor();
    for (const [name, action] of Object.entries(parts)) await part(name, session, () => action(session));
  } catch (error) {
    results.start = { ok: false, error: String(error?.stack ?? error).slice(0, 2000) };
  } finally {
    await session?.close();
  }
}

await inSession(
  { prepare },
  { "finding-and-fix": findingAndFix, "parity-passes": parityPasses, "parity-fails": parityFails },
);
await inSession({ prepare: prepareTrap, trusted: false }, { untrusted });
process.stdout.write(`${JSON.stringify(results)}\n`);
