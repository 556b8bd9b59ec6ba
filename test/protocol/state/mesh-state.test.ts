import { describe, expect, test } from 'vitest';
import {
  admitAll,
  compareStatements,
  MeshState,
  type StateLimits,
  type Statement,
  toHex,
  viewOfStatements,
} from '../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import {
  createAgent,
  createChildLink,
  createCredential,
  createDeactivate,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRecover,
  createRevocation,
  createRevocations,
  createRootLink,
  createRotate,
  createUpdate,
  type Identity,
  keyOf,
  keySet,
  NOW_MS,
  NOW_SECONDS,
  type Operation,
} from '../../builders.ts';
import { formatState } from './histories.ts';

const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const bot = createAgent(acme, 'bot');
const beta = createOrganisation('beta');
const bob = createPerson(beta, 'bob');
const bit = createAgent(beta, 'bit');
const everyone = [acme, alice, bot, beta, bob, bit].map(({ genesis }) => genesis);
const stranger = keyOf('stranger');

/** The verdict and its code, or what it waits for. */
function admit(state: MeshState, statement: Statement, nowMs: number = NOW_MS): string {
  const admission = state.admit(statement, nowMs);
  if (admission.verdict === 'accept') return 'accept';
  return `${admission.verdict} ${admission.verdict === 'pending' ? admission.waitsFor : admission.code}`;
}
/** All of which the door accepts, one after the other. */
function stateOf(statements: readonly Statement[], limits: Partial<StateLimits> = {}): MeshState {
  const state = new MeshState(limits);
  for (const statement of statements) expect(admit(state, statement)).toBe('accept');
  return state;
}
const evictedBy = (state: MeshState, statement: Statement): string[] => {
  const admission = state.admit(statement, NOW_MS);
  if (admission.verdict !== 'accept') throw new Error(`Cannot go on: the door says ${admission.verdict}`);
  return admission.evicted.map(({ id }) => id).toSorted();
};
const idsOf = (statements: Iterable<Statement>): string[] => [...statements].map(({ id }) => id).toSorted();
const statusOf = (state: MeshState, { did }: Identity): string | undefined => state.didState(did)?.status;
const sorted = <S extends Statement>(statements: readonly S[]): S[] => statements.toSorted(compareStatements);

const root = createRootLink(acme, alice, { aud: bit.did });
const rotated = createRotate(acme, 'acme 1');

