/**
 * What our logs and witnesses call their keys (SPEC "Transparency log formats"). A name holds the key that it stands
 * for, so it needs nobody's word:
 *
 *   agentmesh/v1/log/<z6Mk… of the log key>/<generation>       origin of the log's checkpoints, and name of its key
 *   agentmesh/v1/witness/<z6Mk… of the witness key>
 */
import { digestOf } from '../encoding/cid.ts';
import { multikeyOf, multikeyText, parseMultikeyText, rawKeyOf } from '../encoding/multikey.ts';
import { isMeshError, MeshError } from '../errors.ts';
import { LOG_GENERATION_MAX } from '../limits.ts';
import { utf8 } from './text.ts';
import { createVkey, LOG_KEY_TYPE, type Vkey, WITNESS_KEY_TYPE } from './vkey.ts';

const LOG_PREFIX = 'agentmesh/v1/log/';
const WITNESS_PREFIX = 'agentmesh/v1/witness/';

/** Of a log key (32 raw bytes) and a generation, counted from 0. Errors: malformed. */
export function logVkey(rawKey: Uint8Array, generation: number): Vkey {
  if (!Number.isInteger(generation) || generation < 0 || generation > LOG_GENERATION_MAX)
    throw new MeshError(
      'malformed',
      `Cannot name a log: its generation is ${generation}, want 0 to ${LOG_GENERATION_MAX}`,
    );
  return createVkey(`${LOG_PREFIX}${multikeyText(multikeyOf(rawKey))}/${generation}`, LOG_KEY_TYPE, rawKey);
}

/** Of a witness key (32 raw bytes). Errors: malformed. */
export const witnessVkey = (rawKey: Uint8Array): Vkey =>
  createVkey(`${WITNESS_PREFIX}${multikeyText(multikeyOf(rawKey))}`, WITNESS_KEY_TYPE, rawKey);

export interface LogName {
  /** 32 raw bytes */
  readonly publicKey: Uint8Array;
  readonly generation: number;
  readonly vkey: Vkey;
}

const ORIGIN = /^agentmesh\/v1\/log\/(z[^/]+)\/(0|[1-9][0-9]{0,9})$/;

/** Whose log an origin names. Undefined: not one of ours, or not the one spelling of it. */
export function parseLogOrigin(origin: string): LogName | undefined {
  const [, key = '', digits = ''] = ORIGIN.exec(origin) ?? [];
  const generation = Number(digits);
  if (key === '' || generation > LOG_GENERATION_MAX) return undefined;
  try {
    const publicKey = rawKeyOf(parseMultikeyText(key));
    return { publicKey, generation, vkey: logVkey(publicKey, generation) };
  } catch (error) {
    if (isMeshError(error)) return undefined; // not a key: then it is somebody else's name
    throw error;
  }
}

/** Whose key a line by a witness of ours names. Undefined: it is no such name, or not the one spelling of it. */
export function parseWitnessName(name: string): Vkey | undefined {
  if (!name.startsWith(WITNESS_PREFIX)) return undefined;
  try {
    return witnessVkey(rawKeyOf(parseMultikeyText(name.slice(WITNESS_PREFIX.length))));
  } catch (error) {
    if (isMeshError(error)) return undefined; // not a key: then it is somebody else's name
    throw error;
  }
}

/** SHA-256 of the origin: what a log is found by at witnesses and readers, in hex, and in the database. */
export const originHash = (origin: string): Uint8Array => digestOf(utf8(origin));
