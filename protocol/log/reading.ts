/**
 * What readers of a log ask a peer for, as paths (SPEC "Reading logs"). A log is named by the SHA-256 of its origin:
 *
 *   <hex>/checkpoint
 *   <hex>/tile/<level>/<N>[.p/<W>][/direct]
 *   <hex>/tile/entries/<N>[.p/<W>]/part/<k>        bytes from k * TLOG_READ_PART_BYTES on, as many at most
 *   <hex>/consistency/<old size>/<new size>[/direct]
 *   <hex>/inclusion/<leaf index>/<tree size>
 *
 * Proofs are answered as lines of base64, one a hash. "direct": of a log that the peer keeps itself, or not at all.
 */
import { fromHex, toHex } from '../encoding/bytes.ts';
import { HASH_BYTES } from './tree.ts';
import { parseHashLines } from './proof-file.ts';
import { formatDecimal, malformed, parseDecimal, readLines, toBase64, utf8 } from './text.ts';
import { MERKLE_PROOF_HASHES_MAX } from '../limits.ts';
import { formatTilePath, parseTilePath, type TilePlace } from './tile.ts';

export type ReadQuestion =
  | { readonly of: 'checkpoint' }
  | { readonly of: 'tile'; readonly place: TilePlace & { readonly level: number }; readonly isDirect: boolean }
  | { readonly of: 'bundle'; readonly place: TilePlace & { readonly level: 'entries' }; readonly part: number }
  | { readonly of: 'consistency'; readonly oldSize: number; readonly newSize: number; readonly isDirect: boolean }
  | { readonly of: 'inclusion'; readonly leafIndex: number; readonly treeSize: number };

/** Every status of an answer, and when. */
export const READ_STATUSES = {
  200: 'the body is what was asked for',
  400: 'the path is none of these, or spelled differently',
  403: 'entries are for readers named by the log alone',
  404: 'no such log here, or not so much of it',
  429: 'too many requests',
  500: 'a fault of this side',
  502: 'the log was asked on behalf of the reader, and did not show it',
} as const;
export type ReadStatus = keyof typeof READ_STATUSES;

const WHAT = 'the path of a log';
const DIRECT = '/direct';

/** Errors: malformed, for places and sizes that there are not. */
export function formatReadPath(hash: Uint8Array, question: ReadQuestion): string {
  return `${toHex(hash)}/${formatRest(question)}`;
}

function formatRest(question: ReadQuestion): string {
  const number = (value: number): string => formatDecimal(value, WHAT);
  switch (question.of) {
    case 'checkpoint':
      return 'checkpoint';
    case 'tile':
      return `${formatTilePath(question.place)}${question.isDirect ? DIRECT : ''}`;
    case 'bundle':
      return `${formatTilePath(question.place)}/part/${number(question.part)}`;
    case 'consistency': {
      const { oldSize, newSize, isDirect } = question;
      return `consistency/${number(oldSize)}/${number(newSize)}${isDirect ? DIRECT : ''}`;
    }
    case 'inclusion':
      return `inclusion/${number(question.leafIndex)}/${number(question.treeSize)}`;
  }
}

export interface ReadPath {
  /** Of the origin, lower-case hex. */
  readonly hash: string;
  readonly question: ReadQuestion;
}

/** Errors: malformed, also for another spelling. */
export function parseReadPath(path: string): ReadPath {
  const slash = path.indexOf('/');
  const [hash, rest] = [path.slice(0, slash), path.slice(slash + 1)];
  if (slash < 0 || !/^[0-9a-f]+$/.test(hash) || fromHex(hash)?.length !== HASH_BYTES)
    throw malformed(WHAT, 'want the SHA-256 of an origin in lower-case hex first');
  return { hash, question: parseRest(rest) };
}

function parseRest(rest: string): ReadQuestion {
  const isDirect = rest.endsWith(DIRECT);
  const plain = isDirect ? rest.slice(0, -DIRECT.length) : rest;
  const [word, one = '', two = '', ...more] = plain.split('/');
  const number = (text: string): number => parseDecimal(text, WHAT);
  if (word === 'checkpoint' && rest === word) return { of: 'checkpoint' };
  if (word === 'tile' && one === 'entries') {
    const [, path = '', part = ''] = /^(.+)\/part\/([0-9]+)$/.exec(rest) ?? [];
    const place = parseTilePath(path);
    return { of: 'bundle', place: { ...place, level: 'entries' }, part: number(part) };
  }
  if (word === 'tile') {
    const { level, ...place } = parseTilePath(plain);
    if (level !== 'entries') return { of: 'tile', place: { level, ...place }, isDirect };
  }
  if (word === 'consistency' && more.length === 0)
    return { of: 'consistency', oldSize: number(one), newSize: number(two), isDirect };
  if (word === 'inclusion' && more.length === 0 && !isDirect)
    return { of: 'inclusion', leafIndex: number(one), treeSize: number(two) };
  throw malformed(WHAT, `"${rest}" is none of checkpoint, tile, consistency and inclusion`);
}

export const formatHashLines = (hashes: readonly Uint8Array[]): Uint8Array =>
  utf8(hashes.map((hash) => `${toBase64(hash)}\n`).join(''));

const HASH_LINE_BYTES = 45; // 44 letters and the line's end

/** Errors: too_large, malformed. */
export function parseHashLinesOf(bytes: Uint8Array, what: string): Uint8Array[] {
  const lines = readLines(bytes, what, MERKLE_PROOF_HASHES_MAX * HASH_LINE_BYTES).split('\n');
  if (lines.pop() !== '') throw malformed(what, 'the last line has no end');
  return parseHashLines(lines, what);
}
