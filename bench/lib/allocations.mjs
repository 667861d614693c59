// Where native memory was allocated: runs of heaptrack, their collapsed stacks, and the part of a connection that each
// stack belongs to.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const LIBRARY = 'engineioxide, socketioxide';
const WEBSOCKET = 'tungstenite';
const RUNTIME = 'tokio';
const OURS = 'this package';
const NODE = 'Node.js';

/** The parts, each with words that all occur in its stacks; a stack belongs to the first part that it fits. */
const PARTS = [
  [OURS, '`Connection`: outbox and route', ['connection::Connection::new']],
  [OURS, '`Head`: URL, headers and address of the request, for the handshake object', ['head::Head::new']],
  [OURS, 'queue of the outbox, kept for the next packet', ['outbox::Outbox::stage']],
  [OURS, 'sessions by number and by Engine.IO id', ['session::Session::new', 'dashmap']],
  [OURS, 'sessions by number and by Engine.IO id', ['session::Session::identify', 'dashmap']],
  [OURS, '`Session`: state of the socket', ['session::Session::new::']],
  [OURS, 'members of everyone and of the room: links, places', ['members::Members::insert']],
  [OURS, 'list of the user’s rooms', ['user::User::with_rooms', 'rooms::', 'join']],
  [OURS, 'look-up by socket id and by user id', ['hub::Hub::insert_user']],
  [OURS, '`Identity`: user id, name, their JSON', ['session::Session::identity_of']],
  [OURS, '`User`: id, link, times, handshake', ['session::Session::new_user']],
  [RUNTIME, 'registration of the connection with epoll', ['handover::duplicate']],
  [LIBRARY, 'task that reads the connection', ['task::core::Cell', 'engineioxide::service::ws_conn_inner']],
  [OURS, 'stream in the place of the client’s, and the request that announces it', ['gateway::', '::serve']],
  [LIBRARY, 'task of the heartbeat', ['task::core::Cell', 'spawn_heartbeat']],
  [LIBRARY, 'task that writes the connection', ['task::core::Cell', 'engineioxide::transport::ws::on_init']],
  [LIBRARY, 'timer of the heartbeat', ['tokio::time::interval', 'heartbeat']],
  [LIBRARY, 'first block of the packet queue: 32 slots', ['mpsc::block::Block', 'engineioxide::socket::Socket']],
  [LIBRARY, 'cancellation of the tasks', ['cancellation_token', 'engineioxide::engine::EngineIo', 'create_session']],
  [LIBRARY, 'heads of three channels: packets, volatile packets, heartbeat', ['tokio::sync::', 'engineioxide::socket::Socket']],
  [WEBSOCKET, 'frame codec: read and write buffer', ['tungstenite::protocol::']],
  [WEBSOCKET, 'wakers between the codec and the stream', ['tokio_tungstenite::']],
  [LIBRARY, 'codec, shared by the reading and the writing half', ['futures_util::', 'split']],
  [LIBRARY, 'Socket.IO socket and client', ['socketioxide::ns::Namespace', 'alloc::']],
  [LIBRARY, 'Engine.IO socket and its place among the sessions', ['engineioxide::engine::EngineIo', 'create_session']],
  [OURS, 'other', ['native_websocket_service::']],
  [LIBRARY, 'other', ['ioxide::']],
  [RUNTIME, 'other', ['tokio::']],
  [NODE, 'other', []],
];

/** Command line that runs a program under heaptrack; what it records goes to `directory`. */
export function recorded(command, directory) {
  return ['heaptrack', '--output', path.join(directory, 'record'), ...command];
}

/** Whether heaptrack is installed. */
export function canRecord() {
  try {
    execFileSync('heaptrack', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Bytes that were allocated and not freed when the recorded program was killed, by stack, innermost frame last. */
export function readRecord(directory) {
  const record = path.join(directory, readdirSync(directory).find((name) => name.startsWith('record')));
  const stacks = path.join(directory, 'stacks.txt');
  execFileSync('heaptrack_print', [record, '--flamegraph-cost-type', 'leaked', '-F', stacks], { stdio: 'ignore' });
  const bytes = new Map();
  for (const line of readFileSync(stacks, 'utf8').split('\n').filter(Boolean)) {
    const end = line.lastIndexOf(' ');
    const part = partOf(line.slice(0, end));
    bytes.set(part, (bytes.get(part) ?? 0) + Number(line.slice(end + 1)));
  }
  return bytes;
}

/** What each connection allocates, between a record with few and one with many: largest first within each owner. */
export function perConnection(few, many, connections) {
  const parts = [...new Set([...few.keys(), ...many.keys()])].map((part) => ({
    owner: part[0],
    what: part[1],
    bytes: ((many.get(part) ?? 0) - (few.get(part) ?? 0)) / connections,
  }));
  const merged = new Map();
  for (const { owner, what, bytes } of parts) {
    const key = `${owner} ${what}`;
    merged.set(key, { owner, what, bytes: (merged.get(key)?.bytes ?? 0) + bytes });
  }
  const all = [...merged.values()];
  const sum = (name) => all.filter(({ owner }) => owner === name).reduce((total, { bytes }) => total + bytes, 0);
  return all.sort((a, b) => sum(b.owner) - sum(a.owner) || a.owner.localeCompare(b.owner) || b.bytes - a.bytes);
}

function partOf(stack) {
  return PARTS.find(([, , words]) => words.every((word) => stack.includes(word)));
}
