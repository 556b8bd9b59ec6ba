import { describe, expect, test } from 'vitest';
import type { Statement } from '../../../protocol/index.ts';
import { compareStatements, Places, type Signer } from '../../../protocol/state/places.ts';
import { createOrganisation, createPerson, createRootLink, NOW_SECONDS } from '../../builders.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';

const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const statements = Array.from({ length: 40 }, (_, i) =>
  createRootLink(acme, alice, { aud: alice.did, nonce: `${i}`, iat: NOW_SECONDS - 60 * (i % 3) }),
);
const signers: Signer[] = ['a', 'b', 'c', 'd'].map((key) => ({ did: acme.did, key }));

test('compareStatements() goes by minute, then by id', () => {
  const inOrder = statements.toSorted(compareStatements);
  const keys = inOrder.map(({ epoch, digest }) => `${epoch} ${Buffer.from(digest).toString('hex')}`);
  expect(keys).toEqual(keys.toSorted());
});

describe('Places', () => {
  test('name who yields as sorting them all would', () => {
    const seed = suiteSeed(7_100);
    const random = seededRandom(seed);
    const places = new Places<Statement>();
    const held = new Map<Statement, Signer>();
    for (let i = 0; i < 2_000; i++) {
      const statement = random.pick(statements);
      const signer = held.get(statement) ?? random.pick(signers);
      const dead = new Set(signers.filter(() => random.below(3) === 0));
      if (held.has(statement)) {
        places.delete(statement, signer);
        held.delete(statement);
      } else {
        const all = [...held, [statement, signer] as const].toSorted(([a], [b]) => compareStatements(a, b));
        const wanted = all.findLast(([, by]) => dead.has(by)) ?? all.at(-1);
        expect(
          places.yielding(statement, signer, (by) => dead.has(by)),
          `seed ${seed}`,
        ).toBe(wanted?.[0]);
        places.add(statement, signer);
        held.set(statement, signer);
      }
      expect(places.size).toBe(held.size);
    }
    expect(new Set(places)).toEqual(new Set(held.keys()));
  });

  test('are not freed by a statement that holds none', () => {
    const [first, second] = statements as [Statement, Statement];
    const places = new Places<Statement>();
    places.add(first, signers[0] as Signer);
    places.delete(second, signers[0] as Signer);
    places.delete(first, signers[1] as Signer);
    expect([...places]).toEqual([first]);
    places.delete(first, signers[0] as Signer);
    expect(places.size).toBe(0);
  });
});
