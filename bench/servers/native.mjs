// The package of this repository as a program.

import { WebSocketService } from '../../index.js';
import { main } from './main.mjs';

await main(WebSocketService);