describe('the door', () => {
  test('accepts once what is complete, and calls it a duplicate from then on', () => {
    const child = createChildLink(root, bit, { aud: bot.did });
    const credential = createCredential(root, bit, keyOf('ephemeral'));
    const update = createUpdate(acme);
    const revocation = createRevocation(acme, root, { prv: null });
    const all = [...everyone, root, child, credential, update, revocation];
    const state = stateOf(all);
    for (const statement of all) {
      expect(admit(state, statement)).toBe('ignore duplicate');
      expect(state.get(statement.id)).toBe(statement);
    }
    expect(idsOf(state.statements())).toEqual(idsOf(all.filter((statement) => statement !== credential)));
    expect(state.size).toBe(all.length - 1);
  });

  test('ignores what is dated more than a minute ahead, until its time has come', () => {
    const state = stateOf(everyone);
    const link = (iat: number) => createRootLink(acme, alice, { aud: bit.did, iat });
    expect(admit(state, link(NOW_SECONDS + 60))).toBe('accept');
    expect(admit(state, link(NOW_SECONDS + 61))).toBe('ignore too_early');
    expect(admit(state, link(NOW_SECONDS + 61), NOW_MS + 999)).toBe('ignore too_early');
    expect(admit(state, link(NOW_SECONDS + 61), NOW_MS + 1000)).toBe('accept');
    expect(admit(state, createUpdate(acme, { iat: NOW_SECONDS + 61 }))).toBe('ignore too_early');
  });

  test('ignores a link an hour after it expired, and a heartbeat an hour after it was signed', () => {
    const state = stateOf(everyone);
    const link = createRootLink(acme, alice, { aud: bit.did, exp: NOW_SECONDS + 600 });
    const ends = NOW_MS + 600_000 + 3_600_000;
    expect(admit(state, link, ends)).toBe('ignore expired');
    expect(admit(state, link, ends - 1)).toBe('accept');
    const heartbeat = createHeartbeat(acme);
    expect(admit(state, heartbeat, NOW_MS + 3_600_000)).toBe('ignore expired');
    expect(admit(state, heartbeat, NOW_MS + 3_599_999)).toBe('accept');
  });

  test('lets a DID operation wait for its DID and for its prv', () => {
    const state = new MeshState();
    const update = createUpdate(acme);
    const next = createUpdate(acme, { prv: update });
    expect(admit(state, next)).toBe(`pending ${acme.did}`);
    expect(admit(state, acme.genesis)).toBe('accept');
    expect(admit(state, next)).toBe(`pending ${update.id}`);
    expect(admit(state, update)).toBe('accept');
    expect(admit(state, next)).toBe('accept');
    expect(state.didState(acme.did)?.head).toBe(next.id);
  });

  test('lets an agent wait for its organisation, and for the key with which that signed', () => {
    const state = new MeshState();
    const late = createAgent(acme, 'late', { controllerKey: keySet('acme 1').sign });
    expect(admit(state, late.genesis)).toBe(`pending ${acme.did}`);
    admitAll(state, [acme.genesis], NOW_MS);
    expect(admit(state, bot.genesis)).toBe('accept');
    expect(admit(state, late.genesis)).toBe(`pending ${acme.did}`);
    expect(admit(state, rotated)).toBe('accept');
    expect(admit(state, late.genesis)).toBe('accept');
    expect([...state.didsOf(acme.did)].toSorted()).toEqual([acme.did, bot.did, late.did].toSorted());
  });

  test('rejects operations that their genesis or their prv condemns', () => {
    const state = stateOf([...everyone, rotated]);
    const wrong: Operation[] = [
      createOrganisation('thief', { signers: [stranger, keyOf('thief node')] }).genesis,
      createAgent(bot, 'agent of an agent').genesis,
      createAgent(acme, 'alone', { signers: [keySet('alone').sign] }).genesis,
      createRotate(acme, 'acme 2', { prv: rotated }),
      createUpdate(acme, { signers: [acme.keys.auth, acme.node] }),
      createUpdate(acme, { seq: 2 }),
      createUpdate(beta, { prv: rotated }),
      createRotate(bot, 'bot 1'),
    ];
    for (const operation of wrong) expect(admit(state, operation)).toBe('reject not_entitled');
  });

  test('rejects an operation whose prv is held and no operation at all', () => {
    const state = stateOf([...everyone, root]);
    const prv = root as unknown as Operation; // the schema sees an id, whatever it is the id of
    expect(admit(state, createUpdate(acme, { prv, seq: 1 }))).toBe('reject not_entitled');
  });

  test('lets a link wait for issuer, sponsor and their keys, and for nothing else', () => {
    const child = createChildLink(root, bit, { aud: bot.did });
    const state = new MeshState();
    expect(admit(state, root)).toBe(`pending ${acme.did}`);
    admitAll(state, [acme.genesis], NOW_MS);
    expect(admit(state, root)).toBe(`pending ${alice.did}`);
    admitAll(state, everyone, NOW_MS);
    expect(admit(state, child)).toBe('accept'); // its parent is judged at use
    const [byNew, byOld] = [keySet('acme 1').delegate, alice.keys.delegate];
    const later = createRootLink(acme, alice, { aud: bit.did, signers: [byNew, byOld] });
    expect(admit(state, later)).toBe(`pending ${acme.did}`);
    const grown = createRotate(alice, 'alice 1');
    const sponsored = createRootLink(acme, alice, { aud: bit.did, signers: [byNew, keySet('alice 1').delegate] });
    admitAll(state, [rotated], NOW_MS);
    expect(admit(state, later)).toBe('accept');
    expect(admit(state, sponsored)).toBe(`pending ${alice.did}`);
    admitAll(state, [grown], NOW_MS);
    expect(admit(state, sponsored)).toBe('accept');
  });

  test('accepts a link by a key of whatever standing, and of a DID that is frozen or dead', () => {
    const dead = createRotate(acme, 'acme 1', { retire: [[acme.keys.delegate, null]] });
    expect(admit(stateOf([...everyone, dead]), root)).toBe('accept');
    expect(admit(stateOf([...everyone, dead, createRotate(acme, 'acme 2')]), root)).toBe('accept');
    expect(admit(stateOf([...everyone, createDeactivate(acme)]), root)).toBe('accept');
  });

  test('rejects links whose issuer, sponsor or key can never be right', () => {
    const state = stateOf(everyone);
    const foreign = createRootLink(acme, bob, { aud: bit.did });
    const unsponsored = createRootLink(acme, bot, { aud: bit.did });
    expect(admit(state, foreign)).toBe('reject not_entitled');
    expect(admit(state, unsponsored)).toBe('reject not_entitled');
    const byAgent = createRootLink(bot, alice, { aud: bit.did, sub: bot.did });
    expect(admit(state, byAgent)).toBe('reject not_entitled');
    // An agent that committed to no next or recovery keys never lists another key.
    for (const signers of [[bit.keys.sign], [stranger]]) {
      expect(admit(state, createChildLink(root, bit, { aud: bot.did, signers }))).toBe('reject not_entitled');
    }
    expect(
      admit(state, createRootLink(acme, alice, { aud: bit.did, signers: [acme.keys.sign, alice.keys.delegate] })),
    ).toBe(`pending ${acme.did}`);
  });

  test('holds private links beside the set, by whichever key below the root', () => {
    const state = stateOf(everyone);
    const cnf = keyOf('ephemeral');
    const credential = createCredential(root, bit, cnf);
    const byCnf = createChildLink(credential, bit, { aud: bot.did, pri: true, signers: [cnf] });
    for (const link of [credential, byCnf]) {
      expect(admit(state, link)).toBe('accept');
      expect(state.link(link.id)).toBe(link);
      expect(state.inSet(link.id)).toBeUndefined();
    }
    const privateRoot = { aud: bit.did, pri: true, signers: [stranger, alice.keys.delegate] } as const;
    expect(admit(state, createRootLink(acme, alice, privateRoot))).toBe(`pending ${acme.did}`);
    expect(state.size).toBe(everyone.length);
  });

  test('lets a revocation wait for issuer, organisation and their keys, and not for its target or prv', () => {
    const [first, second] = createRevocations(acme, [root, bot]) as [
      Statement<'revocation/v1'>,
      Statement<'revocation/v1'>,
    ];
    const state = new MeshState();
    expect(admit(state, second)).toBe(`pending ${acme.did}`);
    admitAll(state, [acme.genesis], NOW_MS);
    expect(admit(state, second)).toBe('accept');
    const byBot = createRevocation(acme, root, { prv: first, iss: bot });
    expect(admit(state, byBot)).toBe(`pending ${bot.did}`);
    admitAll(state, [bot.genesis], NOW_MS);
    const later = createRevocation(acme, root, {
      prv: first,
      iss: bot,
      signers: [bot.keys.sign, keySet('acme 1').sign],
    });
    expect(admit(state, later)).toBe(`pending ${acme.did}`);
    admitAll(state, [rotated], NOW_MS);
    expect(admit(state, later)).toBe('accept');
    expect(admit(state, byBot)).toBe('accept');
  });

  test('rejects a revocation numbered by another organisation, or signed by no key of its issuer', () => {
    const state = stateOf(everyone);
    const foreign = createRevocation(acme, root, { iss: bit });
    expect(admit(state, foreign)).toBe('reject not_entitled');
    const forged = createRevocation(acme, root, { iss: bot, signers: [stranger, acme.keys.sign] });
    expect(admit(state, forged)).toBe('reject not_entitled');
    const unnumbered = createRevocation(acme, root, { iss: bot, signers: [bot.keys.sign, stranger] });
    expect(admit(state, unnumbered)).toBe(`pending ${acme.did}`);
  });

  test('lets a heartbeat wait for its organisation and key, and rejects one of an agent', () => {
    const state = new MeshState();
    expect(admit(state, createHeartbeat(acme))).toBe(`pending ${acme.did}`);
    admitAll(state, everyone, NOW_MS);
    expect(admit(state, createHeartbeat(acme, { signers: [stranger] }))).toBe(`pending ${acme.did}`);
    expect(admit(state, createHeartbeat(bot))).toBe('reject not_entitled');
    expect(admit(state, createHeartbeat(acme))).toBe('accept');
    expect(state.size).toBe(everyone.length); // never in the set
  });

  test('changes the revision with whatever it accepts, and with nothing else', () => {
    const state = new MeshState();
    const steps = [
      ...everyone,
      rotated,
      root,
      createRevocation(acme, root),
      createHeartbeat(beta),
      createCredential(root, bit, stranger),
    ];
    for (const statement of steps) {
      const before = state.revision;
      expect(admit(state, statement)).toBe('accept');
      expect(state.revision).toBeGreaterThan(before);
      const after = state.revision;
      expect(admit(state, statement)).toMatch(/^ignore (?:duplicate|superseded)$/);
      expect(state.revision).toBe(after);
    }
  });

  test('gives old operations served anew no say', () => {
    const [ours, theirs] = [createRotate(acme, 'ours'), createRotate(acme, 'theirs')];
    const recover = createRecover(acme, 'acme 2', { prv: ours });
    const state = stateOf([acme.genesis, ours, theirs, recover]);
    const before = formatState(state.didState(acme.did));
    for (const old of [theirs, ours, acme.genesis]) expect(admit(state, old)).toBe('ignore duplicate');
    expect(formatState(state.didState(acme.did))).toBe(before);
    expect(state.holdsOperation(acme.did, 2, recover.id)).toBe(true);
    expect(state.holdsOperation(acme.did, 1, recover.id)).toBe(false);
    expect(state.holdsOperation(beta.did, 2, recover.id)).toBe(false);
    expect(idsOf(state.operationsOf(acme.did))).toEqual(idsOf([acme.genesis, ours, theirs, recover]));
  });
});

