// `npm start`: prepares a fresh clone, then serves the chat demo. PORT chooses the port, 3000 unless set.
import { createServer } from 'node:net';
import { prepare } from './prepare.mjs';
import { fail, say } from './terminal.mjs';

const port = choosePort(process.env.PORT);

await requireFreePort();
prepare('npm start');

const { startChat } = await import('../examples/chat/server.mjs');
const chat = await startChat(port).catch(explainListenError);
say(`The chat demo is at http://localhost:${port} (open it in two windows; Ctrl+C stops it)`);

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, async () => {
    say('Closing the connections');
    await chat.close();
  });
}

function choosePort(text) {
  const number = text ? Number(text) : 3000;
  if (!Number.isInteger(number) || number < 1 || number > 65535) {
    fail(`PORT must be a number from 1 to 65535; it is ${JSON.stringify(text)}.`);
  }
  return number;
}

// Asked before a build of minutes, not after it.
function requireFreePort() {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once('error', explainListenError);
    probe.listen(port, () => probe.close(resolve));
  });
}

function explainListenError(error) {
  if (error.code === 'EADDRINUSE') {
    fail(`Port ${port} is taken by another program: stop that program or choose another port, as in \`PORT=3001 npm start\`.`);
  }
  if (error.code === 'EACCES') {
    fail(`This user may not listen on port ${port}: choose a port above 1023, as in \`PORT=3001 npm start\`.`);
  }
  throw error;
}
