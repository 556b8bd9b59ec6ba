import { describe, expect, test } from 'vitest';
import { cascadeOf } from '../../../protocol/delegation/cascade.ts';
import { verifyChain } from '../../../protocol/delegation/verify.ts';
import { isMeshError } from '../../../protocol/errors.ts';
import type { Statement } from '../../../protocol/statement/statement.ts';
import {
  createChildLink,
  createCredential,
  createHeartbeat,
  createRevocation,
  createRootLink,
  createRotate,
  type Identity,
  keyOf,
} from '../../builders.ts';
import {
  acme,
  alice,
  beta,
  bob,
  checkOf,
  first,
  gamma,
  grace,
  knowing,
  leaf,
  type Link,
  root,
  strangeAgent,
  stranger,
} from './world.ts';

const cnf = keyOf('cnf');
const credential = createCredential(leaf, grace, cnf);
const onward = createChildLink(credential, grace, { aud: strangeAgent.did, pri: true, signers: [cnf] });
const sibling = createChildLink(root, beta, { aud: grace.did, nonce: 'sibling' });
const other = createRootLink(acme, alice, { aud: gamma.did, nonce: 'other' });
/** Every link, with the chain that leads to it. */
const chains: readonly (readonly Link[])[] = [
  [root],
  [root, first],
  [root, first, leaf],
  [root, first, leaf, credential],
  [root, first, leaf, credential, onward],
  [root, sibling],
  [other],
];
const links = chains.map((chain) => chain.at(-1) as Link);
const names = new Map(
  [
    ['root', root],
    ['first', first],
    ['leaf', leaf],
    ['credential', credential],
    ['onward', onward],
    ['sibling', sibling],
    ['other', other],
  ].map(([name, link]) => [(link as Link).id, name as string]),
);

const revocations: readonly [string, Statement<'revocation/v1'>, readonly string[]][] = [
  [
    'the root, by its organisation',
    createRevocation(acme, root),
    ['root', 'first', 'leaf', 'credential', 'onward', 'sibling'],
  ],
  ['the root, by a stranger', createRevocation(stranger, root), []],
  ['the root, by someone further down', createRevocation(gamma, root, { iss: grace }), []],
  ['a link, by its issuer', createRevocation(beta, first), ['first', 'leaf', 'credential', 'onward']],
  ['a link, by its audience', createRevocation(beta, first, { iss: bob }), ['first', 'leaf', 'credential', 'onward']],
  ['a link, by an issuer above', createRevocation(beta, leaf), ['leaf', 'credential', 'onward']],
  ['a link, by the sponsor', createRevocation(acme, leaf, { iss: alice }), ['leaf', 'credential', 'onward']],
  ['the last link', createRevocation(gamma, onward, { iss: grace }), ['onward']],
  ['an agent, by its organisation', createRevocation(beta, bob), ['first', 'leaf', 'credential', 'onward']],
  ['an agent, by a stranger', createRevocation(stranger, bob), []],
  ['an agent, by itself', createRevocation(beta, bob, { iss: bob }), []],
  ['an organisation', createRevocation(beta, beta), []],
  ['the sponsor', createRevocation(acme, alice), ['root', 'other', 'first', 'sibling', 'leaf', 'credential', 'onward']],
  [
    'a key, by itself',
    createRevocation(beta, { of: bob, key: bob.keys.delegate }, { iss: bob }),
    ['leaf', 'credential', 'onward'],
  ],
  ['a key, by a stranger', createRevocation(stranger, { of: bob, key: bob.keys.delegate }), []],
  ['a bound key', createRevocation(gamma, { of: grace, key: cnf }, { iss: grace }), ['credential', 'onward']],
  ['a key that signed nothing', createRevocation(gamma, { of: grace, key: grace.keys.auth }), []],
  [
    'the key of the sponsor',
    createRevocation(acme, { of: alice, key: alice.keys.delegate }),
    ['root', 'other', 'first', 'sibling', 'leaf', 'credential', 'onward'],
  ],
];

describe('a revocation takes with it', () => {
  test.each(revocations)('%s', (_, revocation, expected) => {
    const view = knowing(links);
    const ids = cascadeOf(links, revocation.payload, view);
    expect(new Set(ids.map((id) => names.get(id)))).toEqual(new Set(expected));
    expect(new Set(ids).size).toBe(ids.length);
  });

  test('exactly what no longer verifies', () => {
    for (const [name, revocation] of revocations) {
      const organisation = [acme, beta, gamma, stranger].find(({ did }) => did === revocation.payload.org) as Identity;
      const view = knowing([...links, revocation, createHeartbeat(organisation, { rhead: revocation })]);
      const invalid = chains
        .filter((chain) => !isValid(() => verifyChain(chain, checkOf(view))))
        .map((chain) => chain.at(-1)?.id);
      expect(new Set(cascadeOf(links, revocation.payload, view)), name).toEqual(new Set(invalid));
    }
  });

  test('not what a key now dead keeps', () => {
    const rotate = createRotate(alice, 'alice 2', { retire: [[alice.keys.delegate, null, [root]]] });
    const revocation = createRevocation(acme, { of: alice, key: alice.keys.delegate });
    expect(cascadeOf(links, revocation.payload, knowing([...links, rotate]))).toEqual([other.id]);
  });

  test('nothing where its target is not held', () => {
    expect(cascadeOf([], createRevocation(acme, root).payload, knowing())).toEqual([]);
    expect(cascadeOf([other], createRevocation(acme, root).payload, knowing())).toEqual([]);
  });
});

function isValid(run: () => unknown): boolean {
  try {
    run();
    return true;
  } catch (error) {
    if (isMeshError(error) && error.code === 'revoked') return false;
    throw error;
  }
}
