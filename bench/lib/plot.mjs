// Draws a series of rows as an SVG: one line for each peer over a logarithmic axis.

import { createRequire } from 'node:module';
import { FIGURE_COLUMNS, medians } from './report.mjs';

const WIDTH = 720;
const HEIGHT = 400;
const NAMES = { native: 'native-websocket-service', A: 'A: socket.io + ws', B: 'B: socket.io + uWebSockets.js', F: 'F: floor' };
const MARKS = ['circle', 'rect', 'triangle', 'diamond'];

/** The SVG as text; `points` are `{x, row, raw}`, each with the reports of all peers. */
export function draw({ title, x, y, figure }, points) {
  const echarts = createRequire(import.meta.url)('echarts');
  const values = points.map((point) => ({ x: point.x, ...medians(point.row.figures[figure], point.raw) }));
  const peers = FIGURE_COLUMNS.filter((peer) => peer in NAMES && values.some((value) => value[peer] !== undefined));
  const ticks = values.map((value) => value.x);
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: WIDTH, height: HEIGHT });
  chart.setOption({
    animation: false,
    backgroundColor: '#fff', // readable on a dark page, too
    title: { text: title, left: 'center', top: 8 },
    legend: { bottom: 8 },
    grid: { left: 72, right: 32, top: 48, bottom: 88 },
    xAxis: {
      type: 'log',
      name: x,
      nameLocation: 'middle',
      nameGap: 28,
      min: ticks[0],
      max: ticks.at(-1),
      axisLabel: { customValues: ticks, formatter: (tick) => tick.toLocaleString('en') },
      axisTick: { customValues: ticks },
    },
    yAxis: { type: 'value', name: y, nameLocation: 'middle', nameGap: 48, min: 0 },
    series: peers.map((peer, index) => ({
      name: NAMES[peer],
      type: 'line',
      symbol: MARKS[index % MARKS.length],
      symbolSize: 9,
      lineStyle: { width: peer === 'native' ? 3 : 1.5 },
      data: values.filter((value) => value[peer] !== undefined).map((value) => [value.x, value[peer]]),
    })),
  });
  const svg = chart.renderToSVGString();
  chart.dispose();
  return `${svg}\n`;
}
