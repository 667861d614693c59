// From raw rounds to figures: medians, ratios, verdicts, the printed table and the results file.

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';

const COLUMNS = ['row', 'what', 'native', 'base', 'A', 'B', 'F', 'ratio', 'target', 'verdict'];
const GENERATOR_LIMIT = 0.95;

/** Lines of the table for one row; `rounds` holds the raw reports per peer, `failures` a reason per peer. */
export function summarize(row, rounds = {}, failures = {}) {
  if (row.unavailable) return [{ row: row.id, what: row.what, verdict: `not run: ${row.unavailable}` }];
  const head = { row: row.id, what: row.what };
  const troubles = [
    ...Object.entries(failures).map(([peer, reason]) => `${peer} not run: ${reason}`),
    ...Object.entries(rounds).flatMap(([peer, reports]) => findings(peer, reports)),
  ];
  return [
    head,
    ...row.figures.flatMap((figure) => figureLines(row, figure, rounds)),
    ...troubles.map((verdict) => ({ row: row.id, what: '  note', verdict })),
  ];
}

function figureLines(row, { what, of, targets }, rounds) {
  const figures = {};
  for (const [peer, reports] of Object.entries(rounds)) {
    if (reports.length > 0) figures[peer] = median(reports.map(of));
  }
  const line = { row: row.id, what: `  ${what}`, ...figures };
  if (targets.length === 0) return [line];
  const sound = findings('native', rounds.native ?? []).length === 0;
  return targets.map((target) => ({ ...line, ...judge(target, figures, sound) }));
}

/** Compares the native figure with a target; a run that lost messages or connections meets none. */
function judge(target, figures, sound) {
  const [relation, bound] = Object.entries(target).find(([name]) => name in RELATIONS);
  const { sign, holds } = RELATIONS[relation];
  const text = `${sign} ${bound}${target.times ? ` × ${target.times}` : ''}`;
  const base = target.times ? figures[target.times] : 1;
  if (figures.native === undefined || base === undefined) return { target: text, verdict: '–' };
  const ratio = figures.native / base;
  const verdict = holds(ratio, bound) && sound ? 'met' : 'missed';
  return { ratio: target.times ? ratio : undefined, target: text, verdict };
}

const RELATIONS = {
  min: { sign: '≥', holds: (value, bound) => value >= bound },
  max: { sign: '≤', holds: (value, bound) => value <= bound },
  below: { sign: '<', holds: (value, bound) => value < bound },
};

/** What makes a peer's rounds doubtful. */
function findings(peer, reports) {
  const sum = (field) => reports.reduce((total, report) => total + (report[field] ?? 0), 0);
  const counted = ['losses', 'duplicates', 'closed'].filter((field) => sum(field) > 0);
  const found = counted.map((field) => `${peer}: ${sum(field)} ${field}`);
  const busiest = Math.max(0, ...reports.map((report) => report.generator_cpu_s / report.elapsed_s));
  if (busiest > GENERATOR_LIMIT) found.push(`${peer}: the load generator was the bottleneck`);
  return found;
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The lines as a table of aligned columns. */
export function table(lines) {
  const columns = COLUMNS.filter((column) => lines.some((line) => column in line));
  const cells = [columns, ...lines.map((line) => columns.map((column) => show(line[column])))];
  const widths = columns.map((_, index) => Math.max(...cells.map((row) => width(row, index))));
  const format = (row) => row.map((cell, index) => cell.padEnd(widths[index])).join('  ').trimEnd();
  const [head, ...body] = cells.map(format);
  return [head, '-'.repeat(head.length), ...body].join('\n');
}

/** The last column does not set a width: its notes are long. */
function width(row, index) {
  return index === row.length - 1 ? 0 : row[index].length;
}

function show(value) {
  if (value === undefined) return '';
  if (typeof value === 'string') return value;
  if (value >= 1000) return Math.round(value).toLocaleString('en');
  return value.toPrecision(3);
}

/** Writes everything that a reader needs to judge the figures. */
export function writeResults(file, { options, lines, raw }) {
  const results = { date: new Date().toISOString(), machine: machine(), versions: versions(), options, lines, raw };
  writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
}

function machine() {
  const cpus = os.cpus();
  return {
    cpu: cpus[0].model,
    cores: cpus.length,
    memoryBytes: os.totalmem(),
    kernel: `${os.type()} ${os.release()} ${os.arch()}`,
  };
}

function versions() {
  const require = createRequire(import.meta.url);
  const versionOf = (file) => JSON.parse(readFileSync(file, 'utf8')).version;
  return {
    node: process.version,
    'native-websocket-service': versionOf(new URL('../package.json', import.meta.url)),
    'socket.io': versionOf(require.resolve('socket.io/package.json')),
    ws: versionOf(require.resolve('ws/package.json')),
  };
}
