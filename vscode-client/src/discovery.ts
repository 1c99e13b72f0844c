/**
 * Which command runs the server. Pure but for `Surroundings`, so that every branch is tested without a file.
 *
 * Order: `ditproof.path`, `ditproof.interpreter`, then `ditproof` on PATH. What somebody wrote into the settings
 * is never passed over in silence: if it does not exist, that is the answer.
 */
import { delimiter, isAbsolute, join } from "node:path";

export interface ServerSettings {
  readonly path: readonly string[];
  readonly interpreter: string;
}

export interface Surroundings {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly workspaceFolder: string | undefined;
  readonly windows: boolean;
  isExecutable(path: string): boolean;
}

export interface ServerCommand {
  readonly command: string;
  readonly args: readonly string[];
}

export interface Missing {
  readonly problem: string;
}

export function findServer(settings: ServerSettings, around: Surroundings): ServerCommand | Missing {
  if (settings.path.length > 0) {
    const paths = settings.path.map((path) => substitute(path, around));
    const command = paths.map((path) => locate(path, around)).find((path) => path !== undefined);
    if (command === undefined) return { problem: `ditproof.path names no executable: ${paths.join(", ")}` };
    return { command, args: ["serve"] };
  }
  if (settings.interpreter !== "") {
    const python = substitute(settings.interpreter, around);
    const command = locate(python, around);
    if (command === undefined) return { problem: `ditproof.interpreter is not an executable: ${python}` };
    return { command, args: ["-m", "lsp_server", "serve"] };
  }
  const command = locate("ditproof", around);
  if (command === undefined) {
    return { problem: "'ditproof' is not on PATH. Install it ('pipx install ditproof') or set ditproof.interpreter." };
  }
  return { command, args: ["serve"] };
}

/** `${workspaceFolder}`, `${userHome}`, `${env:NAME}` and a leading `~`; anything else stays as it was written. */
export function substitute(text: string, around: Surroundings): string {
  return text
    .replace(/^~(?=$|[\\/])/, () => around.home)
    .replace(/\$\{(workspaceFolder|userHome|env:(\w+))\}/g, (whole, name: string, variable?: string) => {
      if (name === "workspaceFolder") return around.workspaceFolder ?? whole;
      if (name === "userHome") return around.home;
      return around.env[variable ?? ""] ?? whole;
    });
}

/** A path as it is, a bare name through PATH. */
function locate(program: string, around: Surroundings): string | undefined {
  if (/[\\/]/.test(program)) return around.isExecutable(program) ? program : undefined;
  const names = around.windows ? [`${program}.exe`, program] : [program];
  return (around.env.PATH ?? around.env.Path ?? "")
    .split(delimiter)
    // A relative entry would let the opened folder choose the program.
    .filter((folder) => isAbsolute(folder))
    .flatMap((folder) => names.map((name) => join(folder, name)))
    .find((path) => around.isExecutable(path));
}
