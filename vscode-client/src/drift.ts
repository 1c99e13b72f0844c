/**
 * The error of every compared place over the depth of a model, as an SVG.
 *
 * Pure, and readable without colour: each series has a mark of its own, the floor is hatched. An error of exactly
 * zero has a row of its own below the scale, what has no number one above it.
 */
import type { DriftRow } from "./protocol";

export interface Marked {
  /** Position in the rows. */
  readonly at: number;
  /** What stands beside the mark: the number of the finding. */
  readonly label: string;
}

const WIDTH = 760;
const HEIGHT = 330;
const LEFT = 58;
const RIGHT = 14;
const TOP = 46;
const BOTTOM = 34;
/** The row of exact zeros is this far below the scale, the row without numbers as far above. */
const EDGE = 26;
const LEAST = -9;
const LETTER = 7.2;

export function driftPlot(rows: readonly DriftRow[], marked: readonly Marked[]): string {
  if (rows.length === 0) return "";
  const scale = scaleOf(rows);
  const parts = [
    pattern(),
    ...groups(rows, scale),
    ...grid(scale),
    floor(rows, scale),
    ...series(rows, scale, (row) => row.free, "free"),
    ...series(rows, scale, (row) => row.error, "own"),
    ...marked.map((mark) => ring(rows, mark, scale)),
    `<line class="cursor" x1="0" x2="0" y1="${TOP}" y2="${HEIGHT - BOTTOM}" visibility="hidden"/>`,
  ];
  return (
    `<svg id="drift" viewBox="0 0 ${WIDTH} ${HEIGHT}" tabindex="0" role="application" ` +
    `aria-label="Drift over depth. The arrow keys go from place to place, Enter opens the line." ` +
    `data-left="${LEFT}" data-step="${fixed(scale.step)}">${parts.join("")}</svg>`
  );
}

interface Scale {
  readonly step: number;
  readonly most: number;
  x(at: number): number;
  y(error: number | null): number;
}

function scaleOf(rows: readonly DriftRow[]): Scale {
  const errors = rows.flatMap((row) => [row.free, row.error]).filter((error) => error !== null && error > 0) as number[];
  const most = Math.max(-3, ...errors.map((error) => Math.ceil(Math.log10(error))));
  const step = (WIDTH - LEFT - RIGHT) / rows.length;
  const bottom = HEIGHT - BOTTOM - EDGE;
  const top = TOP + EDGE;
  return {
    step,
    most,
    x: (at) => LEFT + (at + 0.5) * step,
    y: (error) => {
      if (error === null) return TOP + EDGE / 2;
      if (error === 0) return HEIGHT - BOTTOM - EDGE / 2;
      const part = (Math.min(most, Math.max(LEAST, Math.log10(error))) - LEAST) / (most - LEAST);
      return bottom - part * (bottom - top);
    },
  };
}

function pattern(): string {
  return (
    `<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">` +
    `<line class="hatch" x1="0" y1="0" x2="0" y2="5"/></pattern></defs>`
  );
}

function grid(scale: Scale): string[] {
  const lines: string[] = [];
  for (let power = LEAST; power <= scale.most; power += 2) {
    const y = fixed(scale.y(10 ** power));
    lines.push(`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y}" y2="${y}"/>`);
    lines.push(`<text class="axis" x="${LEFT - 8}" y="${y}" dy="4" text-anchor="end">1e${power}</text>`);
  }
  const zero = fixed(scale.y(0));
  lines.push(`<text class="axis" x="${LEFT - 8}" y="${zero}" dy="4" text-anchor="end">exact</text>`);
  const top = fixed(scale.y(null));
  lines.push(`<text class="axis" x="${LEFT - 8}" y="${top}" dy="4" text-anchor="end">n/a</text>`);
  return lines;
}

