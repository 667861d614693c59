// What the package exports. The parts are in `lib/`, compiled to `dist/`; the native side is behind `lib/native/addon.ts`.

'use strict';

const { existsSync } = require('node:fs');
const { join } = require('node:path');

// A clone of the repository comes without it.
if (!existsSync(join(__dirname, 'dist'))) {
  const error = new Error('native-websocket-service has not been built: run `npm run build`.');
  throw Object.assign(error, { code: 'ERR_ADDON_NOT_LOADED' });
}

const { WebSocketServiceError } = require('./dist/errors.js');
const { WebSocketService } = require('./dist/service.js');

module.exports = { WebSocketService, WebSocketServiceError };
