// Writes docs/performance.md and its plots from the results of full rounds.

import { mkdirSync, writeFileSync } from 'node:fs';
import { draw } from './plot.mjs';
import { columnsOf, show, summarize } from './report.mjs';
import { plots } from '../rows/growth.mjs';

const DOCS = new URL('../../docs/', import.meta.url);

/** Returns the files written, by their paths in the repository. */
export function writeDocument({ rows: results }, rows) {
  const measured = rows.filter(({ id }) => results[id] && !results[id].quick);
  if (measured.length === 0) throw new Error('nothing to document: no row was run without --quick');
  mkdirSync(new URL('performance/', DOCS), { recursive: true });
  const drawn = plots.filter((plot) => pointsOf(plot, measured, results).length > 1);
  for (const plot of drawn) {
    writeFileSync(new URL(`performance/${plot.name}.svg`, DOCS), draw(plot, pointsOf(plot, measured, results)));
  }
  const text = [
    heading(),
    ...conditions(measured, results),
    missing(rows, measured),
    overview(measured, results),
    ...measured.map((row) => section(row, results[row.id])),
    ...(drawn.length > 0 ? ['## Growth\n'] : []),
    ...drawn.map(({ name, title }) => `![${title}](performance/${name}.svg)\n`),
  ].filter(Boolean).join('\n');
  writeFileSync(new URL('performance.md', DOCS), text);
  return ['docs/performance.md', ...drawn.map(({ name }) => `docs/performance/${name}.svg`)];
}

function pointsOf({ series }, measured, results) {
  return measured
    .filter(({ id }) => id.startsWith(`${series}.`))
    .map((row) => ({ x: Number(row.id.split('..')[1]), row, raw: results[row.id].raw }));
}

function heading() {
  return `# Performance

Written by \`npm run bench\`; [bench/README.md](../bench/README.md) says how it measures, what each row does and who the
peers are: **A** is the same service on \`socket.io\` and \`ws\`, **B** the same on uWebSockets.js, **F** a floor that only
writes bytes. Figures are medians; only those of one row compare with each other. A missed target stays in the table.
`;
}

/** One paragraph for each machine and set of versions that rows were measured on. */
function conditions(measured, results) {
  const groups = new Map();
  for (const { id } of measured) {
    const text = condition(results[id]);
    groups.set(text, [...(groups.get(text) ?? []), id]);
  }
  return [...groups].map(([text, ids]) => {
    const days = ids.map((id) => results[id].date.slice(0, 10)).sort();
    const when = days[0] === days.at(-1) ? days[0] : `${days[0]} to ${days.at(-1)}`;
    return `${groups.size === 1 ? '' : `${ids.join(', ')}: `}${when}, ${text}.\n`;
  });
}

function condition({ rounds, machine, versions: { commit, ...versions } }) {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version.replace(/^v/, '')}`);
  const { cpu, cores, memoryBytes, kernel } = machine;
  return [
    `rounds: ${rounds}, ${cpu} (${cores} cores, ${(memoryBytes / 2 ** 30).toFixed(0)} GiB)`,
    kernel,
    ...programs,
    ...(commit ? [`commit ${commit}`] : []),
  ].join(', ');
}

function withoutBase(result) {
  const raw = Object.entries(result.raw).filter(([peer]) => peer !== 'base');
  return { ...result, raw: Object.fromEntries(raw) };
}

/** One line for each target. */
function overview(measured, results) {
  const lines = [];
  for (const row of measured) {
    let what;
    for (const line of summarize(row, withoutBase(results[row.id]))) {
      what = line.what || what;
      if (line.target) lines.push({ row: row.id, what, native: line.native, ratio: line.ratio, target: line.target, verdict: line.verdict });
    }
  }
  return lines.length === 0 ? '' : `## Targets\n\n${markdown(lines)}`;
}

/** A row as a heading, its table and its notes. */
function section(row, result) {
  const lines = summarize(row, withoutBase(result)).slice(1);
  const figures = lines.filter(({ note }) => note === undefined).map((line) => ({ ...line, row: undefined }));
  const notes = lines.map(({ note }) => note).filter((note) => note !== undefined);
  return [
    `## ${row.id}: ${row.what}\n`,
    ...(figures.length > 0 ? [markdown(figures)] : []),
    ...(notes.length > 0 ? [notes.map((note) => `- ${note}\n`).join('')] : []),
  ].join('\n');
}

function markdown(lines) {
  const columns = columnsOf(lines);
  const row = (cells) => `| ${cells.join(' | ')} |`;
  const isText = (column) => ['row', 'what', 'target', 'verdict'].includes(column);
  const body = lines.map((line) => row(columns.map((column) => show(line[column]).trim())));
  const head = columns.map((column) => (column === 'what' ? '' : column));
  return [row(head), row(columns.map((column) => (isText(column) ? '---' : '--:'))), ...body, ''].join('\n');
}

function missing(rows, measured) {
  const ids = rows.filter((row) => !measured.includes(row)).map(({ id }) => id);
  return ids.length === 0 ? '' : `Not measured yet: ${ids.join(', ')}.\n`;
}
