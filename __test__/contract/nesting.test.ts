// What is nested deeper than `limits.maxDepth` is refused, by clients' events and by calls alike; nothing less deep is.

import fc from 'fast-check';
import {
  connect,
  drained,
  members,
  never,
  next,
  received,
  record,
  singleTransports,
  start,
  type Client,
  type Running,
  type Service,
} from '../support/harness';

const nested = (levels: number, leaf: unknown[] = []): unknown[] => {
  let value = leaf;
  for (let level = 1; level < levels; level++) value = [value];
  return value;
};
const depthOf = (value: unknown) => {
  let depth = 0;
  for (let next = value; Array.isArray(next); next = next[0]) depth++;
  return depth;
};
const named = { code: 'ERR_INVALID_ARGUMENT', message: expect.stringContaining('(limits.maxDepth)') };

let running: Running;
let service: Service;
let client: Client;
let roomId: string;

describe.each(singleTransports)('over %s', (transport) => {
  beforeEach(async () => {
    running = await start();
    service = running.service;
    roomId = (await service.createRoom('r')).id;
    [client] = (await members(running, { id: roomId }, 1, { transports: [transport] })) as [Client];
  });

  test.each(['own', 'nobody listens', 'message', 'typing', 'document:edit'])(
    'a client is refused %s and stays connected',
    async (event) => {
      const heard = record(service.getSocket(client.id!)! as any, 'own');
      for (const deep of [nested(1001), nested(100_000), [nested(1000, [Buffer.from('x')])]]) {
        // The client's own encoder recurses.
        const text = JSON.parse(`["${event}"]`).concat([deep]);
        const answered = new Promise<any>((done) => sendRaw(client, text, done));
        expect(await answered).toEqual({ ok: false, error: named });
        await drained(service, client);
        expect(received(client, 'error').pop()).toEqual({ ...named, event });
      }
      expect(client.connected).toBe(true);
      expect(heard).toEqual([]);
    },
  );

  test('1,000 levels go there and back, with and without bytes', async () => {
    for (const leaf of [[], [Buffer.from('bytes')]]) {
      const socket = service.getSocket(client.id!)!;
      socket.once('there', (data: unknown, answer: (data: unknown) => void) => {
        socket.emit('back', data);
        answer(data);
      });
      const back = next(client, 'back');
      const answer = await client.emitWithAck('there', nested(1000, leaf));
      expect([depthOf(answer), depthOf((await back)[0])]).toEqual([1000, 1000]);
    }
  });

  test('a client that acknowledges with more is told, and so is whoever waits', async () => {
    const socket = service.getSocket(client.id!)!;
    const plain = jest.fn();
    client.on('ask', (answer) => answer(nested(1001)));
    socket.emit('ask', plain);
    await expect((socket.timeout(60_000) as any).emitWithAck('ask')).rejects.toMatchObject(named);
    await expect((socket as any).emitWithAck('ask')).rejects.toMatchObject(named);
    await drained(service, client);
    expect(received(client, 'error')).toEqual([named, named, named]);
    expect(plain).not.toHaveBeenCalled();
    expect(client.connected).toBe(true);
  });
});

/** Sends an event that is too deep for the client's own encoder. */
function sendRaw(client: Client, args: unknown[], answered: (answer: any) => void): void {
  const { encoder } = client.io as unknown as { encoder: { encode(packet: any): unknown[] } };
  const encode = encoder.encode;
  const bytes = [Buffer.from('x')];
  encoder.encode = (packet) => {
    let depth = 0;
    let inner: unknown = args[1];
    while (Array.isArray(inner)) {
      depth++;
      inner = inner[0];
    }
    const isBinary = Buffer.isBuffer(inner);
    const leaf = isBinary ? '{"_placeholder":true,"num":0}' : '';
    const head = `${isBinary ? '51-' : '2'}${packet.id}["${args[0]}",${'['.repeat(depth)}${leaf}${']'.repeat(depth)}]`;
    return isBinary ? [head, ...bytes] : [head];
  };
  client.emit(args[0] as string, answered);
  encoder.encode = encode;
}