describe('operations beyond their number', () => {
  const updates = sorted([1, 2, 3, 4, 5, 6].map((i) => createUpdate(acme, { services: [['i', `${i}`]] })));
  const [first, second, third, fourth, fifth, sixth] = updates as [
    Operation,
    Operation,
    Operation,
    Operation,
    Operation,
    Operation,
  ];
  const onFifth = createUpdate(acme, { prv: fifth });
  const awaiting = (...waiting: Statement[]) => ({ awaiting: () => waiting });

  test('yield: the four lowest of a type and number stay', () => {
    const state = stateOf([acme.genesis, third, fourth, fifth, sixth]);
    expect(evictedBy(state, first)).toEqual([sixth.id]);
    expect(evictedBy(state, second)).toEqual([fifth.id]);
    expect(admit(state, fifth)).toBe('ignore quota');
    expect(idsOf(state.operationsOf(acme.did))).toEqual(idsOf([acme.genesis, first, second, third, fourth]));
  });

  test('are counted by type: a rotate finds its place beside four updates', () => {
    expect(admit(stateOf([acme.genesis, first, second, third, fourth]), rotated)).toBe('accept');
  });

  test('stay when others build on them', () => {
    const state = stateOf([acme.genesis, fifth, onFifth]);
    for (const update of [first, second, third, fourth]) expect(evictedBy(state, update)).toEqual([]);
    expect(state.holdsOperation(acme.did, 2, onFifth.id)).toBe(true);
  });

  test('come in for what waits for them, if that has a place', () => {
    const state = stateOf([acme.genesis, first, second, third, fourth]);
    expect(admit(state, fifth)).toBe('ignore quota');
    expect(state.admit(fifth, NOW_MS, awaiting(onFifth)).verdict).toBe('accept');
    expect(admit(state, onFifth)).toBe('accept');
  });

  test('come in for what waits further down', () => {
    const state = stateOf([acme.genesis, first, second, third, fourth]);
    const rotate = createRotate(acme, 'acme 1', { prv: onFifth });
    const waiting = (id: string) =>
      [onFifth, rotate].filter(({ payload }) => 'prv' in payload && payload.prv.text === id);
    expect(state.admit(fifth, NOW_MS, { awaiting: waiting }).verdict).toBe('accept');
    expect(state.admit(onFifth, NOW_MS, { awaiting: waiting }).verdict).toBe('accept');
    expect(admit(state, rotate)).toBe('accept');
  });

  test('do not come in for what is forged, foreign or has no place either', () => {
    const limits = { operationsASeq: 1 };
    const lowerChild = sorted(
      [1, 2, 3].map((i) => createUpdate(acme, { prv: first, services: [['i', `${i}`]], iat: NOW_SECONDS })),
    )[0] as Operation;
    const state = stateOf([acme.genesis, first, lowerChild], limits);
    const forged = createUpdate(acme, { prv: fifth, signers: [stranger, acme.node] });
    const foreign = createUpdate(acme, { prv: first, services: [['foreign', '']] });
    for (const waiting of [[], [onFifth], [forged], [foreign], [root], [fifth]]) {
      expect(state.admit(fifth, NOW_MS, awaiting(...waiting))).toMatchObject({ verdict: 'ignore', code: 'quota' });
    }
    const rotate = createRotate(acme, 'acme 1', { prv: fifth });
    expect(state.admit(fifth, NOW_MS, awaiting(onFifth, rotate)).verdict).toBe('accept');
  });

  test('leave when what was built on them leaves, the whole way up', () => {
    const limits = { operationsASeq: 1 };
    const deep = createUpdate(acme, { prv: onFifth, iat: NOW_SECONDS + 60 });
    const state = stateOf([acme.genesis, fifth, onFifth, deep], limits);
    const side = [first, createUpdate(acme, { prv: first, iat: NOW_SECONDS })] as const;
    expect(evictedBy(state, side[0])).toEqual([]);
    expect(evictedBy(state, side[1])).toEqual([]);
    const last = createUpdate(acme, { prv: side[1], iat: NOW_SECONDS });
    expect(evictedBy(state, last)).toEqual(idsOf([fifth, onFifth, deep]));
  });

  test('take with them what only their keys could bring in', () => {
    const limits = { operationsASeq: 1 };
    const [kept, gone] = sorted([createRotate(acme, 'one'), createRotate(acme, 'two')]) as [Operation, Operation];
    const name =
      gone.payload.op === 'rotate' &&
      toHex(gone.payload.keys[0]?.[0] as Uint8Array) === toHex(keySet('one').sign.publicKey)
        ? 'one'
        : 'two';
    const { sign, delegate } = keySet(name);
    const agent = createAgent(acme, 'late', { controllerKey: sign });
    const link = createRootLink(acme, alice, { aud: bit.did, signers: [delegate, alice.keys.delegate] });
    const byAgent = createChildLink(link, agent, { aud: bit.did });
    const revocation = createRevocation(acme, bot, { signers: [sign] });
    const byBot = createRevocation(acme, root, { prv: revocation, iss: bot, signers: [bot.keys.sign, sign] });
    const after = createRevocation(acme, root, { prv: revocation });
    const stay = [...everyone, root, after];
    const state = stateOf([...stay, gone, agent.genesis, link, byAgent, revocation, byBot], limits);
    expect(evictedBy(state, kept)).toEqual(idsOf([gone, agent.genesis, link, byAgent, revocation, byBot]));
    expect(idsOf(state.statements())).toEqual(idsOf([...stay, kept]));
    expect(state.revocationsOf({ did: bot.did })).toEqual([]);
    expect(admit(state, link)).toBe(`pending ${acme.did}`);
  });
});

