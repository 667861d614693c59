// The same exports for `import`.

import exported from './index.js';

export const { WebSocketService, WebSocketServiceError } = exported;
