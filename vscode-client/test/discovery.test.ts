import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { findServer, substitute, type Surroundings } from "../src/discovery";

function machine(...programs: string[]): Surroundings {
  return {
    env: { PATH: ".:tools:/usr/bin:/opt/bin", VENV: "/venv" },
    home: "/home/me",
    workspaceFolder: "/ws",
    windows: false,
    isExecutable: (path) => programs.includes(path),
  };
}
const unset = { path: [], interpreter: "" };

describe("the server's command", () => {
  it("is the first entry of ditproof.path that exists", () => {
    const settings = { ...unset, path: ["/gone/ditproof", "${env:VENV}/bin/ditproof"] };
    const found = findServer(settings, machine("/venv/bin/ditproof", "/usr/bin/ditproof"));
    assert.deepEqual(found, { command: "/venv/bin/ditproof", args: ["serve"] });
  });

  it("is not looked for elsewhere when ditproof.path is wrong", () => {
    const found = findServer({ ...unset, path: ["/gone/ditproof"] }, machine("/usr/bin/ditproof"));
    assert.deepEqual(found, { problem: "ditproof.path names no executable: /gone/ditproof" });
  });

  it("is a module of ditproof.interpreter", () => {
    const found = findServer({ ...unset, interpreter: "~/venv/bin/python" }, machine("/home/me/venv/bin/python"));
    assert.deepEqual(found, { command: "/home/me/venv/bin/python", args: ["-m", "lsp_server", "serve"] });
  });

  it("takes an interpreter by its bare name", () => {
    const found = findServer({ ...unset, interpreter: "python3" }, machine("/usr/bin/python3", "/usr/bin/ditproof"));
    assert.deepEqual(found, { command: "/usr/bin/python3", args: ["-m", "lsp_server", "serve"] });
  });

  it("names an interpreter that does not exist", () => {
    assert.deepEqual(findServer({ ...unset, interpreter: "/gone/python" }, machine("/usr/bin/ditproof")), {
      problem: "ditproof.interpreter is not an executable: /gone/python",
    });
  });

  it("comes from PATH when nothing is set", () => {
    const found = findServer(unset, machine("/opt/bin/ditproof"));
    assert.deepEqual(found, { command: "/opt/bin/ditproof", args: ["serve"] });
  });

  it("never comes from a relative entry of PATH, which the opened folder would control", () => {
    const found = findServer(unset, machine("ditproof", "./ditproof", "tools/ditproof"));
    assert.ok("problem" in found);
    assert.match(found.problem, /pipx install ditproof/);
  });

  it("ends in .exe on Windows", () => {
    const windows = { ...machine("/opt/bin/ditproof.exe"), windows: true };
    assert.deepEqual(findServer(unset, windows), { command: "/opt/bin/ditproof.exe", args: ["serve"] });
  });
});

describe("variables in settings", () => {
  it("are replaced where they are known and left alone otherwise", () => {
    const around = machine();
    assert.equal(substitute("${workspaceFolder}/.venv/bin/python", around), "/ws/.venv/bin/python");
    assert.equal(substitute("${userHome}/x", around), "/home/me/x");
    assert.equal(substitute("${env:NOBODY}/x/${other}", around), "${env:NOBODY}/x/${other}");
    assert.equal(substitute("/a~/b", around), "/a~/b");
  });
});