describe('DIDs beyond their number', () => {
  const limits = { didsPerOrganisation: 3 };
  const agents = sorted([1, 2, 3, 4].map((i) => createAgent(acme, `agent ${i}`).genesis));
  const [first, second, third, fourth] = agents as [Operation, Operation, Operation, Operation];

  test('yield: the lowest stay, and the organisation always', () => {
    const state = stateOf([acme.genesis, third, fourth], limits);
    expect(evictedBy(state, first)).toEqual([fourth.id]);
    expect(evictedBy(state, second)).toEqual([third.id]);
    expect(admit(state, fourth)).toBe('ignore quota');
    expect(idsOf(state.statements())).toEqual(idsOf([acme.genesis, first, second]));
    expect(stateOf([acme.genesis, beta.genesis, bob.genesis, bit.genesis, first, second], limits).size).toBe(6);
  });

  test('yield first when the key that signed for them is dead', () => {
    const late = sorted(
      [1, 2, 3].map(
        (i) => createAgent(acme, `late ${i}`, { controllerKey: keySet('acme 1').sign, iat: NOW_SECONDS + 60 }).genesis,
      ),
    ) as [Operation, Operation, Operation];
    const rotate = createRotate(acme, 'acme 1', { retire: [[acme.keys.sign, null]], iat: NOW_SECONDS });
    const state = stateOf([acme.genesis, first, second, rotate], limits);
    expect(evictedBy(state, late[1])).toEqual([second.id]);
    expect(evictedBy(state, late[2])).toEqual([first.id]);
    expect(evictedBy(state, late[0])).toEqual([late[2].id]);
    expect(admit(state, first)).toBe('ignore quota');
  });

  test('leave with their log and with all that needs it', () => {
    const person = createPerson(acme, 'late person', { iat: NOW_SECONDS + 60 });
    const update = createUpdate(person, { services: [['a', 'b']] });
    const link = createRootLink(acme, person, { aud: bit.did });
    const onward = createChildLink(link, bit, { aud: bot.did });
    const revocation = createRevocation(acme, link, { iss: person });
    const before = [acme.genesis, first, beta.genesis, bit.genesis];
    const state = stateOf([...before, person.genesis, update, link, onward, revocation], limits);
    expect(evictedBy(state, second)).toEqual(idsOf([person.genesis, update, link, onward, revocation]));
    expect(idsOf(state.statements())).toEqual(idsOf([...before, second]));
    expect(state.didState(person.did)).toBeUndefined();
    expect(idsOf(state.statementsOf(acme.did))).toEqual(idsOf([acme.genesis, first, second]));
    expect(idsOf(state.statementsOf(beta.did))).toEqual(idsOf([beta.genesis, bit.genesis]));
    expect(admit(state, update)).toBe(`pending ${person.did}`);
  });
});

describe('links beyond their number', () => {
  const limits = { linksPerOrganisation: 2 };
  const links = sorted([1, 2, 3, 4].map((i) => createRootLink(acme, alice, { aud: bit.did, nonce: `${i}` })));
  const [first, second, third, fourth] = links as [Statement, Statement, Statement, Statement];

  test('yield: the lowest of an organisation stay', () => {
    const state = stateOf([...everyone, third, fourth, createChildLink(root, bit, { aud: bot.did })], limits);
    expect(evictedBy(state, first)).toEqual([fourth.id]);
    expect(evictedBy(state, second)).toEqual([third.id]);
    expect(admit(state, fourth)).toBe('ignore quota');
    expect(state.link(fourth.id)).toBeUndefined();
  });

  test('are of the earliest minute first, whatever their ids', () => {
    const early = createRootLink(acme, alice, { aud: bit.did, iat: NOW_SECONDS - 60 });
    const state = stateOf([...everyone, first, second], limits);
    expect(evictedBy(state, early)).toEqual([second.id]);
  });

  test('yield first when signed by a key that is dead, kept links included', () => {
    const state = stateOf([...everyone, first, second], limits);
    const rotate = createRotate(acme, 'acme 1', { retire: [[acme.keys.delegate, null]], iat: NOW_SECONDS });
    const late = createRootLink(acme, alice, {
      aud: bit.did,
      iat: NOW_SECONDS + 60,
      signers: [keySet('acme 1').delegate, alice.keys.delegate],
    });
    expect(admit(state, late)).toBe(`pending ${acme.did}`);
    expect(evictedBy(state, rotate)).toEqual([]); // nothing leaves before the place is wanted
    expect(evictedBy(state, late)).toEqual([second.id]);
    expect(admit(state, second)).toBe('ignore quota');
  });

  test('do not count when private', () => {
    const state = stateOf([...everyone, first, second], limits);
    const hidden = createRootLink(acme, alice, { aud: bit.did, pri: true });
    expect(evictedBy(state, hidden)).toEqual([]);
  });
});

