// Peer A as a program: the service on `ws`. `--config JSON` gives it options; with `redis` it shares that Redis with other
// instances, by `@socket.io/redis-adapter`, or, where clients come back for what they missed, by
// `@socket.io/redis-streams-adapter`, which can bring it.

import { parseArgs } from 'node:util';
import { main } from './main.mjs';
import { WebSocketService } from './socketio-service.mjs';

const { values } = parseArgs({ strict: false, options: { config: { type: 'string', default: '{}' } } });
const { redis, ...config } = JSON.parse(values.config);

await main(new WebSocketService(redis ? { ...config, adapter: await adapterOn(redis) } : config));

async function adapterOn({ host, port }) {
  if (config.connectionStateRecovery) {
    const [{ createAdapter }, { createClient }] = await Promise.all([import('@socket.io/redis-streams-adapter'), import('redis')]);
    const client = createClient({ socket: { host, port } });
    await client.connect();
    return createAdapter(client);
  }
  const [{ createAdapter }, { createClient }] = await Promise.all([import('@socket.io/redis-adapter'), import('redis')]);
  const publisher = createClient({ socket: { host, port } });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  return createAdapter(publisher, subscriber);
}
