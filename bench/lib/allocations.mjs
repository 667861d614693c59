// Where native memory was allocated: runs of heaptrack, their collapsed stacks, and the part of a connection that each
// stack belongs to.

import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const RUNTIME = 'tokio';
const OURS = 'this package';
const NODE = 'Node.js';

/** The parts, each with words that all occur in its stacks; a stack belongs to the first part that it fits. */
const PARTS = [
  [OURS, '`Account`: what waits because of the client', ['backpressure::Account::new']],
  [OURS, '`Connection`: outbox and route', ['connection::Connection::']],
  [OURS, '`Head`: URL, headers and address of the request, for the handshake object', ['head::Head::new']],
  [OURS, 'look-up of the session by its secret id', ['sessions::Sessions', 'dashmap']],
  [OURS, 'place on the wheel: when it is looked at', ['wheel::Wheel']],
  [OURS, '`Session`: state of the socket', ['session::Session::new']],
  [OURS, 'members of everyone and of the room: links, places', ['members::Members', 'insert']],
  [OURS, 'look-up by socket id and by user id', ['hub::Hub::insert_socket']],
  [OURS, 'list of the socket’s rooms', ['socket::Socket::with_rooms', 'rooms::', '::join']],
  [OURS, '`Identity`: user id, name, their JSON', ['identity::Identity::new']],
  [OURS, '`Socket`: id, link, times, handshake', ['joining', 'socket::Socket::new']],
  [OURS, '`Socket`: id, link, times, handshake', ['joining', 'new_socket']],
  [RUNTIME, 'registration of the connection with epoll', ['handover::duplicate']],
  [OURS, 'the connection, shared by reader and writer', ['node::requests', 'take_over', 'Arc']],
  [OURS, 'task that reads the connection', ['task::core::Cell']],
  [OURS, 'other', ['native_websocket_service::']],
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