describe('revocations', () => {
  const links = [1, 2, 3, 4, 5, 6, 7].map((i) => createRootLink(acme, alice, { aud: bit.did, nonce: `${i}` }));
  type Revocation = Statement<'revocation/v1'>;
  const numbered = createRevocations(acme, links) as [
    Revocation,
    Revocation,
    Revocation,
    Revocation,
    Revocation,
    Revocation,
    Revocation,
  ];
  const [r1, r2, r3, r4] = numbered;
  const isRevoked = (state: MeshState, { id }: Statement): boolean => state.revocationsOf({ link: id }).length > 0;

  test('are found by exactly their target', () => {
    const key = bot.keys.sign;
    const [byLink, byDid, byKey] = createRevocations(acme, [root, bot, { of: bot, key }]);
    const state = stateOf([...everyone, byLink, byDid, byKey] as Statement[]);
    expect(state.revocationsOf({ link: root.id })).toEqual([byLink]);
    expect(state.revocationsOf({ did: bot.did })).toEqual([byDid]);
    expect(state.revocationsOf({ did: bot.did, key: key.publicKey })).toEqual([byKey]);
    expect(state.revocationsOf({ did: bot.did, key: bot.keys.auth.publicKey })).toEqual([]);
    expect(state.revocationsOf({ did: acme.did })).toEqual([]);
    expect(state.revocationsOf({ link: acme.genesis.id })).toEqual([]);
  });

  test("of one target come in one order, whichever came first, strangers' included", () => {
    const all = sorted([
      createRevocation(acme, root),
      createRevocation(acme, root, { rsn: 'again' }),
      createRevocation(beta, root),
    ]);
    for (const order of [all, all.toReversed()]) {
      expect(stateOf([...everyone, ...order]).revocationsOf({ link: root.id })).toEqual(all);
    }
  });

  test('of named issuers alone are found among all those of strangers', () => {
    const [ours, theirs] = [createRevocation(acme, root), createRevocation(beta, root)];
    const state = stateOf([...everyone, ours, theirs]);
    const target = { link: root.id };
    expect(state.revocationsOf(target, [acme.did, acme.did, bob.did])).toEqual([ours]);
    expect(state.revocationsOf(target, [beta.did, acme.did])).toEqual(sorted([ours, theirs]));
    expect(state.revocationsOf(target, [])).toEqual([]);
  });

  test('are complete when each follows the one before, down to number 1', () => {
    const state = stateOf([...everyone, r1, r3, r4]);
    expect(state.holdsRevocations(acme.did, 0, null)).toBe(true);
    expect(state.holdsRevocations(acme.did, 1, r1.id)).toBe(true);
    expect(state.holdsRevocations(acme.did, 3, r3.id)).toBe(false);
    expect(state.holdsRevocations(acme.did, 4, r4.id)).toBe(false);
    expect(state.holdsRevocations(acme.did, 2, r2.id)).toBe(false);
    expect(admit(state, r2)).toBe('accept');
    for (const [i, { id }] of [r1, r2, r3, r4].entries())
      expect(state.holdsRevocations(acme.did, i + 1, id)).toBe(true);
    expect(state.holdsRevocations(acme.did, 3, r4.id)).toBe(false);
    expect(state.holdsRevocations(acme.did, 1, null)).toBe(false);
    expect(state.holdsRevocations(beta.did, 4, r4.id)).toBe(false);
    expect(state.holdsRevocations(acme.did, 1, root.id)).toBe(false);
    expect(state.revocationsBy(acme.did)).toEqual([r1, r2, r3, r4]);
  });

  test('are not complete where a number was left out or given twice along the way', () => {
    const skipping = createRevocation(acme, bot, { prv: r1, seq: 3 });
    const repeating = createRevocation(acme, bot, { prv: r2, seq: 2 });
    const state = stateOf([...everyone, r1, r2, skipping, repeating]);
    expect(state.holdsRevocations(acme.did, 3, skipping.id)).toBe(false);
    expect(state.holdsRevocations(acme.did, 2, repeating.id)).toBe(false);
  });

  test('of two histories are each complete, and both apply', () => {
    const other = createRevocation(acme, bot, { prv: r1 });
    const state = stateOf([...everyone, r1, r2, other]);
    expect(state.holdsRevocations(acme.did, 2, r2.id)).toBe(true);
    expect(state.holdsRevocations(acme.did, 2, other.id)).toBe(true);
    expect(state.revocationsOf({ did: bot.did })).toEqual([other]);
    expect(statusOf(state, acme)).toBe('active');
  });

  test('of a thief do not count once the key is dead, and the genuine ones stay', () => {
    const [onGenuine, besideGenuine] = [
      createRevocation(acme, bot, { prv: r2, rsn: 'stolen' }),
      createRevocation(acme, bot, { prv: r1, rsn: 'stolen' }),
    ];
    const state = stateOf([...everyone, ...links, r1, r2, onGenuine, besideGenuine]);
    expect(state.revocationsOf({ did: bot.did })).toHaveLength(2);
    expect(
      admit(state, createRotate(acme, 'acme 1', { rhead: r2, retire: [[acme.keys.sign, null]], iat: NOW_SECONDS })),
    ).toBe('accept');
    expect(state.revocationsOf({ did: bot.did })).toEqual([]);
    expect([links[0], links[1]].every((link) => isRevoked(state, link as Statement))).toBe(true);
    // What the thief signs later is held, and counts as little.
    const more = createRevocation(acme, alice, { prv: onGenuine });
    expect(admit(state, more)).toBe('accept');
    expect(state.revocationsOf({ did: alice.did })).toEqual([]);
    expect(state.holdsRevocations(acme.did, 4, more.id)).toBe(true);
    // The owner goes on with the new key.
    const next = createRevocation(acme, beta, { prv: r2, signers: [keySet('acme 1').sign] });
    expect(admit(state, next)).toBe('accept');
    expect(state.revocationsOf({ did: beta.did })).toEqual([next]);
  });

  test('of a dead key count as they arrive, each when all up to the head that its owner stood by are there', () => {
    const rotate = createRotate(acme, 'acme 1', { rhead: r4, iat: NOW_SECONDS });
    const state = stateOf([...everyone, ...links, rotate, r1, r2]);
    expect(isRevoked(state, links[0] as Statement)).toBe(false);
    expect(admit(state, r4)).toBe('accept');
    expect(isRevoked(state, links[3] as Statement)).toBe(true);
    expect(isRevoked(state, links[1] as Statement)).toBe(false);
    expect(admit(state, r3)).toBe('accept');
    for (const link of links.slice(0, 4)) expect(isRevoked(state, link)).toBe(true);
    expect(admit(state, numbered[4])).toBe('accept'); // beyond the head
    expect(isRevoked(state, links[4] as Statement)).toBe(false);
  });

  test('of a dead key count up to the number stood by, and only while numbers fall along the way', () => {
    const tooFew = createRotate(acme, 'acme 1', { rhead: r3, rseq: 2, iat: NOW_SECONDS });
    const state = stateOf([...everyone, ...links, r1, r2, r3, tooFew]);
    expect([0, 1, 2].map((i) => isRevoked(state, links[i] as Statement))).toEqual([false, false, false]);
    const rising = createRevocation(acme, bot, { prv: r3, seq: 2 });
    const odd = createRotate(acme, 'acme 1', { rhead: rising, rseq: 5, iat: NOW_SECONDS });
    const other = stateOf([...everyone, ...links, r1, r2, r3, rising, odd]);
    expect(other.revocationsOf({ did: bot.did })).toEqual([rising]);
    expect([0, 1, 2].map((i) => isRevoked(other, links[i] as Statement))).toEqual([false, false, false]);
  });

  test('of a key dead with no head stood by count not at all', () => {
    const state = stateOf([...everyone, ...links, r1, r2, createRotate(acme, 'acme 1', { iat: NOW_SECONDS })]);
    expect(links.some((link) => isRevoked(state, link))).toBe(false);
  });

  test('of a key in grace count, whenever numbered', () => {
    const grace = createRotate(acme, 'acme 1', {
      retire: [[acme.keys.sign, NOW_SECONDS - 1]],
      rhead: r1,
      iat: NOW_SECONDS,
    });
    const state = stateOf([...everyone, ...links, grace, r1, r2]);
    expect([links[0], links[1]].every((link) => isRevoked(state, link as Statement))).toBe(true);
  });

  test("of a dead issuer's key count all the same: the organisation numbered them", () => {
    const byAlice = createRevocation(acme, root, { iss: alice });
    const state = stateOf([...everyone, byAlice, createRotate(alice, 'alice 1', { iat: NOW_SECONDS })]);
    expect(state.revocationsOf({ link: root.id })).toEqual([byAlice]);
  });

  test('stay in force while their organisation is frozen or deactivated', () => {
    const forked = [
      createRotate(acme, 'ours', { iat: NOW_SECONDS }),
      createRotate(acme, 'theirs', { iat: NOW_SECONDS }),
    ];
    for (const end of [forked, [createDeactivate(acme, { iat: NOW_SECONDS })]]) {
      const state = stateOf([...everyone, ...links, r1, ...end]);
      expect(statusOf(state, acme)).not.toBe('active');
      expect(isRevoked(state, links[0] as Statement)).toBe(true);
    }
  });

  const rivals = sorted(links.slice(0, 6).map((link) => createRevocation(acme, link, { prv: r1, rsn: 'rival' })));

  test('freeze their organisation when a fifth claims one number, until a recover retires the key', () => {
    const state = stateOf([...everyone, r1, ...rivals.slice(0, 4)]);
    expect(statusOf(state, acme)).toBe('active');
    expect(admit(state, rivals[4] as Statement)).toBe('accept');
    expect(statusOf(state, acme)).toBe('frozen');
    expect(statusOf(state, bot)).toBe('active'); // its organisation is asked at use
    for (const { payload } of rivals.slice(0, 5))
      expect(state.revocationsOf({ link: payload.tgt.link?.text ?? '' })).not.toEqual([]);
    const recover = createRecover(acme, 'acme 1', { rhead: rivals[3] as Statement, iat: NOW_SECONDS });
    expect(admit(state, recover)).toBe('accept');
    expect(statusOf(state, acme)).toBe('active');
    const counting = rivals.filter(({ id, payload }) => {
      const target = { link: payload.tgt.link?.text ?? '' };
      return state.revocationsOf(target).some((revocation) => revocation.id === id);
    });
    expect(counting).toEqual([rivals[3]]);
  });

  test('stay frozen after a recover that keeps the key, or gives it grace', () => {
    const five = [...everyone, r1, ...rivals.slice(0, 5)];
    const keys = [...keySet('acme 1').listed, [acme.keys.sign.publicKey, ['sign']] as const];
    expect(statusOf(stateOf([...five, createRecover(acme, 'acme 1', { keys, iat: NOW_SECONDS })]), acme)).toBe(
      'frozen',
    );
    const grace = createRecover(acme, 'acme 1', { retire: [[acme.keys.sign, NOW_SECONDS + 60]], iat: NOW_SECONDS });
    expect(statusOf(stateOf([...five, grace]), acme)).toBe('frozen');
  });

  test('beyond the fifth for one number yield: the lowest stay', () => {
    const state = stateOf([...everyone, r1, ...rivals.slice(1, 6)]);
    expect(statusOf(state, acme)).toBe('frozen');
    expect(evictedBy(state, rivals[0] as Statement)).toEqual([rivals[5]?.id]);
    expect(admit(state, rivals[5] as Statement)).toBe('ignore superseded');
    expect(state.revocationsBy(acme.did)).toHaveLength(6);
  });

  test('that count stay, whatever a thief puts below them', () => {
    const genuine = createRevocation(acme, bot, { prv: r1, iat: NOW_SECONDS + 60 });
    const after = createRevocation(acme, alice, { prv: genuine, iat: NOW_SECONDS + 60 });
    const state = stateOf([...everyone, r1, ...rivals.slice(0, 5)]);
    expect(admit(state, genuine)).toBe('ignore superseded');
    const recover = createRecover(acme, 'acme 1', { rhead: after, iat: NOW_SECONDS });
    for (const statement of [recover, after]) expect(admit(state, statement)).toBe('accept');
    expect(evictedBy(state, genuine)).toEqual([rivals[4]?.id]);
    expect(state.revocationsOf({ did: bot.did })).toEqual([genuine]);
    expect(state.holdsRevocations(acme.did, 3, after.id)).toBe(true);
    expect(statusOf(state, acme)).toBe('active');
    expect(admit(state, rivals[4] as Statement)).toBe('ignore superseded');
  });

  test('freeze their organisation whichever number is crowded last', () => {
    const stolen = [1, 2, 3, 4, 5].map((i) => createRevocation(acme, bot, { rsn: `${i}` }));
    const rotate = createRotate(acme, 'acme 1');
    const signers = [keySet('acme 1').sign];
    const state = stateOf([...everyone, ...stolen, rotate]);
    for (const [i, link] of links.slice(0, 5).entries()) {
      expect(statusOf(state, acme)).toBe('active'); // five claim number 1, and none of them counts
      expect(admit(state, createRevocation(acme, link, { prv: r1, signers, rsn: `${i}` }))).toBe('accept');
    }
    expect(statusOf(state, acme)).toBe('frozen');
  });

  test('below one that left its place stop counting with it, where only that led to them', () => {
    const rotate = createRotate(acme, 'acme 1', { rhead: r4 });
    const state = stateOf([...everyone, ...links, r1, r2, r3, r4, rotate]);
    const signers = [keySet('acme 1').sign];
    const rivalsOfThird = [1, 2, 3, 4, 5].map((i) =>
      createRevocation(acme, bot, { prv: r2, iat: NOW_SECONDS - 60, rsn: `${i}`, signers }),
    );
    for (const rival of rivalsOfThird) {
      expect([0, 1, 2, 3].map((i) => isRevoked(state, links[i] as Statement))).toEqual([true, true, true, true]);
      expect(admit(state, rival)).toBe('accept');
    }
    expect(state.get(r3.id)).toBeUndefined();
    expect([0, 1, 2, 3].map((i) => isRevoked(state, links[i] as Statement))).toEqual([false, false, false, true]);
  });

  test('that left are missed by those that followed', () => {
    const low = createRevocation(acme, bot, { iat: NOW_SECONDS - 60, rsn: 'low' });
    const firsts = sorted([r1, ...[1, 2, 3, 4].map((i) => createRevocation(acme, root, { rsn: `${i}` }))]);
    const highest = firsts.at(-1) as Revocation;
    const onHighest = createRevocation(acme, alice, { prv: highest });
    const state = stateOf([...everyone, ...firsts, onHighest]);
    expect(state.holdsRevocations(acme.did, 2, onHighest.id)).toBe(true);
    expect(evictedBy(state, low)).toEqual([highest.id]);
    expect(state.holdsRevocations(acme.did, 2, onHighest.id)).toBe(false);
    expect(state.revocationsOf({ did: alice.did })).toEqual([onHighest]);
  });
});

