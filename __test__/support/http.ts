// Raw HTTP and a real `socket.io` server to compare with.

import { type ClientRequest, createServer, request, type IncomingHttpHeaders, type IncomingMessage, type RequestOptions } from 'node:http';
import { request as requestSecurely } from 'node:https';
import { Server, type ServerOptions } from 'socket.io';
import { afterTest, isSecure, listen } from './harness';

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  body: string;
}

export interface RawRequest {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
}

/** A request, as of `node:http`, by the door that is at the port. */
export function requestTo(port: number, options: RequestOptions, answered?: (response: IncomingMessage) => void): ClientRequest {
  const all = { host: '127.0.0.1', port, agent: false, ...options };
  return isSecure(port) ? requestSecurely({ ...all, servername: 'localhost' }, answered) : request(all, answered);
}

/** One request; an upgrade that is accepted counts as an answer with status 101. */
export function raw(port: number, path: string, { method = 'GET', headers = {}, body }: RawRequest = {}): Promise<Answer> {
  return new Promise((done, fail) => {
    const sent = requestTo(port, { path, method, headers });
    sent.on('upgrade', (response, socket) => {
      socket.on('error', () => {});
      socket.destroy();
      done({ status: response.statusCode!, headers: response.headers, body: '' });
    });
    sent.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk) => chunks.push(chunk));
      response.on('end', () =>
        done({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(chunks).toString() }),
      );
      response.on('error', fail);
    });
    sent.on('error', fail);
    sent.end(body);
  });
}

export const upgradeHeaders = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Version': '13',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

/** A real `socket.io` server. */
export async function startReference(options: Partial<ServerOptions> = {}): Promise<{ io: Server; port: number; url: string }> {
  const server = createServer((_req, res) => void res.writeHead(404).end());
  const io = new Server(server, options);
  // A polling session that ends without a poll would keep the process for half a minute.
  io.engine.on('connection', ({ transport }: any) => (transport.closeTimeout = 0));
  afterTest(() => io.close());
  const port = await listen(server);
  return { io, port, url: `http://127.0.0.1:${port}` };
}

/** The session id in the answer to a polling handshake. */
export function sessionOf(answer: Answer): string {
  return JSON.parse(answer.body.slice(answer.body.indexOf('{'))).sid;
}

export async function handshake(port: number, path = '/socket.io/', eio: 3 | 4 = 4): Promise<string> {
  return sessionOf(await raw(port, `${path}?EIO=${eio}&transport=polling`));
}
