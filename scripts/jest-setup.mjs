// Before any test: makes the copies of the client's bundle, and tells all tests where the programs are.
import { copyClient } from './client-bundle.mjs';
import { nameFound } from './programs.mjs';

export default function setup() {
  copyClient();
  nameFound(['redis', 'redis-cli', 'openssl', 'browser']);
}