describe('calls', () => {
  beforeEach(async () => {
    running = await start();
    service = running.service;
    roomId = (await service.createRoom('r')).id;
    [client] = (await members(running, { id: roomId }, 1)) as [Client];
  });

  const calls: Array<[string, (deep: unknown) => unknown]> = [
    ['broadcastToRoom', (deep) => service.broadcastToRoom(roomId, 'deep', deep)],
    ['broadcastToAll', (deep) => service.broadcastToAll('deep', deep)],
    ['broadcastToUsers', (deep) => service.broadcastToUsers([client.id!], 'deep', deep)],
    ['emitToSocket', (deep) => service.emitToSocket(client.id!, 'deep', deep)],
    ['sendMessage', (deep) => service.sendMessage(roomId, 'u', 'deep', 'text', deep as object)],
    ['createRoom', (deep) => service.createRoom('deep', 'deep', 'u', deep as object)],
    ['socket.emit', async (deep) => service.getSocket(client.id!)!.emit('deep', deep)],
    ['socket.emit with a callback', async (deep) => service.getSocket(client.id!)!.emit('deep', deep, () => {})],
    ['socket.timeout', async (deep) => service.getSocket(client.id!)!.timeout(60_000).emit('deep', deep, () => {})],
    ['socket.to', async (deep) => service.getSocket(client.id!)!.to(roomId).emit('deep', deep)],
    ['in', async (deep) => service.in(roomId).emit('deep', deep)],
    ['emitWithAck', (deep) => service.in(roomId).timeout(60_000).emitWithAck('deep', deep)],
    ['serverSideEmit', async (deep) => service.serverSideEmit('deep', deep)],
    ['serverSideEmitWithAck', (deep) => service.serverSideEmitWithAck('deep', deep)],
  ];
  const takesObjects = (name: string) => ['sendMessage', 'createRoom'].includes(name);

  test.each(calls)('%s refuses what is deeper, and changes nothing', async (name, call) => {
    const told = ['message', 'room:create'].map((event) => record(service, event));
    const wrap = (levels: number) => (takesObjects(name) ? { in: nested(levels - 1) } : nested(levels));
    for (const levels of [1001, 5000, 100_000]) await expect(call(wrap(levels))).rejects.toMatchObject(named);
    if (!name.startsWith('serverSide')) {
      await expect(call(takesObjects(name) ? { in: [nested(1000)] } : [nested(1000)])).rejects.toMatchObject(named);
    }
    await never(service, 'deep', client);
    expect(told).toEqual([[], []]);
    expect(service.listRooms('deep')).toEqual([]);
    expect(service.getRoomMessages(roomId)).toEqual([]);
    // As deep as is allowed.
    client.on('deep', (_deep, answer) => answer?.());
    await call(wrap(1000));
    await drained(service, client);
  });

  test('a listener that sends on 100,000 levels ends nothing', async () => {
    const errors: unknown[] = [];
    service.getSocket(client.id!)!.on('any', (answer: () => void) => {
      try {
        service.in(roomId).emit('deep', nested(100_000));
      } catch (error) {
        errors.push(error);
      }
      answer();
    });
    await client.emitWithAck('any');
    expect(errors).toEqual([expect.objectContaining(named)]);
  });

  test('brackets in texts are no levels', async () => {
    const texts = ['['.repeat(5000), '\\"{'.repeat(5000), '\\'.repeat(5001), '"'.repeat(3000)];
    const arrived = next(client, 'texts');
    await service.broadcastToAll('texts', [...texts, ...texts.map((text) => ({ [text]: text }))]);
    expect((await arrived)[0].slice(0, 4)).toEqual(texts);
  });

  test('what contains itself does what it does with Socket.IO', async () => {
    const cycle: unknown[] = [];
    cycle.push(cycle);
    await expect(service.broadcastToAll('cycle', cycle)).rejects.toThrow(RangeError);
  });

  test('placeholders of the application beside bytes are refused, which clients would close over', async () => {
    const call = service.broadcastToAll('mine', [Buffer.from('x'), { _placeholder: true, num: 5 }]);
    await expect(call).rejects.toMatchObject({ code: 'ERR_INVALID_ARGUMENT' });
    const arrived = next(client, 'mine');
    await service.broadcastToAll('mine', [Buffer.from('x'), { _placeholder: true, num: 0 }, '"_placeholder":true']);
    expect((await arrived)[0][1]).toEqual(Buffer.from('x'));
  });
});

test('the bound is the option', async () => {
  running = await start({ limits: { maxDepth: 3 } });
  client = await connect(running);
  await running.service.broadcastToAll('x', nested(3));
  await expect(running.service.broadcastToAll('x', nested(4))).rejects.toMatchObject({
    message: expect.stringContaining('at most 3 levels'),
  });
  expect(await client.emitWithAck('x', nested(4))).toMatchObject({ error: { message: expect.stringContaining('3 levels') } });
});

test('lists and objects count alike, in whatever order, and what is beside them does not', async () => {
  const maxDepth = 10;
  ({ service } = await start({ limits: { maxDepth } }));
  const levels = fc.array(fc.boolean(), { minLength: 1, maxLength: 2 * maxDepth, size: 'max' });
  const beside = fc.constantFrom(null, 5, '[[{', '\\"');
  const isCounted = async (kinds: boolean[], other: unknown) => {
    const deep = kinds.reduce<unknown>((inner, isList) => (isList ? [other, inner] : { other, inner }), 'leaf');
    const outcome = await service.broadcastToAll('deep', deep).catch((error) => error);
    expect(outcome).toEqual(kinds.length > maxDepth ? expect.objectContaining(named) : undefined);
  };
  await fc.assert(fc.asyncProperty(levels, beside, isCounted), { numRuns: 200 });
});