/** Numbered blocks, and between them the parts of the model, each with its name where there is room for it. */
function groups(rows: readonly DriftRow[], scale: Scale): string[] {
  const parts: string[] = [];
  let end = -Infinity;
  for (const { name, from, to } of groupsOf(rows)) {
    const x = LEFT + from * scale.step;
    const width = (to - from) * scale.step;
    parts.push(`<line class="border" x1="${fixed(x)}" x2="${fixed(x)}" y1="${TOP}" y2="${HEIGHT - BOTTOM}"/>`);
    // A name may hang over a narrow group's end, but not over the next name.
    const shown = name.length * LETTER <= Math.max(width, 3 * LETTER) ? name : "";
    if (shown !== "" && x >= end) {
      parts.push(`<text class="group" x="${fixed(x + 4)}" y="${TOP - 8}">${escaped(shown)}</text>`);
      end = x + shown.length * LETTER;
    }
  }
  return parts;
}

export interface Group {
  readonly name: string;
  readonly from: number;
  readonly to: number;
}

/** Neighbours of one block, or of one part of the model. */
export function groupsOf(rows: readonly DriftRow[]): Group[] {
  const found: { name: string; from: number; to: number }[] = [];
  rows.forEach((row, at) => {
    const name = groupOf(row.module);
    const last = found.at(-1);
    if (last?.name === name) last.to = at + 1;
    else found.push({ name, from: at, to: at + 1 });
  });
  return found;
}

/** `blocks.0` of `blocks.0.attn1.norm_q`, the first name where nothing is numbered. */
function groupOf(module: string): string {
  const parts = module.split(".");
  const number = parts.findIndex((part) => /^\d+$/.test(part));
  return number > 0 ? parts.slice(0, number + 1).join(".") : (parts[0] ?? "");
}

/** What rounding alone makes, from the row of zeros up; places where it was not measured have none. */
function floor(rows: readonly DriftRow[], scale: Scale): string {
  const bottom = HEIGHT - BOTTOM;
  const boxes = rows.map((row, at) => {
    if (row.floor === null) return "";
    const y = scale.y(row.floor);
    return `M${fixed(LEFT + at * scale.step)} ${bottom}V${fixed(y)}h${fixed(scale.step)}V${bottom}Z`;
  });
  return `<path class="floor" d="${boxes.join("")}"/>`;
}

function series(
  rows: readonly DriftRow[],
  scale: Scale,
  error: (row: DriftRow) => number | null,
  kind: "free" | "own",
): string[] {
  const points = rows.map((row, at) => ({ x: scale.x(at), y: scale.y(error(row)), row }));
  const line = points.map(({ x, y }, at) => `${at === 0 ? "M" : "L"}${fixed(x)} ${fixed(y)}`).join("");
  const marks = points
    .filter(({ row }) => row.status !== "absent")
    .map(({ x, y, row }) => (error(row) === null ? cross(x, y) : kind === "free" ? circle(x, y) : diamond(x, y)));
  return [kind === "free" ? `<path class="free line" d="${line}"/>` : "", `<g class="${kind}">${marks.join("")}</g>`];
}

const circle = (x: number, y: number): string => `<circle cx="${fixed(x)}" cy="${fixed(y)}" r="2.6"/>`;
const diamond = (x: number, y: number): string =>
  `<path d="M${fixed(x)} ${fixed(y - 4)}l4 4l-4 4l-4 -4Z"/>`;
const cross = (x: number, y: number): string =>
  `<path class="cross" d="M${fixed(x - 4)} ${fixed(y - 4)}l8 8m0 -8l-8 8"/>`;

function ring(rows: readonly DriftRow[], mark: Marked, scale: Scale): string {
  const row = rows[mark.at];
  if (row === undefined) return "";
  const x = scale.x(mark.at);
  const y = scale.y(row.error);
  return (
    `<g class="found"><circle cx="${fixed(x)}" cy="${fixed(y)}" r="9"/>` +
    `<text x="${fixed(x)}" y="${fixed(y - 13)}" text-anchor="middle">${escaped(mark.label)}</text></g>`
  );
}

const fixed = (value: number): string => value.toFixed(1);

export function escaped(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}
