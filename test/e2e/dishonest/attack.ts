/** An attack of a dishonest caller, and what the honest side must make of it. */
import { isMeshError } from '../../../protocol/index.ts';
import type { HandLink, HandSession, HandShake, OpenOptions } from './by-hand.ts';
import { hexOf, openByHand } from './by-hand.ts';
import type { Dishonest, DishonestWorld } from './world.ts';

export interface Attack {
  readonly name: string;
  /** Gives what the honest side answered, step by step. */
  readonly play: (stage: Stage) => Promise<readonly string[]>;
  /** What it must answer. */
  readonly answer: readonly string[];
  /** How often the server may have done what is tagged so; default never. `most`: a race decides. */
  readonly runs?: number | { readonly most: number };
  /** Codes with which the honest side's log says that something in these sessions was refused. */
  readonly logged?: readonly string[];
}

/** Of one attack. */
export class Stage {
  readonly world: DishonestWorld;
  /** In all that it asks for. */
  readonly tag: string;
  readonly grants: Readonly<Record<string, string>>;
  readonly sessions: HandSession[] = [];
  readonly #links: HandLink[] = [];

  constructor(world: DishonestWorld, tag: string, grants: Readonly<Record<string, string>>) {
    this.world = world;
    this.tag = tag;
    this.grants = grants;
  }

  get reader(): string {
    return this.agent('reader');
  }

  agent(name: string, of: Dishonest = this.world.mallory): string {
    const did = of.agents[name];
    if (did === undefined) throw new Error(`nobody is called ${name}`);
    return did;
  }

  grant(name: string): string {
    const id = this.grants[name];
    if (id === undefined) throw new Error(`no grant is called ${name}`);
    return id;
  }

  /** Mallory's reader's, by a grant of everything. */
  async session(how: Partial<HandShake> = {}, by: Dishonest = this.world.mallory): Promise<HandSession> {
    const as = how.as ?? this.agent('reader', by);
    const grant = by === this.world.mallory ? this.grant('all') : this.grant('eve');
    const session = await this.world.shake(by, as, { grant, ...how });
    this.sessions.push(session);
    return session;
  }

  async link(session?: HandSession, options?: OpenOptions): Promise<HandLink> {
    const link = await openByHand(session ?? (await this.session()), options);
    this.#links.push(link);
    return link;
  }

  args(more: object = {}): object {
    return { tag: this.tag, ...more };
  }

  /** For the log. */
  sids(): readonly string[] {
    return this.sessions.map(hexOf);
  }

  close(): void {
    for (const link of this.#links) link.close();
    for (const session of this.sessions) session.end();
  }
}

/** `ok`, or the code with which it was refused. */
export async function tried(what: Promise<unknown>): Promise<string> {
  try {
    await what;
    return 'ok';
  } catch (error) {
    if (!isMeshError(error)) throw error;
    const { reason } = error.data;
    return error.code === 'chain' && typeof reason === 'string' ? `refused chain ${reason}` : `refused ${error.code}`;
  }
}

/** What became of a call: its outcome and code, or how the link ended. */
export async function came(link: HandLink, n: number): Promise<string> {
  try {
    const { out, code } = await link.outcome(n);
    return code === undefined ? out : `${out} ${code}`;
  } catch (error) {
    if (!isMeshError(error) || error.code !== 'closed') throw error;
    return `end ${await link.ended()}`;
  }
}

export const tries = async (link: HandLink, ...call: Parameters<HandLink['start']>): Promise<string> =>
  came(link, await link.start(...call));

export const ended = async (link: HandLink): Promise<string> => `end ${await link.ended()}`;
