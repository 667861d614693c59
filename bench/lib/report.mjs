// From raw rounds to lines of a table: medians, ratios, verdicts, notes.

/** Columns of figures, in the order of the table; the last ones belong to single rows. */
export const FIGURE_COLUMNS = ['native', 'door', 'door, TLS', 'recovering', 'base', 'A', 'A, https', 'A, recovering', 'B', 'F', 'one core', 'by count', 'by age', 'Map'];
const COLUMNS = ['row', 'what', ...FIGURE_COLUMNS, 'ratio', 'target', 'verdict'];

/** What must not happen; a run in which it did meets no target. */
const FAULTS = ['losses', 'duplicates', 'disorders', 'closed'];
const GENERATOR_LIMIT = 0.95;
/** A figure of throughput is the server's own only while the generator could take in so many times more. */
const HEADROOM = 1.5;

/** Lines of the table for one row: `raw` holds the reports of each peer, `failures` a reason for each that failed. */
export function summarize(row, { raw = {}, failures = {} } = {}) {
  const head = { row: row.id, what: row.what };
  const notes = [
    ...(row.note ? [row.note] : []),
    ...Object.entries(failures).map(([peer, reason]) => `${peer} not run: ${reason}`),
    ...Object.entries(raw).flatMap(([peer, reports]) => [...faults(peer, reports), ...remarks(row, peer, reports)]),
    ...row.figures.flatMap((figure) => capacityNotes(figure, raw)),
  ];
  return [
    head,
    ...row.figures.flatMap((figure) => figureLines(row, figure, raw)),
    ...notes.map((note) => ({ row: row.id, what: '  note', note })),
  ];
}

/** Whether a run went wrong in another way than by being slow. */
export function isFaulty({ raw, failures }) {
  return Object.keys(failures).length > 0 || Object.entries(raw).some(([peer, reports]) => faults(peer, reports).length > 0);
}

/** Median of a figure for every peer that has reports of it. */
export function medians({ of, beside = {} }, raw) {
  const figures = {};
  for (const [peer, reports] of Object.entries(raw)) {
    const values = reports.map(of).filter((value) => value !== undefined);
    if (values.length > 0) figures[peer] = median(values);
  }
  for (const [column, read] of Object.entries(beside)) {
    if (raw.native?.length > 0) figures[column] = median(raw.native.map(read));
  }
  return figures;
}

function figureLines(row, figure, raw) {
  const figures = medians(figure, raw);
  const line = { row: row.id, what: `  ${figure.what}`, ...figures };
  const comparable = [...row.peers, ...Object.keys(figure.beside ?? {})];
  const isComparable = ({ times, over }) => [times, over].every((peer) => peer === undefined || comparable.includes(peer));
  const targets = (figure.targets ?? []).filter(isComparable);
  if (targets.length === 0) return [line];
  const isSound = ({ of = 'native' }) => faults(of, raw[of] ?? []).length === 0;
  // The figures stand once, each further target below them.
  return targets.map((target, index) => ({
    ...(index === 0 ? line : { row: row.id, what: '' }),
    ...judge(target, figures, isSound(target)),
  }));
}

/** Compares the native figure, or that of the column `of`, with a target; a run with faults meets none. */
function judge(target, figures, isSound) {
  const [relation, bound] = Object.entries(target).find(([name]) => name in RELATIONS);
  const { sign, holds } = RELATIONS[relation];
  const { times, over, of = 'native' } = target;
  const text = `${of === 'native' ? '' : `${of} `}${sign} ${over ? `${over} + ` : ''}${bound}${times ? ` × ${times}` : ''}`;
  const base = over || times ? figures[over ?? times] : 1;
  if (figures[of] === undefined || base === undefined) return { target: text, verdict: '–' };
  const compared = over ? figures[of] - base : figures[of] / base;
  const verdict = holds(compared, bound) && isSound ? 'met' : 'missed';
  return { ratio: times ? compared : undefined, target: text, verdict };
}

const RELATIONS = {
  min: { sign: '≥', holds: (value, bound) => value >= bound },
  max: { sign: '≤', holds: (value, bound) => value <= bound },
  below: { sign: '<', holds: (value, bound) => value < bound },
};

function faults(peer, reports) {
  const sum = (field) => reports.reduce((total, report) => total + (report[field] ?? 0), 0);
  return FAULTS.filter((field) => sum(field) > 0).map((field) => `${peer}: ${sum(field)} ${field}`);
}

/** Where the generator, not the server, may have set the figure. */
function remarks(row, peer, reports) {
  const busiest = Math.max(0, ...reports.map((report) => report.generator_cpu_s / report.elapsed_s || 0));
  if (busiest > GENERATOR_LIMIT) return [`${peer}: the load generator was the bottleneck`];
  const isMeasured = row.figures.some(({ capacity }) => capacity); // then `capacityNotes` tells more
  if (row.isThroughput && !isMeasured && busiest * HEADROOM > 1) {
    return [`${peer}: the load generator was busy ${Math.round(busiest * 100)} % of the time; it may have been the limit`];
  }
  return [];
}

/** What the generator takes from the floor, beside the most that a server under test reaches. */
function capacityNotes(figure, { F = [], ...raw }) {
  const figures = Object.entries(medians(figure, raw));
  if (!figure.capacity || F.length === 0 || figures.length === 0) return [];
  const [peer, most] = figures.reduce((best, other) => (other[1] > best[1] ? other : best));
  const capacity = median(F.map(figure.capacity));
  const times = `${show(capacity / most)} × ${peer}’s ${show(most)}`;
  const verdict = capacity < most * HEADROOM ? `less than ${HEADROOM} ×: it may have been the limit` : 'enough';
  return [`${figure.what}: from the floor the load generator takes ${show(capacity)}, ${times}; ${verdict}`];
}

function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The columns that some line has a value for. */
export function columnsOf(lines) {
  return COLUMNS.filter((column) => lines.some((line) => line[column] !== undefined));
}

/** The lines as a table of aligned columns; notes run on behind their row. */
export function table(lines) {
  const columns = columnsOf(lines);
  const cells = [columns, ...lines.map((line) => columns.map((column) => show(line[column])))];
  const isWide = (index) => index > 0 && (lines[index - 1].note !== undefined || lines[index - 1].target === undefined);
  const widths = columns.map((column, at) =>
    Math.max(...cells.map((row, index) => (column === 'verdict' && isWide(index) ? 0 : row[at].length))),
  );
  const format = (row, index) => {
    const note = lines[index - 1]?.note;
    if (note !== undefined) return `${row[0].padEnd(widths[0])}    ${note}`;
    return row.map((cell, at) => cell.padEnd(widths[at])).join('  ').trimEnd();
  };
  const [head, ...body] = cells.map(format);
  return [head, '-'.repeat(head.length), ...body].join('\n');
}

/** A cell: three significant digits, larger numbers whole. */
export function show(value) {
  if (value === undefined) return '';
  if (typeof value === 'string') return value;
  if (value >= 1000) return Math.round(value).toLocaleString('en');
  return value.toPrecision(3);
}
