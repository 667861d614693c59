// Before any test: tells all of them where the programs are that `npm test` has seen to.
import { nameFound } from './programs.mjs';

export default function setup() {
  nameFound(['redis', 'redis-cli', 'openssl', 'browser']);
}
