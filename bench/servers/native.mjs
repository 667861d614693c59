// The package of this repository, or with `--package DIR` that of another checkout, as a program. `--config JSON` gives
// the service options; `--door` has the service listen by itself.

import { parseArgs } from 'node:util';
import { main, tls } from './main.mjs';

const { values } = parseArgs({
  strict: false,
  options: {
    package: { type: 'string', default: '../..' },
    config: { type: 'string', default: '{}' },
    door: { type: 'boolean', default: false },
  },
});
const { WebSocketService } = await import(`${values.package}/index.js`);

/** Listens without Node.js. */
async function listenByItself(service) {
  const { port } = await service.listen({ port: 0, host: '127.0.0.1', backlog: 4096, tls });
  return port;
}

const service = new WebSocketService(JSON.parse(values.config));
await (values.door ? main(service, listenByItself) : main(service));
