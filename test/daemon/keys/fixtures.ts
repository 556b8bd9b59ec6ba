import { inspect } from 'node:util';
import { openKeyRing } from '../../../daemon/keys/ring.ts';
import type { KeyRingOptions } from '../../../daemon/keys/ring.ts';
import type { Logger, Random } from '../../../daemon/ports.ts';
import { toHex } from '../../../protocol/index.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';
import { base58btc } from 'multiformats/bases/base58';

/** Real scrypt costs most of a second each time; one test pays it. */
export const QUICK = 2 ** 4;

export class Lines implements Logger {
  readonly lines: string[] = [];
  readonly #add = (level: string) => (facts: object, message: string) => {
    this.lines.push(`${level} ${message} ${inspect(facts, { depth: 9 })} ${JSON.stringify(facts)}`);
  };
  debug = this.#add('debug');
  info = this.#add('info');
  warn = this.#add('warn');
  error = this.#add('error');
}

export function testRandom(seed = suiteSeed(4801)): Random {
  const random = seededRandom(seed);
  return { bytes: (count) => random.bytes(count), fraction: () => random.fraction() };
}

export const openQuick = (options: Omit<KeyRingOptions, 'random' | 'log'> & Partial<KeyRingOptions>) =>
  openKeyRing({ random: testRandom(), log: new Lines(), scryptCost: QUICK, ...options });

/** Every way in which these bytes might be printed. */
export const spellings = (bytes: Uint8Array): string[] => {
  const buffer = Buffer.from(bytes);
  return [
    toHex(bytes),
    toHex(bytes).toUpperCase(),
    buffer.toString('base64').slice(0, -1),
    buffer.toString('base64url'),
    base58btc.encode(bytes).slice(1),
    [...bytes].join(','),
    [...bytes].join(', '),
    [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(' '),
    buffer.toString('latin1'),
  ];
};