describe('heartbeats', () => {
  const beatOf = (state: MeshState, nowMs = NOW_MS) => state.heartbeatsOf(acme.did, nowMs);

  test('the newest handed on is held, and of one second the lowest id', () => {
    const state = stateOf(everyone);
    const [low, high] = sorted([
      createHeartbeat(acme, { iat: NOW_SECONDS }),
      createHeartbeat(acme, { iat: NOW_SECONDS, nonce: new Uint8Array(16) }),
    ]) as [Statement, Statement];
    expect(beatOf(state)).toEqual([]);
    expect(admit(state, high)).toBe('accept');
    expect(admit(state, low)).toBe('accept');
    expect(admit(state, high)).toBe('ignore superseded');
    expect(admit(state, createHeartbeat(acme, { iat: NOW_SECONDS - 1 }))).toBe('ignore superseded');
    expect(beatOf(state)).toEqual([{ statement: low, askedMs: undefined }]);
    const newer = createHeartbeat(acme, { iat: NOW_SECONDS + 1 });
    expect(admit(state, newer)).toBe('accept');
    expect(beatOf(state)).toEqual([{ statement: newer, askedMs: undefined }]);
    expect(state.heartbeatsOf(beta.did, NOW_MS)).toEqual([]);
  });

  test('the answer to the latest own question is held beside it', () => {
    const state = stateOf(everyone);
    const answer = createHeartbeat(acme, { iat: NOW_SECONDS - 30, nonce: new Uint8Array(16) });
    const stapled = createHeartbeat(acme, { iat: NOW_SECONDS });
    expect(admit(state, stapled)).toBe('accept');
    expect(state.admit(answer, NOW_MS, { askedMs: NOW_MS - 5 }).verdict).toBe('accept');
    const held = [
      { statement: answer, askedMs: NOW_MS - 5 },
      { statement: stapled, askedMs: undefined },
    ];
    expect(beatOf(state)).toEqual(held);
    const earlier = createHeartbeat(acme, { iat: NOW_SECONDS - 40, nonce: new Uint8Array(16).fill(1) });
    expect(state.admit(earlier, NOW_MS, { askedMs: NOW_MS - 9 })).toMatchObject({
      verdict: 'ignore',
      code: 'superseded',
    });
    expect(beatOf(state)).toEqual(held);
    expect(state.admit(earlier, NOW_MS, { askedMs: NOW_MS - 1 }).verdict).toBe('accept');
    expect(beatOf(state)[0]).toEqual({ statement: earlier, askedMs: NOW_MS - 1 });
  });

  test('count by a key in grace until that ends', () => {
    const grace = createRotate(acme, 'acme 1', { retire: [[acme.keys.sign, NOW_SECONDS + 10]], iat: NOW_SECONDS });
    const state = stateOf([...everyone, grace]);
    const beat = createHeartbeat(acme);
    expect(admit(state, beat)).toBe('accept');
    expect(beatOf(state, NOW_MS + 10_000)).toHaveLength(1);
    expect(beatOf(state, NOW_MS + 10_001)).toEqual([]);
  });

  test('of a key that dies count no more', () => {
    const state = stateOf([...everyone, createHeartbeat(acme)]);
    expect(beatOf(state)).toHaveLength(1);
    admitAll(state, [createRotate(acme, 'acme 1', { iat: NOW_SECONDS })], NOW_MS);
    expect(beatOf(state)).toEqual([]);
  });

  test('of a thief with a retired key keep out none of the genuine', () => {
    const [theirs, late] = [
      createHeartbeat(acme, { iat: NOW_SECONDS + 50 }),
      createHeartbeat(acme, { iat: NOW_SECONDS + 60 }),
    ];
    const state = stateOf([...everyone, theirs]);
    state.admit(theirs, NOW_MS, { askedMs: NOW_MS + 50 });
    admitAll(state, [createRotate(acme, 'acme 1', { iat: NOW_SECONDS })], NOW_MS);
    const ours = createHeartbeat(acme, { iat: NOW_SECONDS, signers: [keySet('acme 1').sign] });
    expect(state.admit(ours, NOW_MS, { askedMs: NOW_MS }).verdict).toBe('accept');
    expect(admit(state, late)).toBe('ignore superseded');
    expect(state.admit(late, NOW_MS, { askedMs: NOW_MS + 60 }).verdict).toBe('ignore');
    expect(beatOf(state).map(({ statement }) => statement)).toEqual([ours, ours]);
  });

  test('by a key of another use do not come in', () => {
    const state = stateOf(everyone);
    expect(admit(state, createHeartbeat(acme, { signers: [acme.keys.auth] }))).toBe(`pending ${acme.did}`);
  });
});

