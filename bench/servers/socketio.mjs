// Peer A as a program.

import { main } from './main.mjs';
import { WebSocketService } from './socketio-service.mjs';

await main(new WebSocketService());
