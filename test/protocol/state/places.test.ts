import { describe, expect, test } from 'vitest';
import { equalBytes, type Statement } from '../../../protocol/index.ts';
import { compareStatements, Places, type Signer } from '../../../protocol/state/places.ts';
import { createOrganisation, createPerson, createRootLink, keyOf, NOW_SECONDS } from '../../builders.ts';
import { seededRandom, suiteSeed } from '../../fuzz/random.ts';

const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const statements = Array.from({ length: 40 }, (_, i) =>
  createRootLink(acme, alice, { aud: alice.did, nonce: `${i}`, iat: NOW_SECONDS - 60 * (i % 3) }),
);
const [one, other] = [keyOf('one').publicKey, keyOf('other').publicKey];
const signers: Signer[] = [acme.did, alice.did].flatMap((did) => [one, other].map((multikey) => ({ did, multikey })));
/** Equal, but not the same. */
const copyOf = ({ did, multikey }: Signer): Signer => ({ did, multikey: Uint8Array.from(multikey) });

const isSame = (a: Signer, b: Signer): boolean => a.did === b.did && equalBytes(a.multikey, b.multikey);

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
      const isDead = (by: Signer): boolean => dead.has(signers.findIndex((known) => isSame(known, by)));
      const dead = new Set([0, 1, 2, 3].filter(() => random.below(3) === 0));
      if (held.has(statement)) {
        places.delete(statement, copyOf(signer));
        held.delete(statement);
      } else {
        const all = [...held, [statement, signer] as const].toSorted(([a], [b]) => compareStatements(a, b));
        const wanted = all.findLast(([, by]) => isDead(by)) ?? all.at(-1);
        expect(places.yielding(statement, copyOf(signer), isDead), `seed ${seed}`).toBe(wanted?.[0]);
        places.add(statement, copyOf(signer));
        held.set(statement, signer);
      }
      expect(places.size).toBe(held.size);
    }
    expect(new Set(places)).toEqual(new Set(held.keys()));
  });

  test('name who yields when all came before anyone asked', () => {
    const places = new Places<Statement>();
    for (const statement of statements.slice(1)) places.add(statement, signers[0] as Signer);
    const [first, signer] = [statements[0] as Statement, signers[0] as Signer];
    for (const worst of statements.slice(1).toSorted(compareStatements).toReversed()) {
      expect(places.yielding(first, signer, (by) => by !== signer)).toBe(
        compareStatements(first, worst) > 0 ? first : worst,
      );
      places.delete(worst, signer);
    }
    expect(places.size).toBe(0);
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