describe('expire()', () => {
  const short = createRootLink(acme, alice, { aud: bit.did, exp: NOW_SECONDS + 90 });
  const hidden = createCredential(root, bit, keyOf('ephemeral'));
  const [ends, hiddenEnds] = [NOW_MS + 90_000 + 3_600_000, NOW_MS + 900_000 + 3_600_000];

  test('takes out links an hour after they expired, private ones too, and nothing else', () => {
    const all = [
      ...everyone,
      root,
      short,
      hidden,
      createRevocation(acme, short),
      createUpdate(acme, { iat: NOW_SECONDS }),
    ];
    const state = stateOf(all);
    expect(state.expire(ends - 1)).toEqual([]);
    expect(state.expire(ends)).toEqual([short]);
    expect(state.link(short.id)).toBeUndefined();
    expect(state.expire(ends)).toEqual([]);
    expect(state.link(hidden.id)).toBe(hidden);
    expect(state.expire(hiddenEnds)).toEqual([hidden]);
    expect([...state.links()]).toEqual([root]);
    expect(state.expire(NOW_MS + 10 * 86_400_000)).toEqual([root]);
    expect(state.size).toBe(all.length - 3);
    expect(state.revocationsOf({ link: short.id })).toHaveLength(1);
    expect(admit(state, short, ends)).toBe('ignore expired');
  });

  test('changes the revision, and makes room', () => {
    const state = stateOf([...everyone, short], { linksPerOrganisation: 1 });
    expect(admit(state, createRootLink(acme, alice, { aud: bit.did, iat: NOW_SECONDS + 60 }))).toBe('ignore quota');
    const before = state.revision;
    state.expire(ends);
    expect(state.revision).toBeGreaterThan(before);
    expect(admit(state, createRootLink(acme, alice, { aud: bit.did, iat: NOW_SECONDS + 60 }), ends)).toBe('accept');
  });
});

