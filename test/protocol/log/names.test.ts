import { describe, expect, test } from 'vitest';
import { multikeyText, rawKeyOf, toHex } from '../../../protocol/index.ts';
import {
  formatVkey,
  LOG_KEY_TYPE,
  logVkey,
  monitoringPath,
  originHash,
  parseLogOrigin,
  parseVkey,
  WITNESS_KEY_TYPE,
  witnessVkey,
} from '../../../protocol/log/index.ts';
import { keyOf } from '../../builders.ts';

const { publicKey, text } = keyOf('log');
const rawKey = rawKeyOf(publicKey);

describe('the name of a log', () => {
  test('holds its key and its generation, and is read back', () => {
    for (const generation of [0, 1, 10, 4_294_967_295]) {
      const vkey = logVkey(rawKey, generation);
      expect(vkey).toMatchObject({ name: `agentmesh/v1/log/${text}/${generation}`, type: LOG_KEY_TYPE });
      expect(parseLogOrigin(vkey.name)).toEqual({ publicKey: rawKey, generation, vkey });
      expect(parseVkey(formatVkey(vkey))).toEqual(vkey);
    }
  });

  test('has one spelling', () => {
    const { name } = logVkey(rawKey, 7);
    const key = multikeyText(publicKey);
    for (const origin of [
      '',
      `${name}/`,
      ` ${name}`,
      `${name}\n`,
      name.slice(0, -2),
      name.replace(/7$/, ''),
      name.replace(/7$/, '07'),
      name.replace(/7$/, '-7'),
      name.replace(/7$/, '4294967296'),
      name.replace(/7$/, '99999999999'),
      name.replace('/v1/', '/v2/'),
      name.replace('/log/', '/witness/'),
      name.replace(key, key.slice(1)),
      name.replace(key, key.slice(0, -1)),
      name.replace(key, `z1${key.slice(1)}`),
      name.replace(key, multikeyText(publicKey.slice(0, -1))),
      name.replace(key, keyOf('log').peerId),
      'example.com/log/7',
    ])
      expect(parseLogOrigin(origin), origin).toBeUndefined();
  });

  test('is refused for generations and keys that no log has', () => {
    for (const generation of [-1, 0.5, Number.NaN, 4_294_967_296])
      expect(() => logVkey(rawKey, generation)).toThrow(expect.objectContaining({ code: 'malformed' }));
    expect(() => logVkey(publicKey, 0)).toThrow(expect.objectContaining({ code: 'malformed' }));
  });

  test('is found at witnesses by its hash', () => {
    const { name } = logVkey(rawKey, 0);
    expect(monitoringPath(name)).toBe(`${toHex(originHash(name))}/checkpoint`);
    expect(toHex(originHash('')).slice(0, 8)).toBe('e3b0c442');
  });
});

test('the name of a witness holds its key, and is not that of a log', () => {
  const vkey = witnessVkey(rawKey);
  expect(vkey).toMatchObject({ name: `agentmesh/v1/witness/${text}`, type: WITNESS_KEY_TYPE });
  expect(parseVkey(formatVkey(vkey))).toEqual(vkey);
  expect(parseLogOrigin(vkey.name)).toBeUndefined();
  expect(() => witnessVkey(publicKey)).toThrow(expect.objectContaining({ code: 'malformed' }));
});
