// What the native side has to say reaches the application's logger.

import type { Logger } from '../../index';
import { start } from '../support/harness';
import { eventually } from '../support/eventually';
import { at, newPrefix } from '../support/fleet';
import { sharedRedis } from '../support/redis';

const redis = sharedRedis();

/** A logger that keeps what it is told: level and text. */
function keeper(): { logger: Logger; lines: [level: string, text: string][] } {
  const lines: [string, string][] = [];
  const keep = (level: string) => (text: string) => void lines.push([level, text]);
  return { logger: { debug: keep('debug'), info: keep('info'), warn: keep('warn'), error: keep('error') }, lines };
}

test('each service of a process is told of its connections to Redis, without what is below info', async () => {
  const { host, port } = redis().address;
  const keepers = [keeper(), keeper()];
  for (const { logger } of keepers) {
    const { service } = await start({ redis: at(redis().address, newPrefix()), logger });
    await service.ready();
  }
  for (const { lines } of keepers) {
    await eventually(() => {
      for (const role of ['Publisher', 'Subscriber']) {
        expect(lines).toContainEqual(['info', `connected to Redis (role=${role}, host=${host}, port=${port})`]);
      }
    });
    expect(lines.filter(([level]) => level === 'debug')).toEqual([]);
  }
});

test('a password is in no line, nor is what others make of the connection', async () => {
  const { logger, lines } = keeper();
  const away = { host: '127.0.0.1', port: 1, password: 'open-sesame', keyPrefix: newPrefix() };
  const { service } = await start({ redis: away, logger });
  service.on('error', () => {});
  const { service: other } = await start({ redis: at(redis().address, newPrefix()), logger });
  await other.ready();
  await eventually(() => expect(lines.length).toBeGreaterThan(0));
  for (const [, text] of lines) expect(text).not.toMatch(/open-sesame|fred|tokio|hyper/);
});
