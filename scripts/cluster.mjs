// `npm run cluster`: prepares a fresh clone, then serves the chat demo from three servers that Redis makes one.
import { prepare } from './prepare.mjs';

prepare('npm run cluster', process.env.REDIS_URL ? [] : ['redis']);
await import('../examples/chat/cluster.mjs');
