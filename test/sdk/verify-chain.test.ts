import { describe, expect, test } from 'vitest';
import { encodeBundle, type MeshError } from '../../protocol/index.ts';
import { verifyChain } from '../../sdk/index.ts';
import {
  createAgent,
  createChildLink,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRootLink,
  NOW_MS,
  NOW_SECONDS,
} from '../builders.ts';

const organisation = createOrganisation('acme');
const sponsor = createPerson(organisation, 'alice');
const [first, second] = [createAgent(organisation, 'first'), createAgent(organisation, 'second')];
const root = createRootLink(organisation, sponsor, { aud: first.did, stl: 5 });
const leaf = createChildLink(root, first, { aud: second.did, cap: [{ can: 'read:reports/q3' }] });
const envelopes = [
  organisation.genesis,
  sponsor.genesis,
  first.genesis,
  second.genesis,
  root,
  leaf,
  createHeartbeat(organisation),
].map(({ envelope }) => envelope);
const bundle = encodeBundle({ leaf: leaf.id, envelopes });
const roots = [organisation.did];

const codeOf = (options: Partial<Parameters<typeof verifyChain>[1]>, bytes = bundle): unknown => {
  try {
    verifyChain(bytes, { roots, nowMs: NOW_MS, ...options });
  } catch (error) {
    return (error as MeshError).code;
  }
  return 'verified';
};

describe('verifyChain()', () => {
  test('reports what it checked and as of when, from bytes alone', () => {
    const report = verifyChain(bundle, {
      roots,
      nowMs: NOW_MS,
      capabilities: ['read:reports:q3'],
      holder: { did: second.did },
    });
    expect(report).toMatchObject({
      leaf: leaf.id,
      root: organisation.did,
      audience: second.did,
      staleAfterSeconds: 5,
      notChecked: [],
    });
    expect(report.checkedThrough).toMatchObject([{ did: organisation.did, rseq: 0, ageSeconds: 0 }]);
  });

  test('says what it did not check where nothing was asked', () => {
    expect(verifyChain(bundle, { roots, nowMs: NOW_MS }).notChecked.map(({ check }) => check)).toEqual([
      'holder',
      'request',
    ]);
  });

  test.each([
    ['no root that is trusted', { roots: [] }, 'unknown_root'],
    ['another root', { roots: [sponsor.did] }, 'unknown_root'],
    ['knowledge older than the chain tolerates', { nowMs: NOW_MS + 6_000 }, 'status_stale'],
    ['a request outside it', { capabilities: ['read:reports/q4'] }, 'not_covered'],
    ['a request that one link covers but not the other', { capabilities: ['read:reports/*'] }, 'not_covered'],
    ['another holder', { holder: { did: first.did } }, 'holder_mismatch'],
    ['a chain that ended', { nowMs: (NOW_SECONDS + 90_000) * 1000 }, 'expired'],
  ])('refuses %s', (_, options, code) => {
    expect(codeOf(options)).toBe(code);
  });

  test('takes the moment of the call where none is given', () => {
    expect(codeOf({ nowMs: undefined })).not.toBe('verified');
  });

  test('refuses bytes with any one bit of a link or genesis flipped', () => {
    const places = Array.from({ length: 40 }, (_, i) => Math.floor((bundle.length * i) / 40));
    for (const at of places) {
      const bytes = Uint8Array.from(bundle);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      expect(codeOf({}, bytes), `byte ${at}`).not.toBe('verified');
    }
  });
});
