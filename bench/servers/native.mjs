// The package of this repository, or with `--package DIR` that of another checkout, as a program. `--config JSON` gives
// the service options.

import { parseArgs } from 'node:util';
import { main } from './main.mjs';

const { values } = parseArgs({
  strict: false,
  options: { package: { type: 'string', default: '../..' }, config: { type: 'string', default: '{}' } },
});
const { WebSocketService } = await import(`${values.package}/index.js`);

await main(new WebSocketService(JSON.parse(values.config)));
