'use strict';

// Everything that came from a person reaches the page as text (textContent), never as markup.

const $ = (id) => document.getElementById(id);
const typingPause = 2500;
const groupWithin = 5 * 60 * 1000;

let socket;
let username;
let current; // { id, name, topic } of the room on the screen
let lastMessage; // the message above the next one, to put messages of one sender together
let typingTimer;
const typers = new Map(); // user id → name

$('enter').addEventListener('submit', (event) => {
  event.preventDefault();
  $('enter-error').textContent = '';
  enter($('username').value.trim());
});

function enter(name) {
  username = name;
  socket?.disconnect();
  socket = io({ query: { username: name }, transports: document.body.dataset.transports.split(' ') });

  socket.on('connect', async () => {
    showState(true);
    $('me').textContent = username;
    $('welcome').hidden = true;
    $('app').hidden = false;
    const lobby = await ask('lobby');
    showLobby(lobby);
    // After a lost connection we are no longer in the room; after a restart of the server it has another id.
    if (current) {
      join(lobby.rooms?.find((room) => room.name === current.name) ?? current);
    }
  });
  socket.on('connect_error', (error) => {
    // A refusal needs another name; anything else is tried again by the client itself.
    if (!socket.active) {
      $('enter-error').textContent = error.message;
      $('app').hidden = true;
      $('welcome').hidden = false;
    }
    showState(false);
  });
  socket.on('disconnect', () => showState(false));
  socket.on('lobby', showLobby);
  socket.on('stats', showStats);
  socket.on('message', (message) => {
    if (message.roomId === current?.id) {
      stopShowingTyper(message.userId);
      showMessage(message);
    }
  });
  socket.on('typing', (typing) => {
    if (typing.roomId !== current?.id) {
      return;
    }
    if (typing.isTyping) {
      typers.set(typing.userId, typing.username);
      showTypers();
    } else {
      stopShowingTyper(typing.userId);
    }
  });
  socket.on('user:joined', (change) => showChange(change, 'joined'));
  socket.on('user:left', (change) => showChange(change, 'left'));
}

/** Sends an event and resolves with the acknowledgement of the server. */
async function ask(event, ...args) {
  try {
    return await socket.timeout(5000).emitWithAck(event, ...args);
  } catch {
    return { error: 'The server did not answer.' };
  }
}

/* Rooms */

async function join(room) {
  const before = current;
  current = room;
  closeSide();
  if (before && before.id !== room.id) {
    socket.emit('room:leave', { roomId: before.id });
  }
  clearRoom();
  showRoomHead();

  const joined = await ask('room:join', { roomId: room.id });
  const opened = joined.ok ? await ask('rooms:open', { roomId: room.id }) : joined;
  if (current !== room) {
    return; // another room was chosen meanwhile
  }
  if (opened.error) {
    current = undefined;
    showRoomHead();
    showNotice(`The room could not be joined: ${opened.error.message ?? opened.error}`);
    return;
  }
  clearRoom();
  opened.messages.forEach(showMessage);
  showNotice(opened.members.length > 1 ? `Here: ${listNames(opened.members)}` : 'You are alone here.');
  $('content').focus();
}

function leave() {
  socket.emit('room:leave', { roomId: current.id });
  current = undefined;
  clearRoom();
  showRoomHead();
}

$('leave').addEventListener('click', leave);

$('create').addEventListener('submit', async (event) => {
  event.preventDefault();
  const { room, error } = await ask('rooms:create', { name: $('room-name').value });
  $('create-error').textContent = error ?? '';
  if (room) {
    $('room-name').value = '';
    join(room);
  }
});

function clearRoom() {
  stopTyping();
  typers.clear();
  showTypers();
  lastMessage = undefined;
  $('log').replaceChildren();
}

function showRoomHead() {
  $('title').textContent = current?.name ?? 'No room';
  $('topic').textContent = current?.topic ?? '';
  $('leave').hidden = !current;
  $('empty').hidden = Boolean(current);
  for (const element of $('send').elements) {
    element.disabled = !current;
  }
  markCurrentRoom();
}

function markCurrentRoom() {
  for (const button of $('rooms').querySelectorAll('button')) {
    button.setAttribute('aria-current', String(button.dataset.id === current?.id));
  }
}

/* Messages */

$('send').addEventListener('submit', async (event) => {
  event.preventDefault();
  const content = $('content').value.trim();
  if (!content || !current) {
    return;
  }
  $('content').value = '';
  stopTyping();
  const answer = await ask('message', { roomId: current.id, content, type: 'text' });
  if (!answer.ok) {
    showNotice(`Not sent: ${answer.error.message ?? answer.error}`);
    $('content').value ||= content;
  }
});

