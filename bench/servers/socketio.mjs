// Peer A as a program. `--config JSON` gives the service options.

import { parseArgs } from 'node:util';
import { main } from './main.mjs';
import { WebSocketService } from './socketio-service.mjs';

const { values } = parseArgs({ strict: false, options: { config: { type: 'string', default: '{}' } } });

await main(new WebSocketService(JSON.parse(values.config)));
