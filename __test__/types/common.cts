// Types as seen from CommonJS. Compiled, never run.

import service = require('native-websocket-service');
import { WebSocketService, WebSocketServiceError, type Message } from 'native-websocket-service';

const byNamespace: WebSocketService = new service.WebSocketService({ path: '/socket.io' });
byNamespace.on('message', (message: Message) => void message.timestamp.getTime());
const error: Error = new service.WebSocketServiceError('ERR_NOT_FOUND', 'Room not found');
void (error instanceof WebSocketServiceError);
