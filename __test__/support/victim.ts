// A service in a process of its own, behind the door of the suite, and what its process takes.

import { door, secure } from './harness';
import { Program, type Surroundings } from './program';

export class Victim {
  #asked = 0;

  private constructor(
    readonly program: Program,
    readonly port: number,
    readonly roomId: string,
  ) {}

  static async start(options: object = {}, under: Surroundings = {}, by = door): Promise<Victim> {
    const program = new Program(['victim.js', under], by, JSON.stringify(options));
    const [, port, roomId] = (await program.said('port')).split(' ');
    secure(Number(port), by);
    return new Victim(program, Number(port), roomId!);
  }

  async #ask(what: string): Promise<string> {
    const line = `${++this.#asked} ${what}`;
    const answer = this.program.said(`${line} `);
    this.program.tell(line);
    return (await answer).slice(line.length + 1);
  }

  readonly memory = async () => Number(await this.#ask('memory'));
  /** The most that it has taken so far. */
  readonly peak = async () => Number(await this.#ask('peak'));
  readonly descriptors = async () => Number(await this.#ask('descriptors'));
  readonly stats = async () => JSON.parse(await this.#ask('stats'));
  /** Microseconds of CPU that its process has taken. */
  readonly cpu = async () => Number(await this.#ask('cpu'));
  readonly hasDescriptors = async () => (await this.#ask('hasDescriptors')) === 'true';
  readonly members = async () => Number(await this.#ask('members'));
  /** What it has logged so far, at the level `warn` and above. */
  readonly warnings = async (): Promise<string[]> => JSON.parse(await this.#ask('warnings'));
  /** Broadcasts to its room, to which all belong. */
  readonly bulk = (count: number, size: number) => this.#ask(`bulk 0 ${count} ${size}`);
}
