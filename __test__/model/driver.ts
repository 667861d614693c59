// Takes steps with real services and clients, tells the model of them, and observes.

import {
  connect,
  next,
  start,
  TrustingService,
  WebSocketService,
  type Client,
  type Running,
  type Service,
  type TransportName,
} from '../support/harness';
import { eventually, within } from '../support/eventually';
import { joined, newPrefix, settled } from '../support/fleet';
import { become, nothingMissing, pause } from '../support/scene';
import { UNKNOWN_ROOM, World, type Message, type RoomFact, type SocketFact, type Span } from './contract';
import { FAULTS, type Fault, type Redis } from './faults';
import {
  verifyEmitted,
  verifyHistories,
  verifyMovements,
  verifyReceived,
  verifyRegistry,
  type Instance,
} from './verify';

/** How the services of a run are set up. */
export interface Setup {
  instances: number;
  /** Whether clients say who they are, which JavaScript then decides, and a person has several sockets. */
  trusting: boolean;
  /** Whether somebody listens to the services' events, for which CONNECT then waits. */
  listening: boolean;
  /** Whether messages are kept in Redis as well. */
  persist: boolean;
}

/** What is done, with weights. */
export const ACTS = {
  connect: 60,
  join: 80,
  leave: 40,
  say: 160,
  'say nonsense': 10,
  type: 15,
  edit: 30,
  'join by the server': 25,
  'leave by the server': 15,
  'say by the server': 40,
  broadcast: 20,
  'say goodbye': 6,
  drop: 6,
  'cut off': 6,
  'say and drop': 8,
  kick: 6,
  'create a room': 8,
  'delete a room': 4,
  heal: 8,
  calm: 10,
} as const;

export type Act = keyof typeof ACTS | Fault;

export interface Step {
  act: Act;
  /** Which person or socket, instance and room: of those there are. */
  who: number;
  where: number;
  room: number;
  /** Whether the next step waits for the outcome of this one, for a while, for a turn of the event loop, or for nothing. */
  pace: 'outcome' | 'while' | 'turn' | 'none';
}

const WAYS: TransportName[][] = [['websocket'], ['polling', 'websocket'], ['polling']];
const PEOPLE = 6;
const MOST_SOCKETS = 10;
const MOST_ROOMS = 5;
/** For one answer, on a machine that is busy with other things. */
const ANSWER = 15_000;
const TYPES = ['text', 'image', 'file'] as const;
/** Three beats in silence are longer than the second that an instance may need to find Redis again. */
const BEAT = 500;
const FENCE = 'model:fence';

interface Answer {
  ok: boolean;
  error?: { code: string };
  message?: Message;
}

export class Driver {
  readonly world = new World();
  /** What was done, and what came of it. */
  readonly trace: string[] = [];
  readonly #clients = new Map<SocketFact, Client>();
  readonly #emitted: NonNullable<Instance['emitted']>[];
  /** The steps of one person come one after the other. */
  readonly #queues = new Map<string, Promise<void>>();
  readonly #running = new Map<Promise<void>, Step>();
  /** What one instance asks of another: no fault begins meanwhile, for then nobody could say what came of it. */
  readonly #between = new Set<Promise<unknown>>();
  #failures: unknown[] = [];
  /** Since the first fault after the last calm. */
  #faulty = false;
  #names = 0;
  #contents = 0;
  #fences = 0;

