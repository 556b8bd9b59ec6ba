import fc from 'fast-check';
import type { TSchema } from 'typebox';
import { describe, expect, test } from 'vitest';
import { checkJson, schemas } from '../../../protocol/control/index.ts';
import { isCapability, isMeshError, isResource } from '../../../protocol/index.ts';
import { createOrganisation, keyOf } from '../../builders.ts';
import { SAMPLES } from './samples.ts';

const accepts = (schema: TSchema, value: unknown): boolean => {
  try {
    checkJson(schema, value, 'it', 'bad_request');
    return true;
  } catch (error) {
    if (!isMeshError(error)) throw error;
    return false;
  }
};
const refusal = (schema: TSchema, value: unknown): string => {
  try {
    checkJson(schema, value, 'the body', 'bad_request');
  } catch (error) {
    if (isMeshError(error) && error.code === 'bad_request') return error.message;
    throw error;
  }
  throw new Error('it was accepted');
};

const { did, genesis } = createOrganisation('schemas');
const key = keyOf('schemas').text;

describe('plain values', () => {
  test('a capability or resource passes exactly where the protocol says so', () => {
    const piece = fc.constantFrom(
      'read',
      'a',
      'A',
      '0',
      ':',
      '/',
      '*',
      '.',
      '..',
      '-',
      '_',
      '~',
      '@',
      '%',
      ' ',
      '\\',
      'é',
      '\n',
      '',
    );
    const word = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(''));
    let capabilities = 0;
    let resources = 0;
    fc.assert(
      fc.property(word, (text) => {
        if (isCapability(text)) capabilities += 1;
        if (isResource(text)) resources += 1;
        expect(accepts(schemas.CapabilityText, text)).toBe(isCapability(text));
        expect(accepts(schemas.ResourceText, text)).toBe(isResource(text));
      }),
      { numRuns: 3_000, seed: 20261122 },
    );
    expect(capabilities).toBeGreaterThan(0);
    expect(resources).toBeGreaterThan(0);
  });

  test.each([
    ['Did', schemas.Did, did, [`${did.slice(0, -1)}z`, did.toUpperCase(), `did:key:${key}`, '', `${did} `]],
    ['AudienceDid', schemas.AudienceDid, `did:key:${key}`, ['did:web:example.com', key]],
    ['Id', schemas.Id, genesis.id, [genesis.id.slice(1), `${genesis.id.slice(0, -1)}z`]],
    ['Multikey', schemas.Multikey, key, [key.slice(0, -1), `${key.slice(0, -1)}0`]],
    ['PeerId', schemas.PeerId, keyOf('schemas').peerId, ['QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N']],
    ['SessionId', schemas.SessionId, '00112233445566778899aabbccddeeff', ['00112233445566778899AABBCCDDEEFF', '00']],
    [
      'Time',
      schemas.Time,
      '2026-11-22T12:00:00.123Z',
      ['2026-11-22T12:00:00+01:00', '2026-13-22T12:00:00Z', '2026-11-22', '2026-11-22T12:00:00.1Z'],
    ],
    [
      'Contact',
      schemas.Contact,
      'alice@company.com',
      ['alice', 'a@b@c', 'alice @company.com', '@company.com', 'a\n@b', `${'a'.repeat(254)}@b`],
    ],
    ['Name', schemas.Name, 'data-analyst-agent', ['', '-x', 'a/b', 'a\n', 'x'.repeat(65)]],
    ['DisplayName', schemas.DisplayName, 'Őrsi Ágnes', ['', ' a', 'a\u0000b', '\ud800']],
    ['Reason', schemas.Reason, '', ['a\nb', 'x'.repeat(141), '\udc00']],
    [
      'Signature',
      schemas.Signature,
      Buffer.alloc(64, 1).toString('base64url'),
      [Buffer.alloc(63).toString('base64url'), `${'A'.repeat(85)}B`, `${'A'.repeat(85)}=`],
    ],
    ['Token', schemas.Token, 'A'.repeat(43), ['A'.repeat(42), `${'A'.repeat(42)}+`]],
  ] as const)('%s takes what it is, and nothing like it', (_, schema, good, bad) => {
    expect(accepts(schema, good)).toBe(true);
    expect(bad.filter((value) => accepts(schema, value))).toEqual([]);
    for (const value of [null, 1, true, [good], { good }]) expect(accepts(schema, value)).toBe(false);
  });

  test('140 characters outside the basic plane are a reason', () => {
    expect(accepts(schemas.Reason, '𝒳'.repeat(140))).toBe(true);
    expect(accepts(schemas.Reason, '𝒳'.repeat(141))).toBe(false);
  });
});

describe('objects', () => {
  test.each(SAMPLES.map((sample) => [sample.operationId, sample] as const))(
    'the sample of %s passes; with an unknown member it does not',
    (_, sample) => {
      const { route } = sample;
      for (const part of ['params', 'query', 'body'] as const) {
        const schema = route[part];
        if (schema === undefined) continue;
        expect(() => checkJson(schema, sample[part], part, 'bad_request')).not.toThrow();
        expect(refusal(schema, { ...sample[part], surplus: 1 })).toContain('"surplus"');
        expect(refusal(schema, JSON.parse('{"__proto__":1}'))).toContain('Cannot accept');
      }
    },
  );

  test('a refusal names the field and what is wanted, not what was there', () => {
    const body = { to: did, capabilities: [{ can: 'secret' }] };
    expect(refusal(schemas.DelegateBody, body)).toBe(
      'Cannot accept "capabilities[0].can" in the body: want a capability like "read:reports/q3" or "read:reports/*"',
    );
    expect(refusal(schemas.DelegateBody, { capabilities: [{ can: 'read:a' }] })).toBe(
      'Cannot accept "to" in the body: want it to be present',
    );
    expect(refusal(schemas.RevokeBody, { target: { link: 'hidden' }, reason: '' })).toContain(
      '"target.link" in the body: want the id of a statement',
    );
    expect(refusal(schemas.DelegateBody, { ...body, ['x'.repeat(100_000)]: 1 }).length).toBeLessThan(400);
  });
});
