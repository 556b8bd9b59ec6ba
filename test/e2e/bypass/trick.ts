/** One trick: what a client sends to make a server do what no policy of this corpus lets it do. */
import type { Deed, PersonalityName } from '../bypass-server.ts';

/** Of one world, made for the run. */
export interface Places {
  /** What may be read. */
  readonly open: string;
  /** What may not; holds the file "key". */
  readonly closed: string;
}

/** A line; bytes that are one; or bytes that arrive bit by bit. */
export type Step = string | Uint8Array | { readonly bits: Uint8Array };

export interface Trick {
  readonly name: string;
  readonly like: PersonalityName;
  readonly send: (places: Places) => readonly Step[];
  /** What would be a success: something done, a secret seen by the client, a question put to it. Default `deed`. */
  readonly aims?: 'deed' | 'leak' | 'question';
  /** Tricks of a part change the server, so that each part has one of its own. */
  readonly part?: string;
}

/** What is forbidden, by both policies. */
export function isForbidden(deed: Deed, { closed }: Places): boolean {
  switch (deed.did) {
    case 'tool':
      return (
        deed.name === 'delete_file' ||
        (deed.name === 'transfer' && deed.amount !== undefined && !(Number(deed.amount) <= 1000))
      );
    case 'open':
      return deed.path === closed || deed.path.startsWith(`${closed}/`);
    case 'heard':
      return true; // no question is allowed, so nothing is to be answered
    case 'resource':
    case 'subscribe':
    case 'complete':
    case 'prompt':
      return /^vault:/i.test(deed.name) || deed.name === 'secret_prompt';
  }
}

let ids = 0;
export const nextId = (): number => ++ids;

export const request = (method: string, params: unknown, members: object = {}): string =>
  JSON.stringify({ jsonrpc: '2.0', id: nextId(), method, params, ...members });
export const call = (name: unknown, args?: unknown, members: object = {}): string =>
  request('tools/call', { name, ...(args !== undefined && { arguments: args }), ...members });
/** With the text of the params as it is. */
export const rawCall = (params: string): string =>
  `{"jsonrpc":"2.0","id":${nextId()},"method":"tools/call","params":${params}}`;
export const utf8 = (text: string): Uint8Array => Buffer.from(text, 'utf8');

/** The bytes of a text in which some bytes are others. */
export const withBytes = (text: string, from: string, to: readonly number[]): Uint8Array => {
  const bytes = Buffer.from(text);
  const at = bytes.indexOf(from);
  return Buffer.concat([bytes.subarray(0, at), Uint8Array.from(to), bytes.subarray(at + Buffer.byteLength(from))]);
};

/** Many of one kind. */
export const table = (
  like: PersonalityName,
  aims: Trick['aims'],
  rows: Readonly<Record<string, (places: Places) => Step | readonly Step[]>>,
): Trick[] =>
  Object.entries(rows).map(([name, send]) => ({
    name,
    like,
    ...(aims !== undefined && { aims }),
    send: (places) => {
      const steps = send(places);
      return Array.isArray(steps) ? (steps as readonly Step[]) : [steps as Step];
    },
  }));