  private constructor(
    readonly setup: Setup,
    readonly fleet: Running[],
    readonly redis?: Redis,
  ) {
    this.#emitted = fleet.map(() => []);
    if (setup.listening) fleet.forEach(({ service }, at) => listen(service, this.#emitted[at]!));
  }

  static async start(setup: Setup, redis?: Redis): Promise<Driver> {
    const options = redis && {
      redis: { ...redis.proxy.address, keyPrefix: newPrefix(), heartbeatInterval: BEAT, responseTimeout: 2000 },
      history: { persist: setup.persist },
    };
    const config = { pingInterval: 500, pingTimeout: ANSWER, ...options };
    const Service = setup.trusting ? TrustingService : WebSocketService;
    const fleet = await Promise.all(Array.from({ length: setup.instances }, () => start(config, { Service })));
    if (redis) await joined(fleet);
    const driver = new Driver(setup, fleet, redis);
    for (let index = 0; index < 3; index++) await driver.#create({ where: index, room: index });
    return driver;
  }

  async take(step: Step): Promise<void> {
    const done = this.#begin(step).catch((error: unknown) => void this.#failures.push(error));
    if (step.act !== 'calm') {
      this.#running.set(done, step);
      void done.then(() => this.#running.delete(done));
    }
    if (step.pace === 'outcome' || step.act === 'calm' || step.act === 'heal' || step.act in FAULTS) await done;
    else if (step.pace === 'while') await pause(20);
    else if (step.pace === 'turn') await new Promise((turn) => setImmediate(turn));
    this.#check();
  }

  /** Everybody goes, and nothing is left. */
  async finish(): Promise<void> {
    await this.#calm();
    for (const socket of this.world.connected) {
      this.world.going(socket);
      this.#client(socket).disconnect();
    }
    await this.#calm();
  }

  /** Steps without an outcome so far. */
  get unfinished(): Step[] {
    return [...this.#running.values()];
  }

  #check(): void {
    if (this.#failures.length > 0) throw this.#failures[0];
  }

  #note(line: string): void {
    this.trace.push(`${this.world.tick()} ${line}`);
  }

  #client(socket: SocketFact): Client {
    return this.#clients.get(socket)!;
  }

  #service(at: number): Service {
    return this.fleet[at]!.service;
  }

  async #begin(step: Step): Promise<void> {
    const { act } = step;
    if (act === 'calm') return this.#calm();
    if (act === 'heal') return this.redis?.heal();
    if (act in FAULTS) return this.#fault(act as Fault);
    if (act === 'connect') return this.#connect(step);
    if (act === 'create a room') return this.#create(step);
    if (act === 'delete a room') return this.#delete(step);
    if (act === 'say by the server') return this.#sayByTheServer(step);
    if (act === 'broadcast') return this.#broadcast(step);
    const { connected } = this.world;
    const socket = connected[step.who % Math.max(1, connected.length)];
    if (!socket) return;
    const room = this.#room(step);
    const acts: Record<string, () => Promise<void>> = {
      join: () => this.#ask(socket, 'room:join', room, {}),
      leave: () => this.#ask(socket, 'room:leave', room, {}),
      type: () => this.#ask(socket, 'typing', room, { isTyping: step.where % 2 === 0 }),
      say: () => this.#say(socket, room, 1 + (step.where % 3)),
      'say nonsense': () => this.#nonsense(socket, room),
      edit: () => this.#edit(socket, room),
      'join by the server': () => this.#move('joinRoom', socket, room, step),
      'leave by the server': () => this.#move('leaveRoom', socket, room, step),
      'say goodbye': () => this.#end(socket, act, 0),
      drop: () => this.#end(socket, act, 0),
      'cut off': () => this.#end(socket, act, 0),
      'say and drop': () => this.#end(socket, act, 1 + (step.where % 5), room),
      kick: () => this.#kick(socket, step),
    };
    return this.#inTurn(socket.userId, async () => {
      if (!socket.gone) await acts[act]!();
    });
  }

  /** After whatever else this person does. */
  #inTurn(person: string, work: () => Promise<void>): Promise<void> {
    const done = (this.#queues.get(person) ?? Promise.resolve()).then(work);
    this.#queues.set(
      person,
      done.catch(() => {}),
    );
    return done;
  }

  /** A room that is there, one that was, or one that never was. */
  #room(step: Step): RoomFact | undefined {
    const { openRooms, rooms } = this.world;
    const choice: Array<RoomFact | undefined> = [...openRooms, ...openRooms, ...openRooms];
    choice.push(rooms.findLast(({ deleted }) => deleted), undefined);
    return choice[step.room % choice.length];
  }

  #openRoom(step: Step): RoomFact | undefined {
    const { openRooms } = this.world;
    return openRooms[step.room % Math.max(1, openRooms.length)];
  }

  async #connect({ who, where, room }: Step): Promise<void> {
    const { world, setup, fleet } = this;
    if (world.connected.length >= MOST_SOCKETS) return;
    const number = ++this.#names;
    const person = setup.trusting ? `person ${who % PEOPLE}` : `stranger ${number}`;
    return this.#inTurn(person, async () => {
      const at = where % fleet.length;
      const transports = WAYS[room % WAYS.length]!;
      const came = world.begin();
      const name = `socket ${number}`;
      this.#note(`${name} of ${person} connects to ${at} over ${transports.join(', then ')}`);
      const options = { transports, ...(setup.trusting ? { auth: { userId: person } } : {}) };
      const client = await within(ANSWER, `${name} connects`, connect(fleet[at]!, options));
      world.end(came);
      const id = client.id!;
      const userId = setup.trusting ? person : id;
      const fact: SocketFact = { name, userId, id, at, came, kicked: false, stays: [], heard: [], failures: [] };
      if (!setup.trusting) this.#queues.set(userId, this.#queues.get(person)!);
      client.onAny((event: string, data: unknown) => fact.heard.push({ tick: world.tick(), event, data }));
      client.on('disconnect', (reason) => {
        this.#note(`${name} is disconnected: ${reason}`);
        if (!fact.gone) this.#failures.push(new Error(`${name} was disconnected: ${reason}`));
      });
      // What it was sent before it was listened to.
      expect(client.received).toEqual([]);
      this.#clients.set(fact, client);
      world.sockets.push(fact);
      expect(this.#service(at).getUserSockets(userId)).toContain(id);
    });
  }

  async #create({ where, room }: Pick<Step, 'where' | 'room'>): Promise<void> {
    const { world, fleet } = this;
    if (world.openRooms.length >= MOST_ROOMS) return;
    const at = where % fleet.length;
    const created = world.begin();
    const namespace = room % 2 === 0 ? 'default' : 'other';
    const name = `room ${world.rooms.length}`;
    this.#note(`${name} is created on ${at}`);
    const { id } = await within(ANSWER, 'createRoom', this.#service(at).createRoom(name, namespace));
    world.end(created);
    world.rooms.push({ id, name, namespace, at, created });
  }

  async #delete(step: Step): Promise<void> {
    const { world, fleet } = this;
    const room = this.#openRoom(step);
    if (!room || world.openRooms.length < 2) return;
    const somewhere = step.where % fleet.length;
    const at = world.precedes(room.created, world.begin(), room.at === somewhere) ? somewhere : room.at;
    this.#note(`${room.name} is deleted on ${at}`);
    const span = world.deleting(room, at);
    await within(ANSWER, 'deleteRoom', this.#service(at).deleteRoom(room.id));
    world.end(span);
    expect(this.#service(at).getRoom(room.id)).toBeUndefined();
  }

  async #ask(socket: SocketFact, event: string, room: RoomFact | undefined, data: object): Promise<void> {
    const { world } = this;
    const span = world.begin();
    const roomId = room?.id ?? UNKNOWN_ROOM;
    const answer = await this.#emit(socket, event, { roomId, ...data });
    world.end(span);
    const code = this.#outcome(socket, event, room, answer, world.answers(socket, room, event, span), span);
    if (code !== 'ok' || !room) return;
    if (event === 'room:join') world.joined(socket, room, span);
    if (event === 'room:leave') world.left(socket, room, span);
    if (!/^room:/.test(event) || room.deleted) return;
    expect(this.#isMember(socket, room)).toBe(event === 'room:join');
  }

  #isMember(socket: SocketFact, room: RoomFact): boolean {
    return this.#service(socket.at).getRoomMembers(room.id).some(({ socketId }) => socketId === socket.id);
  }

  #emit(socket: SocketFact, event: string, data: object): Promise<Answer> {
    return within(ANSWER, `${socket.name}: the answer to ${event}`, this.#client(socket).emitWithAck(event, data));
  }

  /** What an answer says: a code, or `ok`. */
  #outcome(
    socket: SocketFact,
    event: string,
    room: RoomFact | undefined,
    answer: Answer,
    allowed: string[],
    span: Span,
  ): string {
    const code = answer.ok ? 'ok' : (answer.error?.code ?? 'no code');
    this.#note(`${socket.name}: ${event} in ${room?.name ?? UNKNOWN_ROOM} since ${span.from}: ${code}`);
    if (!allowed.includes(code)) {
      throw new Error(`${socket.name}: ${event} in ${room?.name}: ${code} instead of ${allowed.join(' or ')}`);
    }
    if (code !== 'ok') socket.failures.push({ event, code, roomId: room?.id ?? UNKNOWN_ROOM });
    return code;
  }

  /** Several at once, without waiting for answers in between. */
  async #say(socket: SocketFact, room: RoomFact | undefined, count: number): Promise<void> {
    const { world } = this;
    const ones = Array.from({ length: count }, async () => {
      const span = world.begin();
      const { content, type } = this.#content(socket.name);
      const roomId = room?.id ?? UNKNOWN_ROOM;
      const fact = room && this.#message(room, socket, socket.at, span, content, type);
      const answer = await this.#emit(socket, 'message', { roomId, content, type });
      world.end(span);
      const allowed = world.answers(socket, room, 'message', span);
      const code = this.#outcome(socket, `message`, room, answer, allowed, span);
      if (!fact) return;
      fact.outcome = code === 'ok' ? 'done' : 'refused';
      fact.told = answer.message;
      if (answer.message) {
        expect(answer.message).toMatchObject({ roomId, content, type, userId: socket.userId });
      }
    });
    await Promise.all(ones);
  }

  #content(name: string): { content: string; type: string } {
    const number = ++this.#contents;
    return { content: `${number} of ${name}`, type: TYPES[number % TYPES.length]! };
  }

  #message(room: RoomFact, by: SocketFact | undefined, at: number, span: Span, content: string, type: string) {
    const userId = by?.userId ?? 'server';
    const fact = { room, by, at, span, content, type, userId, outcome: 'unknown' } as World['messages'][number];
    this.world.messages.push(fact);
    return fact;
  }

  async #nonsense(socket: SocketFact, room: RoomFact | undefined): Promise<void> {
    const span = this.world.begin();
    const answer = await this.#emit(socket, 'message', { roomId: room?.id ?? UNKNOWN_ROOM, content: 5 });
    this.world.end(span);
    // Who may not write to the room is told that first.
    const allowed = this.world.answers(socket, room, 'message', span).map((code) => (code === 'ok' ? 'ERR_INVALID_ARGUMENT' : code));
    this.#outcome(socket, 'message', room, answer, allowed, span);
  }

  async #edit(socket: SocketFact, room: RoomFact | undefined): Promise<void> {
    const { world } = this;
    const span = world.begin();
    const roomId = room?.id ?? UNKNOWN_ROOM;
    const number = world.notes.length;
    const fact = room && this.#newNote({ event: 'document:edit', room, by: socket, at: socket.at, span });
    const answer = await this.#emit(socket, 'document:edit', { roomId, number });
    world.end(span);
    const code = this.#outcome(socket, 'document:edit', room, answer, world.answers(socket, room, 'document:edit', span), span);
    if (fact) fact.outcome = code === 'ok' ? 'done' : 'refused';
  }

  #newNote(note: Pick<World['notes'][number], 'event' | 'room' | 'by' | 'at' | 'span' | 'except'>) {
    const fact: World['notes'][number] = { ...note, number: this.world.notes.length, outcome: 'unknown' };
    this.world.notes.push(fact);
    return fact;
  }

  /** What the application asks for; `sure` says afterwards whether what it is about was there. */
  async #call(what: string, room: RoomFact | undefined, span: Span, call: Promise<unknown>, sure: () => string): Promise<boolean> {
    const code = await within(ANSWER, what, call).then(
      () => 'ok',
      (error: Error & { code?: string }) => error.code ?? error.message,
    );
    this.world.end(span);
    this.#note(`${what} in ${room?.name ?? UNKNOWN_ROOM} since ${span.from}: ${code}`);
    const allowed = { yes: ['ok'], no: ['ERR_NOT_FOUND'] }[sure()] ?? ['ok', 'ERR_NOT_FOUND'];
    if (!allowed.includes(code)) throw new Error(`${what} in ${room?.name}: ${code} instead of ${allowed.join(' or ')}`);
    return code === 'ok';
  }

  async #sayByTheServer(step: Step): Promise<void> {
    const { world, fleet } = this;
    const at = step.where % fleet.length;
    const room = this.#room(step);
    const span = world.begin();
    const { content, type } = this.#content('the server');
    const fact = room && this.#message(room, undefined, at, span, content, type);
    const call = this.#service(at).sendMessage(room?.id ?? UNKNOWN_ROOM, 'server', content, type as 'text');
    const sure = () => (room ? world.roomExists(room, at, span) : 'no');
    const done = await this.#call(`sendMessage on ${at}`, room, span, call, sure);
    if (fact) fact.outcome = done ? 'done' : 'refused';
  }

  async #broadcast(step: Step): Promise<void> {
    const { world, fleet } = this;
    const at = step.where % fleet.length;
    const room = this.#room(step);
    const except = world.connected[step.who % (world.connected.length + 1)];
    const span = world.begin();
    const fact = room && this.#newNote({ event: 'news', room, at, span, except });
    const roomId = room?.id ?? UNKNOWN_ROOM;
    const data = { roomId, number: fact?.number };
    const options = except ? { except: [except.id] } : {};
    const call = this.#service(at).broadcastToRoom(roomId, 'news', data, options);
    const sure = () => (room ? world.roomExists(room, at, span) : 'no');
    const done = await this.#call(`broadcastToRoom on ${at}`, room, span, call, sure);
    if (fact) fact.outcome = done ? 'done' : 'refused';
  }

  /** `joinRoom` and `leaveRoom`, on an instance that surely knows the socket. */
  async #move(method: 'joinRoom' | 'leaveRoom', socket: SocketFact, room: RoomFact | undefined, { where }: Step): Promise<void> {
    const { world, fleet } = this;
    const span = world.begin();
    let at = this.#faulty ? socket.at : where % fleet.length;
    if (!world.precedes(socket.came, span, at === socket.at)) at = socket.at;
    // An instance that does not know the room has nothing to leave.
    if (method === 'leaveRoom' && room && world.roomExists(room, at, { ...span, until: span.from }) !== 'yes') at = socket.at;
    const call = this.#service(at)[method](socket.id, room?.id ?? UNKNOWN_ROOM);
    if (at !== socket.at) this.#betweenInstances(call);
    const sure = () => {
      if (method === 'leaveRoom') return 'yes';
      if (!room) return 'no';
      const [asked, own] = [world.roomExists(room, at, span), world.roomExists(room, socket.at, span)];
      return asked === own ? asked : asked === 'no' || own === 'no' ? 'no' : 'maybe';
    };
    const done = await this.#call(`${method} of ${socket.name} on ${at}`, room, span, call, sure);
    // Whatever it was sent before has come after this, and it counts until then.
    await this.#fence(socket);
    world.end(span);
    if (!done || !room) return;
    if (method === 'joinRoom') world.joined(socket, room, span);
    else world.left(socket, room, span);
    if (room.deleted) return;
    expect(this.#isMember(socket, room)).toBe(method === 'joinRoom');
  }

  #betweenInstances(call: Promise<unknown>): void {
    this.#between.add(call);
    const over = () => void this.#between.delete(call);
    call.then(over, over);
  }

  async #fence(socket: SocketFact): Promise<void> {
    const number = ++this.#fences;
    const client = this.#client(socket);
    const come = new Promise<void>((done) => {
      const listener = (seen: number) => {
        if (seen !== number) return;
        client.off(FENCE, listener);
        done();
      };
      client.on(FENCE, listener);
    });
    await this.#service(socket.at).emitToSocket(socket.id, FENCE, number);
    await within(ANSWER, `a fence of ${socket.name}`, come);
  }

  /** The client ends its connection, perhaps right behind messages whose answers it does not wait for. */
  async #end(socket: SocketFact, act: Act, messages: number, room?: RoomFact): Promise<void> {
    const { world } = this;
    const client = this.#client(socket);
    for (let index = 0; index < messages && room; index++) {
      const { content, type } = this.#content(socket.name);
      this.#message(room, socket, socket.at, world.begin(), content, type);
      client.emit('message', { roomId: room.id, content, type });
    }
    const over = next(client, 'disconnect');
    world.going(socket);
    const { engine } = client.io;
    const carrier = engine.transport as unknown as { name: string; ws?: { terminate(): void } };
    this.#note(`${socket.name}: ${act}, over ${carrier.name}, after ${messages} messages in ${room?.name}`);
    if (act === 'say goodbye') client.disconnect();
    else if (act === 'cut off' && carrier.ws) carrier.ws.terminate();
    else engine.close();
    await within(ANSWER, `the end of ${socket.name}`, over);
  }

  async #kick(socket: SocketFact, { where }: Step): Promise<void> {
    const { world, fleet } = this;
    const all = world.connected.filter(({ userId }) => userId === socket.userId);
    const begun = world.begin();
    const at = this.#faulty ? socket.at : where % fleet.length;
    // An instance that does not surely know all of them would leave some, and who waits for an answer may not be told.
    const known = all.every((each) => world.precedes(each.came, begun, each.at === at) && (!this.#faulty || each.at === at));
    if (!known) return;
    const over = all.map((each) => next(this.#client(each), 'disconnect'));
    for (const each of all) world.going(each, true);
    this.#note(`${all.map(({ name }) => name).join(', ')} are disconnected on ${at}`);
    const call = this.#service(at).disconnectUser(socket.userId, 'by the model');
    this.#betweenInstances(call);
    await within(ANSWER, 'disconnectUser', call);
    for (const each of all) if (each.at === at) expect(this.#service(at).getUserSockets(socket.userId)).not.toContain(each.id);
    const reasons = await within(ANSWER, `the ends of ${socket.userId}`, Promise.all(over));
    expect(reasons.map(([reason]) => reason)).toEqual(all.map(() => 'io server disconnect'));
  }

  async #fault(kind: Fault): Promise<void> {
    if (!this.redis || this.redis.faulty) return;
    this.#faulty = true;
    while (this.#between.size > 0) await Promise.allSettled(this.#between);
    this.#note(`Redis: ${kind}`);
    await this.redis.fault(kind);
  }

  /** Waits until nothing is under way and Redis is well, and compares everything with the model. */
  async #calm(): Promise<void> {
    const { world, fleet, redis } = this;
    while (this.#running.size > 0) await Promise.all(this.#running.keys());
    this.#check();
    if (redis) {
      await redis.heal();
      await become(fleet, 'ready');
    }
    const clients = world.connected.map((socket) => this.#client(socket));
    await settled(fleet, ...clients);
    // The end of a connection takes its time, and so does what an instance missed and asks for.
    await eventually(() => verifyRegistry(world, this.#observe()), ANSWER);
    await eventually(() => verifyHistories(world, this.#observe()), ANSWER);
    await settled(fleet, ...clients);
    if (redis) await nothingMissing(fleet);
    // Of the rooms of the suite's own markers, too, every instance has to learn that they are gone.
    const observed = await eventually(() => {
      const instances = this.#observe();
      verifyRegistry(world, instances);
      return instances;
    }, ANSWER);
    world.calm();
    this.#faulty = false;
    verifyHistories(world, observed);
    verifyReceived(world, observed);
    verifyMovements(world);
    verifyEmitted(world, observed);
    this.#note('calm, and as it should be');
    this.#check();
  }

  #observe(): Instance[] {
    return this.fleet.map(({ service }, at) => {
      const rooms = service.listRooms().filter(({ namespace }) => namespace !== 'suite');
      return {
        users: service.getConnectedUsers().map(({ id, socketId }) => ({ id, socketId })),
        rooms: rooms.map(({ id, name, namespace, members }) => ({ id, name, namespace, members: [...members] })),
        histories: new Map(rooms.map(({ id }) => [id, plain(service.getRoomMessages(id, Infinity)).reverse()])),
        roomStats: new Map(rooms.map(({ id }) => [id, service.getRoomStats(id)!])),
        stats: service.getStats(),
        emitted: this.setup.listening ? this.#emitted[at] : undefined,
      };
    });
  }
}

/** As clients get them. */
const plain = (messages: unknown[]): Message[] => JSON.parse(JSON.stringify(messages));

function listen(service: Service, emitted: NonNullable<Instance['emitted']>): void {
  const add = (event: string, socketId = '', roomId = '', messageId = '') => emitted.push({ event, socketId, roomId, messageId });
  service.on('connection', ({ socketId }) => add('connection', socketId));
  service.on('disconnect', ({ socketId }) => add('disconnect', socketId));
  service.on('room:join', ({ user, room }) => add('room:join', user.socketId, room.id));
  service.on('room:leave', ({ user, room }) => add('room:leave', user.socketId, room.id));
  service.on('message', ({ roomId, id }) => add('message', '', roomId, id));
}
