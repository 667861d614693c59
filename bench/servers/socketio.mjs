// Peer A as a program: the service on `ws`. `--config JSON` gives it options.

import { parseArgs } from 'node:util';
import { main } from './main.mjs';
import { WebSocketService } from './socketio-service.mjs';

const { values } = parseArgs({ strict: false, options: { config: { type: 'string', default: '{}' } } });

await main(new WebSocketService(JSON.parse(values.config)));
