// What callers mean who give a thing to the wrong place.

'use strict';

const { Server } = require('node:net');

/** How to call the service with what was given in place of options; undefined when that is no known mistake. */
function callOf(given) {
  if (given instanceof Server) return 'call new WebSocketService(options), then initialize(server)';
  if (isSocketIo(given)) {
    return "the service takes the place of Socket.IO's Server: call new WebSocketService(options), then initialize(httpServer)";
  }
  if (typeof given === 'number') {
    return `to listen on a port, call new WebSocketService(options), then initialize(httpServer) and httpServer.listen(${given})`;
  }
  if (isApplication(given)) return 'call new WebSocketService(options), then initialize(http.createServer(app))';
  if (typeof given === 'string') return `for the path, write { path: ${JSON.stringify(given)} }`;
  return undefined;
}

/** What to give to `initialize` in place of something that is no HTTP server; undefined for no known mistake. */
function serverOf(given) {
  if (isSocketIo(given)) return "the service takes the place of Socket.IO's Server: give it the HTTP server";
  if (typeof given === 'number') return `call httpServer.listen(${given}) yourself`;
  if (isApplication(given)) return 'give it http.createServer(app), and listen on that';
  if (isFastify(given)) return 'give it app.server';
  return undefined;
}

const isSocketIo = (value) => typeof value?.of === 'function' && typeof value.attach === 'function';
const isApplication = (value) => typeof value === 'function' && typeof value.handle === 'function';
const isFastify = (value) => value?.server instanceof Server;

module.exports = { callOf, serverOf };