describe('the links that a revocation may hit', () => {
  const child = createChildLink(root, bit, { aud: bot.did });
  const grandchild = createChildLink(child, bot, { aud: bit.did });
  const other = createRootLink(acme, alice, { aud: bot.did });

  test('are a link and all that continue it', () => {
    const state = stateOf([...everyone, root, child, grandchild, other]);
    expect(idsOf(state.linksAround({ link: child.id }))).toEqual(idsOf([child, grandchild]));
    expect(idsOf(state.linksAround({ link: acme.genesis.id }))).toEqual([]);
    expect(idsOf(state.linksTo(bot.did))).toEqual(idsOf([child, other]));
  });

  test('are those from, by and to a DID, and all that continue them', () => {
    const state = stateOf([...everyone, root, child, grandchild, other]);
    expect(idsOf(state.linksAround({ did: bot.did }))).toEqual(idsOf([child, grandchild, other]));
    expect(idsOf(state.linksAround({ did: alice.did }))).toEqual(idsOf([root, child, grandchild, other]));
  });
});

describe('viewOfStatements()', () => {
  const options = { isSignatureValid: isSignatureValidSodium, nowMs: NOW_MS };
  const child = createChildLink(root, bit, { aud: bot.did });
  const later = createUpdate(acme, { prv: rotated, signers: [keySet('acme 1').sign, acme.node], iat: NOW_SECONDS });
  const set = [later, child, root, rotated, ...everyone.toReversed()];

  test('makes of envelopes in whatever order the state that they make in the best', () => {
    const view = viewOfStatements(
      set.map(({ envelope }) => envelope),
      options,
    );
    expect(idsOf(view.statements())).toEqual(idsOf(set));
    expect(view.didState(acme.did)?.head).toBe(later.id);
  });

  test('leaves out what is refused, and keeps what can be judged without it', () => {
    const forged = createChildLink(root, bit, { aud: bot.did, signers: [bit.keys.sign] });
    const orphan = createRevocation(createOrganisation('unknown'), root);
    const view = viewOfStatements(
      [forged, orphan, ...set].map(({ envelope }) => envelope),
      options,
    );
    expect(idsOf(view.statements())).toEqual(idsOf(set));
  });

  test('wants every signature', () => {
    const envelope = Uint8Array.from(root.envelope);
    envelope[envelope.length - 1] = (envelope.at(-1) ?? 0) ^ 1;
    expect(() => viewOfStatements([...everyone.map((statement) => statement.envelope), envelope], options)).toThrow(
      expect.objectContaining({ code: 'bad_signature' }),
    );
  });
});
