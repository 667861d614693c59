// A line between clients and a server that can be cut: what is on its way then never arrives.

import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { afterTest, isSecure, secure, urlOf } from './harness';
import { reset } from './reset';

export interface Line {
  url: string;
  /** Cuts every connection; the server sees it as well, unless `unnoticed`: then it goes on as if the client only were slow. */
  cut(options?: { unnoticed?: boolean }): void;
  /** Cuts every connection, and nobody gets through until `mend`. */
  close(options?: { unnoticed?: boolean }): void;
  mend(): void;
  /** New connections go to the server at this port. */
  lead(port: number): void;
}

/** A line to the server at a port. */
export async function layLine(first: number): Promise<Line> {
  let port = first;
  const pairs = new Set<[client: Socket, server: Socket]>();
  const all = new Set<Socket>();
  let isClosed = false;
  const relay: Server = createServer((client) => {
    if (isClosed) return void client.destroy();
    const server = connect(port, '127.0.0.1');
    const pair: [Socket, Socket] = [client, server];
    pairs.add(pair);
    for (const socket of pair) {
      all.add(socket);
      socket.on('error', () => {}).on('close', () => all.delete(socket));
    }
    client.pipe(server).pipe(client);
    client.on('close', () => pairs.has(pair) && server.destroy());
    server.on('close', () => client.destroy());
  });
  await new Promise<void>((done) => relay.listen(0, '127.0.0.1', done));
  const { port: own } = relay.address() as AddressInfo;
  if (isSecure(first)) secure(own);
  const cut = ({ unnoticed = false } = {}) => {
    for (const [client, server] of pairs) {
      if (unnoticed) {
        client.unpipe(server);
        server.unpipe(client);
        server.pause();
      }
    }
    const cutting = [...pairs];
    pairs.clear();
    for (const [client, server] of cutting) {
      reset(client);
      if (!unnoticed) reset(server);
    }
  };
  afterTest(() => {
    for (const socket of all) socket.destroy();
    return new Promise((done) => relay.close(done));
  });
  return {
    url: urlOf(own),
    cut,
    close: (options) => {
      isClosed = true;
      cut(options);
    },
    mend: () => {
      isClosed = false;
    },
    lead: (to) => {
      port = to;
    },
  };
}
