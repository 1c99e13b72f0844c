// A private VS Code (code-server) with our extension, in a private Chromium.
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
  copyFileSync,
  createWriteStream,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { chromium } from "playwright-core";

const USER_SETTINGS = {
  "security.workspace.trust.startupPrompt": "never",
  "workbench.startupEditor": "none",
  "workbench.tips.enabled": false,
  "workbench.secondarySideBar.defaultVisibility": "hidden",
  "workbench.colorTheme": "Default Dark Modern",
  "telemetry.telemetryLevel": "off",
  "extensions.autoUpdate": false,
  "extensions.autoCheckUpdates": false,
  "extensions.ignoreRecommendations": true,
  "update.mode": "none",
  "chat.disableAIFeatures": true,
  "chat.commandCenter.enabled": false,
  "files.autoSave": "off",
  "editor.minimap.enabled": false,
  "editor.stickyScroll.enabled": false,
  "editor.fontFamily": "DejaVu Sans Mono",
  "git.enabled": false,
  "remote.autoForwardPorts": false,
};

const BROWSER_FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export class Session {
  /** Starts everything; `settings` are those of the extension, `prepare` fills the workspace. The caller ends it
   *  with `close`. */
  static async start(options) {
    const session = new Session();
    try {
      await session.#start(options);
    } catch (error) {
      await session.close();
      throw error;
    }
    return session;
  }

  async #start({ codeServer, vsix, settings, out, prepare, trusted = true, height = 820 }) {
    this.out = out;
    this.work = mkdtempSync(join(tmpdir(), "ditproof-vscode-"));
    const folder = (name) => {
      const path = join(this.work, name);
      mkdirSync(path, { recursive: true });
      return path;
    };
    const data = folder("data");
    writeFileSync(join(folder("data/User"), "settings.json"), JSON.stringify(USER_SETTINGS));
    // The server of a remote VS Code reads settings of the scope machine-overridable from here; from
    // User/settings.json they would be honoured only when the extension happens to start late.
    writeFileSync(join(folder("data/Machine"), "settings.json"), JSON.stringify(settings));
    writeFileSync(join(this.work, "config.yaml"), "{}\n");
    this.workspace = folder("fastvideo-port");
    prepare(this.workspace);

    // HOME is private because code-server keeps a session socket below it.
    const env = {
      PATH: process.env.PATH,
      LANG: "C.UTF-8",
      HOME: folder("home"),
      TMPDIR: folder("tmp"),
      EXTENSIONS_GALLERY: "{}",
    };
    const common = ["--config", join(this.work, "config.yaml"), "--user-data-dir", data];
    common.push("--extensions-dir", folder("extensions"));
    const install = spawnSync(process.execPath, [codeServer, ...common, "--install-extension", vsix], {
      env,
      encoding: "utf8",
    });
    assert.equal(install.status, 0, `the extension was not installed: ${install.stdout}${install.stderr}`);

    this.port = await freePort();
    const quiet = ["--disable-telemetry", "--disable-update-check", "--disable-getting-started-override"];
    if (trusted) quiet.push("--disable-workspace-trust");
    const listen = ["--auth", "none", "--bind-addr", `127.0.0.1:${this.port}`];
    const log = createWriteStream(join(out, "code-server.log"));
    this.server = spawn(process.execPath, [codeServer, ...common, ...listen, ...quiet], {
      env,
      stdio: ["ignore", "pipe", "pipe"],
      detached: true, // a process group of its own, to be ended whole
    });
    this.server.stdout.pipe(log);
    this.server.stderr.pipe(log);
    await waitFor("code-server to answer", 30_000, () =>
      fetch(`http://127.0.0.1:${this.port}/healthz`).then((answer) => answer.ok, () => false),
    );

    this.browser = await chromium.launchPersistentContext(folder("profile"), {
      executablePath: process.env.DITPROOF_CHROMIUM ?? "/usr/bin/chromium",
      headless: true,
      viewport: { width: 1360, height },
      args: BROWSER_FLAGS,
    });
    this.page = this.browser.pages()[0] ?? (await this.browser.newPage());
    this.page.setDefaultTimeout(60_000);
  }

  /** Opens the workspace with one file in the editor. */
  async open(path) {
    const resource = `vscode-remote://127.0.0.1:${this.port}${join(this.workspace, path)}`;
    const payload = encodeURIComponent(JSON.stringify([["openFile", resource]]));
    const folder = encodeURIComponent(this.workspace);
    await this.page.goto(`http://127.0.0.1:${this.port}/?folder=${folder}&payload=${payload}`);
    await this.page.locator(`.tab[data-resource-name="${path.split("/").at(-1)}"]`).waitFor();
  }

  /** Waits for the extension's server, and fails at once where it did not start. */
  async serverReady() {
    const status = this.statusItem();
    await status.filter({ hasNotText: /^ *$/ }).waitFor();
    await waitFor("the ditproof server", 30_000, async () => {
      const text = await status.innerText();
      assert.ok(!text.includes("no server"), `the server did not start: ${await this.notifications()}`);
      return (await status.locator(".codicon-beaker").count()) > 0 || text.includes("weights");
    });
  }

  async notifications() {
    return (await this.page.locator(".notification-list-item-message").allInnerTexts()).join(" | ");
  }

  async runCommand(title) {
    const input = this.page.locator(".quick-input-widget input[type=text]");
    // F1 is lost while the workbench is busy with its layout.
    await retry(5, async () => {
      await this.page.keyboard.press("F1");
      await input.waitFor({ timeout: 3000 });
    });
    await this.#fill(input, `>${title}`, title);
    await this.#accept(title);
  }

  /** Fills the open quick input until its list shows a text: a list that is being put together drops a filter,
   *  and a command is enabled only a moment after its server is ready. */
  async #fill(input, typed, shown) {
    const row = this.page.locator(".quick-input-list .monaco-list-row", { hasText: shown }).first();
    await retry(8, async () => {
      await input.fill("");
      await input.fill(typed);
      await row.waitFor({ timeout: 5000 });
    });
  }

  /** Takes the entry of the open quick input that shows a text. */
  async #accept(text) {
    const input = this.page.locator(".quick-input-widget input[type=text]");
    await this.page.locator(".quick-input-list .monaco-list-row", { hasText: text }).first().waitFor();
    // Enter is lost while the list is still being put together.
    await retry(5, async () => {
      if (await input.isVisible()) await this.page.keyboard.press("Enter");
      await input.waitFor({ state: "hidden", timeout: 3000 });
    });
  }

  /** The titles that the palette offers for a text. */
  async offeredCommands(text) {
    const input = this.page.locator(".quick-input-widget input[type=text]");
    await retry(5, async () => {
      await this.page.keyboard.press("F1");
      await input.waitFor({ timeout: 3000 });
    });
    await this.#fill(input, `>${text}`, text);
    const rows = this.page.locator(".quick-input-list .monaco-list-row", { hasText: text });
    const titles = await rows.allInnerTexts();
    await this.page.keyboard.press("Escape");
    return titles.map((title) => title.split("\n")[0]);
  }

  /** Opens a file by name in the workbench that is already there. */
  async quickOpen(name) {
    const input = this.page.locator(".quick-input-widget input[type=text]");
    await retry(5, async () => {
      await this.page.keyboard.press("Control+P");
      await input.waitFor({ timeout: 3000 });
    });
    await this.#fill(input, name, name);
    await this.#accept(name);
    await this.page.locator(`.tab.active[data-resource-name="${name}"]`).waitFor();
  }

  async goToLine(line) {
    const input = this.page.locator(".quick-input-widget input[type=text]");
    await retry(5, async () => {
      await this.page.keyboard.press("Control+G");
      await input.waitFor({ timeout: 3000 });
    });
    await this.#fill(input, `:${line}`, `line ${line}`);
    await this.#accept(`line ${line}`);
    await this.page.locator(".statusbar-item", { hasText: `Ln ${line},` }).waitFor();
  }

  async hideSidebar() {
    const sidebar = this.page.locator(".part.sidebar");
    await retry(5, async () => {
      if (await sidebar.isVisible()) await this.page.keyboard.press("Control+B");
      await sidebar.waitFor({ state: "hidden", timeout: 3000 });
    });
  }

  async hidePanel() {
    const panel = this.page.locator(".part.panel");
    await retry(5, async () => {
      if (await panel.isVisible()) await this.page.keyboard.press("Control+J");
      await panel.waitFor({ state: "hidden", timeout: 3000 });
    });
  }

  /** Puts the cursor at a place. */
  async putCursor(line, column) {
    const input = this.page.locator(".quick-input-widget input[type=text]");
    await retry(5, async () => {
      await this.page.keyboard.press("Control+G");
      await input.waitFor({ timeout: 3000 });
    });
    await this.#fill(input, `:${line}:${column}`, `line ${line}`);
    await this.#accept(`line ${line}`);
    await this.page.locator(".statusbar-item", { hasText: `Ln ${line}, Col ${column}` }).waitFor();
  }

  /** Types a text at a place, and sees to it that the line then holds what it should. */
  async typeAt(line, column, text, expected) {
    const { page } = this;
    const shown = page.locator(".view-line", { hasText: expected }).first();
    await this.putCursor(line, column);
    // A key is lost while the editor takes the focus back; one that arrived late must not be typed twice.
    await retry(5, async () => {
      if (!(await shown.isVisible())) await page.keyboard.type(text);
      await shown.waitFor({ timeout: 3000 });
    });
  }

  /** Takes back what was typed last, until the editor shows a text. */
  async undo(expected) {
    const shown = this.page.locator(".view-line", { hasText: expected }).first();
    await retry(5, async () => {
      await this.page.keyboard.press("Control+1"); // a filter of the panel has an undo of its own
      if (!(await shown.isVisible())) await this.page.keyboard.press("Control+Z");
      await shown.waitFor({ timeout: 3000 });
    });
  }

  /** Points at something until the editor tells of it. */
  async hover(target, text) {
    const told = this.page.locator(".monaco-hover:visible", { hasText: text }).first();
    await retry(8, async () => {
      await this.page.mouse.move(5, 5);
      await target.hover({ position: { x: 150, y: 8 } });
      await told.waitFor({ timeout: 5000 });
    });
  }

  /** Opens the quick fixes at the cursor and takes the one whose title matches. By keyboard: a transparent
   *  layer over the menu swallows clicks. */
  async takeQuickFix(title, beforeChoosing) {
    const menu = this.page.locator(".action-widget");
    const entry = menu.locator(".monaco-list-row", { hasText: title });
    // Pressed before the code actions are there, the key does nothing.
    await retry(8, async () => {
      await this.page.keyboard.press("Escape");
      await this.page.keyboard.press("Control+1");
      await this.page.keyboard.press("Control+.");
      await menu.getByText(title).first().waitFor({ timeout: 3000 });
    });
    await beforeChoosing?.();
    const focused = async () => (await menu.locator(".monaco-list-row.focused").allTextContents()).join("");
    await retry(12, async () => {
      const before = await focused();
      if (title.test(before)) return;
      await this.page.keyboard.press("ArrowDown");
      await waitFor("the quick-fix menu to move", 2000, async () => (await focused()) !== before);
      assert.match(await focused(), title);
    });
    // Enter is lost while the menu is being drawn anew.
    await retry(5, async () => {
      if (await entry.first().isVisible()) await this.page.keyboard.press("Enter");
      await menu.waitFor({ state: "hidden", timeout: 3000 });
    });
  }

  /** Narrows Problems or the log to a text: what a list has scrolled away does not exist in the page. */
  async filterPanel(text) {
    await this.page.locator(".panel .viewpane-filter input:visible").first().fill(text);
  }

  /** Waits for a problem that the panel shows under a filter, without others. What arrives while the filter is
   *  being applied stays hidden, or is shown against it, until it is applied again. */
  async shownProblem(filter, ...texts) {
    const found = this.problem(filter, ...texts);
    const rows = this.page.locator(".markers-panel .monaco-list-row");
    const others = rows.filter({ hasText: /DIT\d/ }).filter({ hasNotText: filter }).first();
    await retry(30, async () => {
      await this.filterPanel("");
      await this.filterPanel(filter);
      await found.waitFor({ timeout: 2000 });
      await others.waitFor({ state: "detached", timeout: 2000 });
    });
    return found;
  }

  /** Waits for the number of errors of the status bar: the panel's list is at times not drawn after a filter. */
  async errorCount(expected) {
    const item = this.page.locator(".statusbar-item[id='status.problems']");
    const count = async () => (await item.innerText()).trim().split(/\s+/)[0];
    await waitFor(`the number of errors to be ${expected}`, 30_000, async () => expected.test(await count()));
  }

  /** Brings the panel of problems up; its key would hide it again. */
  async showProblems() {
    const panel = this.page.locator(".markers-panel");
    await retry(5, async () => {
      if (!(await panel.isVisible())) await this.page.keyboard.press("Control+Shift+M");
      await panel.waitFor({ timeout: 3000 });
    });
  }

  /** Saves the file in the editor, and sees to it that the disk then holds what it should. */
  async save(path, expected) {
    const file = join(this.workspace, path);
    await retry(5, async () => {
      await this.page.keyboard.press("Control+1");
      await this.page.keyboard.press("Control+S");
      await waitFor(`${path} to be saved with ${expected}`, 5000, () => expected.test(readFileSync(file, "utf8")));
    });
  }

  /** Waits until nothing runs; what was found before may still stand in the status bar. */
  async idle(timeout) {
    await this.statusItem().locator(".codicon:not(.codicon-modifier-spin)").waitFor({ timeout });
  }

  problem(...texts) {
    const rows = this.page.locator(".markers-panel .monaco-list-row");
    return texts.reduce((found, text) => found.filter({ hasText: text }), rows).first();
  }

  statusItem() {
    return this.page.locator(".statusbar-item[id*='ditproof']");
  }

  async screenshot(name) {
    // What fades in is shown whole.
    await this.page.screenshot({ path: join(this.out, `${name}.png`), animations: "disabled" });
  }

  /** The extension's own log, for whoever reads a failure. */
  #keepLogs() {
    const logs = join(this.work, "data/logs");
    try {
      for (const name of readdirSync(logs, { recursive: true })) {
        if (basename(name).startsWith("ditproof") && name.endsWith(".log")) {
          copyFileSync(join(logs, name), join(this.out, basename(name)));
        }
      }
    } catch (error) {
      if (error.code !== "ENOENT") throw error; // code-server never came far enough to log
    }
  }

  async close() {
    await this.browser?.close().catch(() => {});
    if (this.server !== undefined) {
      const gone = new Promise((resolve) => this.server.once("exit", resolve));
      const kill = (signal) => {
        try {
          process.kill(-this.server.pid, signal);
        } catch {
          // The whole group has ended already.
        }
      };
      kill("SIGTERM");
      await Promise.race([gone, pause(5000)]);
      kill("SIGKILL");
    }
    if (this.work !== undefined) this.#keepLogs();
    if (this.work !== undefined) rmSync(this.work, { recursive: true, force: true, maxRetries: 5 });
  }
}

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms).unref());

export async function waitFor(what, timeoutMs, holds) {
  const end = Date.now() + timeoutMs;
  while (!(await holds())) {
    if (Date.now() > end) throw new Error(`waited ${timeoutMs / 1000} s in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

export async function retry(times, action) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await action();
    } catch (error) {
      if (attempt === times) throw error;
    }
  }
}

async function freePort() {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}
