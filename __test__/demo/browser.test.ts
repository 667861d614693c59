/// <reference lib="dom" />
// The chat demo in a real browser: two people, over both transports, with the page as it is served.
//
// `npm test` sees to it that there is one. Without it, jest alone leaves these tests out, except in CI.

import { spawn, type ChildProcess } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { chromium, type Browser, type Page } from 'playwright-core';

const executablePath = process.env.CHROMIUM;
const FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking'];

let server: ChildProcess;
let url: string;
let browser: Browser;
const faults: string[] = [];

const inBrowser = executablePath || process.env.CI ? describe : describe.skip;
if (!executablePath) console.warn('No Chromium was found for the tests in a browser; `npm test` says where it comes from');

async function open(name: string): Promise<Page> {
  const page = await (await browser.newContext()).newPage();
  page.on('pageerror', (error) => faults.push(`${name}: ${error}`));
  page.on('console', (message) => message.type() === 'error' && faults.push(`${name}: ${message.text()}`));
  await page.goto(url);
  await page.fill('#username', name);
  await page.click('#enter button');
  await page.waitForSelector('#app:not([hidden])');
  await page.click('#rooms button >> nth=0');
  await page.waitForSelector('#content:not([disabled])');
  return page;
}

async function say(page: Page, text: string): Promise<void> {
  await page.fill('#content', text);
  await page.press('#content', 'Enter');
}

const heard = (page: Page, text: string) =>
  page.waitForFunction((wanted) => document.querySelector('#log')?.textContent?.includes(wanted), text);

inBrowser('the chat demo in a browser', () => {
  beforeAll(async () => {
    server = spawn(process.execPath, [join(__dirname, '../../examples/chat/server.mjs')], {
      env: { ...process.env, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    for await (const line of createInterface({ input: server.stdout! })) {
      const match = /http:\/\/localhost:\d+/.exec(line);
      if (match) {
        [url] = match;
        break;
      }
    }
    browser = await chromium.launch({ executablePath, args: FLAGS });
  });

  afterAll(async () => {
    await browser?.close();
    server?.kill();
  });

  test('two people write to each other, see each other typing and leave', async () => {
    const [alice, bob] = [await open('Alice'), await open('<b>Bob</b>')];
    await say(alice, 'Hello Bob');
    await heard(bob, 'Hello Bob');
    await say(bob, '<img src=x onerror=alert(1)>');
    await heard(alice, '<img src=x onerror=alert(1)>');
    expect(await alice.$$eval('#log img', (images) => images.length)).toBe(0);
    await bob.type('#content', 'I am writing');
    await alice.waitForFunction(() => document.querySelector('#typing')?.textContent?.includes('typing'));
    await bob.close();
    await alice.waitForFunction(() => document.querySelectorAll('#people li').length === 1);
    expect(faults).toEqual([]);
  });
});
