// Writes docs/performance.md and its plots from the results of full rounds.

import { mkdirSync, writeFileSync } from 'node:fs';
import { draw } from './plot.mjs';
import { columnsOf, show, summarize } from './report.mjs';
import { plots } from './rows/growth.mjs';

const DOCS = new URL('../docs/', import.meta.url);

/** Returns the files written, by their paths in the repository. */
export function writeDocument({ rows: results }, rows) {
  const measured = rows.filter(({ id }) => results[id] && !results[id].quick);
  if (!measured.some((row) => !row.unavailable)) throw new Error('nothing to document: no row was run without --quick');
  mkdirSync(new URL('performance/', DOCS), { recursive: true });
  const drawn = plots.filter((plot) => pointsOf(plot, measured, results).length > 1);
  for (const plot of drawn) {
    writeFileSync(new URL(`performance/${plot.name}.svg`, DOCS), draw(plot, pointsOf(plot, measured, results)));
  }
  const text = [
    heading(),
    ...conditions(measured, results),
    markdown(measured.flatMap((row) => summarize(row, withoutBase(results[row.id])))),
    missing(rows, measured),
    ...drawn.map(({ name, title }) => `![${title}](performance/${name}.svg)\n`),
  ].filter(Boolean).join('\n');
  writeFileSync(new URL('performance.md', DOCS), text);
  return ['docs/performance.md', ...drawn.map(({ name }) => `docs/performance/${name}.svg`)];
}

function pointsOf({ series }, measured, results) {
  return measured
    .filter(({ id }) => id.startsWith(`${series}.`))
    .map((row) => ({ x: Number(row.id.split('.')[1]), row, raw: results[row.id].raw }));
}

function heading() {
  return `# Performance

Written by \`npm run bench\`; [bench/README.md](../bench/README.md) says how it measures, what each row does and who the
peers are: **A** is the same service on \`socket.io\` and \`ws\`, **B** the same on uWebSockets.js, **F** a floor that only
writes bytes. Figures are medians; only those of one row compare with each other. A missed target stays in the table.
`;
}

/** One paragraph for each machine, set of versions and day that rows were measured on. */
function conditions(measured, results) {
  const groups = new Map();
  for (const { id, unavailable } of measured) {
    if (unavailable) continue;
    const { date, rounds, machine, versions } = results[id];
    const text = condition(date.slice(0, 10), rounds, machine, versions);
    groups.set(text, [...(groups.get(text) ?? []), id]);
  }
  if (groups.size === 1) return [...groups.keys()].map((text) => `${text}.\n`);
  return [...groups].map(([text, ids]) => `${ids.join(', ')}: ${text}.\n`);
}

function condition(day, rounds, { cpu, cores, memoryBytes, kernel }, { commit, ...versions }) {
  const programs = Object.entries(versions).map(([name, version]) => `${name} ${version.replace(/^v/, '')}`);
  const memory = `${(memoryBytes / 2 ** 30).toFixed(0)} GiB`;
  return [
    `${day}, ${rounds} rounds, ${cpu} (${cores} cores, ${memory}), ${kernel}, ${programs.join(', ')}`,
    ...(commit ? [`commit ${commit}`] : []),
  ].join(', ');
}

function withoutBase(result) {
  const raw = Object.entries(result.raw).filter(([peer]) => peer !== 'base');
  return { ...result, raw: Object.fromEntries(raw) };
}

function markdown(lines) {
  const columns = columnsOf(lines);
  const row = (cells) => `| ${cells.join(' | ')} |`;
  const isFigure = (column) => !['row', 'what', 'target', 'verdict'].includes(column);
  const body = lines.map((line) => row(columns.map((column) => cell(line, column))));
  return [row(columns), row(columns.map((column) => (isFigure(column) ? '--:' : '---'))), ...body, ''].join('\n');
}

function cell(line, column) {
  if (column === 'row') return line.what.startsWith(' ') || line.what === '' ? '' : `**${line.row}**`;
  if (column === 'what') return line.note ? `*${line.note}*` : line.what.trim();
  return show(line[column]);
}

function missing(rows, measured) {
  const ids = rows.filter((row) => !measured.includes(row)).map(({ id }) => id);
  return ids.length === 0 ? '' : `Not measured yet: ${ids.join(', ')}.\n`;
}
