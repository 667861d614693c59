// What the package exports. The parts are in `lib/`, the native side behind `lib/native/addon.js`.

'use strict';

const { WebSocketServiceError } = require('./lib/errors.js');
const { WebSocketService } = require('./lib/service.js');

module.exports = { WebSocketService, WebSocketServiceError };