$('content').addEventListener('input', () => {
  if (!$('content').value) {
    stopTyping();
    return;
  }
  if (typingTimer === undefined) {
    socket.emit('typing', { roomId: current.id, isTyping: true });
    typingTimer = { roomId: current.id };
  }
  clearTimeout(typingTimer.timeout);
  typingTimer.timeout = setTimeout(stopTyping, typingPause);
});

function stopTyping() {
  if (typingTimer === undefined) {
    return;
  }
  clearTimeout(typingTimer.timeout);
  socket.emit('typing', { roomId: typingTimer.roomId, isTyping: false });
  typingTimer = undefined;
}

function showMessage(message) {
  const time = new Date(message.timestamp);
  const follows =
    lastMessage?.userId === message.userId && time - new Date(lastMessage.timestamp) < groupWithin;
  const item = element('li', `message${message.userId === socket.id ? ' own' : ''}${follows ? '' : ' first'}`);
  const stamp = element('time', '', time.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' }));
  stamp.dateTime = message.timestamp;
  item.append(
    element('span', 'from', message.username ?? 'Someone'),
    element('span', 'text', message.content),
    stamp,
  );
  lastMessage = message;
  append(item);
}

function showNotice(text) {
  lastMessage = undefined;
  append(element('li', 'notice', text));
}

function showChange(change, verb) {
  if (change.roomId === current?.id) {
    stopShowingTyper(change.userId);
    showNotice(`${change.username ?? 'Someone'} ${verb}`);
  }
}

/** Keeps the newest line in sight, unless the reader has scrolled up to older ones. */
function append(item) {
  const log = $('log');
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  log.append(item);
  if (atEnd || item.classList.contains('own')) {
    log.scrollTop = log.scrollHeight;
  }
}

function stopShowingTyper(userId) {
  if (typers.delete(userId)) {
    showTypers();
  }
}

function showTypers() {
  const names = [...typers.values()].map((name) => name ?? 'Someone');
  $('typing').textContent =
    names.length === 0
      ? ''
      : names.length === 1
        ? `${names[0]} is typing…`
        : names.length === 2
          ? `${names[0]} and ${names[1]} are typing…`
          : `${names.length} people are typing…`;
}

/* Side panel */

function showLobby({ rooms, people, stats }) {
  if (!rooms) {
    return;
  }
  const focused = document.activeElement?.dataset?.id;
  $('rooms').replaceChildren(...rooms.map(roomEntry));
  if (focused) {
    [...$('rooms').querySelectorAll('button')].find((button) => button.dataset.id === focused)?.focus();
  }
  markCurrentRoom();
  $('people-count').textContent = String(people.length);
  $('people').replaceChildren(
    ...people.map(({ socketId, username: name }) =>
      element('li', '', socketId === socket.id ? `${name} (you)` : (name ?? 'Someone')),
    ),
  );
  if (stats) {
    showStats(stats);
  }
}

function roomEntry(room) {
  const item = element('li');
  const button = element('button');
  button.type = 'button';
  button.dataset.id = room.id;
  const members = element('span', 'members', String(room.members));
  members.setAttribute('aria-label', `${room.members} in the room`);
  button.append(element('span', 'name', `# ${room.name}`), members);
  button.addEventListener('click', () => {
    if (room.id === current?.id) {
      closeSide();
    } else {
      join(room);
    }
  });
  item.append(button);
  return item;
}

function showStats(stats) {
  const rows = [
    ['Connections now', stats.activeConnections],
    ['Since the start', stats.totalConnections],
    ['Rooms', stats.totalRooms],
    ['Messages a minute', stats.messagesPerMinute],
    ['Bytes a minute', stats.bytesPerMinute.toLocaleString()],
    ['Round trip', `${stats.avgLatency.toFixed(2)} ms`],
  ];
  if (stats.cluster) {
    rows.unshift(
      ['This server', stats.instance],
      ['Cluster', `${stats.cluster.status}, ${stats.cluster.instances} servers`],
      ['Waiting for Redis', stats.cluster.queued],
    );
  }
  $('stats').replaceChildren(
    ...rows.flatMap(([name, value]) => [element('dt', '', name), element('dd', '', String(value))]),
  );
}

function showState(connected) {
  $('state').textContent = connected ? 'Connected' : 'Connecting…';
  $('state').classList.toggle('connected', connected);
}

$('menu').addEventListener('click', () => setSide(!$('side').classList.contains('open')));
$('shade').addEventListener('click', closeSide);
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape') {
    closeSide();
  }
});

function closeSide() {
  setSide(false);
}

function setSide(open) {
  $('side').classList.toggle('open', open);
  $('shade').hidden = !open;
  $('menu').setAttribute('aria-expanded', String(open));
}

function listNames(people) {
  const names = people.map(({ username: name }) => name ?? 'Someone');
  return names.length > 8 ? `${names.slice(0, 8).join(', ')} and ${names.length - 8} more` : names.join(', ');
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) {
    made.className = className;
  }
  if (text !== undefined) {
    made.textContent = text;
  }
  return made;
}
