import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  controllerKeyOf,
  DidLog,
  genesisPath,
  type PathState,
  successorPath,
} from '../../../protocol/identity/did-state.ts';
import {
  compareBytes,
  type DidState,
  digestOf,
  type Genesis,
  type KeyStanding,
  type KeyUse,
  MeshError,
  type SuccessorOperation,
  toHex,
} from '../../../protocol/index.ts';
import {
  createAgent,
  createDeactivate,
  createOrganisation,
  createPerson,
  createRecover,
  createRevocations,
  createRootLink,
  createRotate,
  createUpdate,
  type Identity,
  keyOf,
  keySet,
  NOW_SECONDS,
  type Operation,
  type TestKey,
} from '../../builders.ts';
import { formatState, growHistory, steps } from '../state/histories.ts';

const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const bot = createAgent(acme, 'bot');
const stranger = keyOf('stranger');
const genesis = genesisPath(acme.genesis);

const codeOf = (attempt: () => unknown): string => {
  try {
    attempt();
  } catch (error) {
    if (error instanceof MeshError) return error.code;
    throw error;
  }
  return 'none';
};

const reads = new Set<string>();

/** As the door does: an operation waits until its prv is there. */
function logOf(operations: readonly Operation[]): DidLog {
  const first = operations.find(({ payload }) => payload.op === 'genesis') as Operation;
  const log = new DidLog(first);
  let open = operations.filter((operation) => operation !== first);
  while (open.length > 0) {
    const waiting = open.filter((operation) => {
      const prv = log.path((operation.payload as SuccessorOperation).prv.text);
      if (prv !== undefined) log.add(operation, successorPath(operation, prv));
      reads.add(log.state.head); // so that a state kept from before would be noticed
      return prv === undefined;
    });
    if (waiting.length === open.length) throw new Error('Cannot build a log: an operation lacks its prv');
    open = waiting;
  }
  return log;
}
const stateOf = (...operations: Operation[]): DidState => logOf(operations).state;
const pathAfter = (...operations: Operation[]): PathState =>
  operations.reduce((path, operation) => successorPath(operation, path), genesis);

const standingOf = (state: DidState, key: TestKey): KeyStanding | undefined => state.listed.get(toHex(key.publicKey));
const lowestOf = (...operations: Operation[]): Operation =>
  operations.toSorted((a, b) => compareBytes(a.digest, b.digest))[0] as Operation;

describe('genesisPath()', () => {
  test('takes an organisation signed by its own sign key and by every PeerId it lists', () => {
    expect(genesis).toMatchObject({ did: acme.did, kind: 'org', ctl: undefined, seq: 0, deactivated: false });
    expect(genesis.peers).toEqual([acme.node.peerId]);
  });

  test('takes an agent and a person signed by their own sign key, then by the organisation', () => {
    expect(genesisPath(bot.genesis)).toMatchObject({ did: bot.did, kind: 'agent', ctl: acme.did });
    expect(genesisPath(alice.genesis)).toMatchObject({ did: alice.did, kind: 'person', ctl: acme.did });
    expect(controllerKeyOf(bot.genesis.payload as Genesis)).toEqual(acme.keys.sign.publicKey);
  });

  test('takes an organisation with several PeerIds, and with none', () => {
    const nodes = [keyOf('node b'), keyOf('node a')];
    const peer = nodes.map(({ peerId }) => peerId);
    const both = createOrganisation('both', { fields: { peer }, signers: [keySet('both').sign, ...nodes] });
    expect(genesisPath(both.genesis).peers).toEqual(peer);
    const none = createOrganisation('none', { fields: { peer: [] }, signers: [keySet('none').sign] });
    expect(genesisPath(none.genesis).peers).toEqual([]);
  });

  const { sign, auth, delegate } = acme.keys;
  const { node } = acme;
  test.each<[string, TestKey[]]>([
    ['a listed key of another use', [auth, node]],
    ['another listed key of another use', [delegate, node]],
    ['a key that it does not list', [stranger, node]],
    ['its sign key, but not the PeerId', [sign]],
    ['its sign key and another PeerId', [sign, stranger]],
    ['the PeerId before its sign key', [node, sign]],
    ['one signer more than are named', [sign, node, stranger]],
    ['the PeerId alone', [node]],
  ])('refuses an organisation signed by %s', (_, signers) => {
    expect(codeOf(() => genesisPath(createOrganisation('acme', { signers }).genesis))).toBe('not_entitled');
  });

  test('refuses PeerIds that signed in another order, or of which one did not sign', () => {
    const [a, b] = [keyOf('node a'), keyOf('node b')];
    const fields = { peer: [a.peerId, b.peerId] };
    for (const nodes of [[b, a], [a], [b]]) {
      const { genesis: wrong } = createOrganisation('acme', { fields, signers: [sign, ...nodes] });
      expect(codeOf(() => genesisPath(wrong))).toBe('not_entitled');
    }
    const { genesis: right } = createOrganisation('acme', { fields, signers: [sign, a, b] });
    expect(codeOf(() => genesisPath(right))).toBe('none');
  });

  test('refuses an agent that its organisation did not sign, or that someone else signed too', () => {
    const alone = createAgent(acme, 'alone', { signers: [keySet('alone').sign] }).genesis;
    expect(codeOf(() => controllerKeyOf(alone.payload as Genesis))).toBe('not_entitled');
    const crowd = createAgent(acme, 'crowd', { signers: [keySet('crowd').sign, sign, stranger] }).genesis;
    expect(codeOf(() => genesisPath(crowd))).toBe('not_entitled');
    const swapped = createAgent(acme, 'swapped', { signers: [sign, keySet('swapped').sign] }).genesis;
    expect(codeOf(() => genesisPath(swapped))).toBe('not_entitled');
  });

  test('never sees an organisation with a ctl, an agent or person without one, or PeerIds of either', () => {
    const peer = [node.peerId];
    expect(codeOf(() => createOrganisation('acme', { fields: { ctl: alice.did } }))).toBe('schema');
    expect(codeOf(() => createOrganisation('acme', { fields: { kind: 'agent' } }))).toBe('schema');
    expect(codeOf(() => createAgent(acme, 'bot', { fields: { kind: 'org' } }))).toBe('schema');
    for (const create of [createAgent, createPerson]) {
      expect(codeOf(() => create(acme, 'bot', { fields: { peer } }))).toBe('schema');
    }
  });
});

describe('successorPath()', () => {
  test('wants the DID, the next number and a prv that ends nothing', () => {
    const rotate = createRotate(acme, 'acme 1');
    expect(successorPath(rotate, genesis)).toMatchObject({ did: acme.did, seq: 1 });
    expect(codeOf(() => successorPath(rotate, genesisPath(createOrganisation('beta').genesis)))).toBe('not_entitled');
    for (const seq of [2, 255]) expect(codeOf(() => pathAfter(createRotate(acme, 'x', { seq })))).toBe('not_entitled');
    const again = createRotate(acme, 'acme 1', { prv: rotate, seq: 1, signers: [keyOf('acme 1 next')] });
    expect(codeOf(() => pathAfter(rotate, again))).toBe('not_entitled');
  });

  test('numbers end at 255', () => {
    expect(codeOf(() => createUpdate(acme, { seq: 255 }))).toBe('none');
    expect(codeOf(() => createUpdate(acme, { seq: 256 }))).toBe('schema');
  });

  const four = [1, 2, 3, 4].map((i) => keyOf(`four next ${i}`)) as [TestKey, TestKey, TestKey, TestKey];
  const twoOfFour = createOrganisation('two of four', {
    fields: { nxt: four.map(({ publicKey }) => digestOf(publicKey)), nthr: 2 },
  });
  test.each<[string, TestKey[], string]>([
    ['as many as wanted', [four[0], four[1]], 'none'],
    ['others as many', [four[3], four[2]], 'none'],
    ['more than wanted', four, 'none'],
    ['one too few', [four[0]], 'not_entitled'],
    ['enough and a stranger', [four[0], four[1], stranger], 'not_entitled'],
    ['one and a stranger', [four[0], stranger], 'not_entitled'],
    ['current keys', [twoOfFour.keys.sign, twoOfFour.keys.auth], 'not_entitled'],
    ['recovery keys', [...twoOfFour.recovery], 'not_entitled'],
    ['one key twice', [four[0], four[0]], 'schema'],
  ])('a rotate that reveals %s of two of four', (_, signers, code) => {
    const attempt = () =>
      successorPath(createRotate(twoOfFour, 'rotated', { signers }), genesisPath(twoOfFour.genesis));
    expect(codeOf(attempt)).toBe(code);
  });

  test('a rotate changes keys and next keys, and leaves PeerIds, services and recovery keys', () => {
    const update = createUpdate(acme, { services: [['libp2p', '/ip4/127.0.0.1/tcp/1']] });
    const before = pathAfter(update);
    const after = pathAfter(update, createRotate(acme, 'acme 1', { prv: update }));
    expect(after).toEqual({
      ...before,
      seq: 2,
      keys: keySet('acme 1').listed,
      nxt: [digestOf(keyOf('acme 1 next').publicKey)],
    });
  });

  test('rotation keys are good for one rotate along a path', () => {
    const first = createRotate(acme, 'acme 1');
    const second = createRotate(acme, 'acme 2', { prv: first, signers: [keyOf('acme 1 next')] });
    expect(pathAfter(first, second).seq).toBe(2);
    const reused = createRotate(acme, 'acme 2', { prv: first });
    expect(codeOf(() => pathAfter(first, reused))).toBe('not_entitled');
  });

  test('a DID that committed to no keys never rotates and never recovers', () => {
    const path = genesisPath(bot.genesis);
    expect(codeOf(() => successorPath(createRotate(bot, 'bot 1'), path))).toBe('not_entitled');
    expect(codeOf(() => successorPath(createRecover(bot, 'bot 1'), path))).toBe('not_entitled');
    expect(codeOf(() => successorPath(createDeactivate(bot), path))).toBe('not_entitled');
    expect(codeOf(() => createRotate(acme, 'acme 1', { next: [] }))).toBe('none');
    const last = createRotate(acme, 'acme 1', { next: [] });
    const beyond = createRotate(acme, 'acme 2', { prv: last, signers: [keyOf('acme 1 next')] });
    expect(codeOf(() => pathAfter(last, beyond))).toBe('not_entitled');
  });

  const { sign, auth } = acme.keys;
  const { node } = acme;
  const moved = keyOf('moved node');
  test.each<[string, TestKey[], TestKey[], string]>([
    ['the sign key and the PeerId', [node], [sign, node], 'none'],
    ['the sign key and a new PeerId', [moved], [sign, moved], 'none'],
    ['the sign key and both PeerIds', [moved, node], [sign, moved, node], 'none'],
    ['the sign key, for no PeerId', [], [sign], 'none'],
    ['an auth key', [node], [auth, node], 'not_entitled'],
    ['a stranger', [node], [stranger, node], 'not_entitled'],
    ['a next key', [node], [acme.next, node], 'not_entitled'],
    ['the sign key, but not the PeerId', [moved], [sign], 'not_entitled'],
    ['the sign key and the PeerId it leaves', [moved], [sign, node], 'not_entitled'],
    ['both PeerIds in another order', [moved, node], [sign, node, moved], 'not_entitled'],
    ['the PeerId first', [node], [node, sign], 'not_entitled'],
    ['one signer too many', [node], [sign, node, stranger], 'not_entitled'],
  ])('an update signed by %s', (_, nodes, signers, code) => {
    expect(codeOf(() => pathAfter(createUpdate(acme, { nodes, signers })))).toBe(code);
  });

  test('an update changes PeerIds and services alone', () => {
    const update = createUpdate(acme, { nodes: [moved], services: [['libp2p', '/dns4/a/tcp/1']] });
    expect(pathAfter(update)).toEqual({
      ...genesis,
      seq: 1,
      peers: [moved.peerId],
      services: [['libp2p', '/dns4/a/tcp/1']],
    });
  });

  test('an update wants a key that is current on its own path', () => {
    const rotate = createRotate(acme, 'acme 1');
    const signers = [keySet('acme 1').sign, node];
    expect(pathAfter(rotate, createUpdate(acme, { prv: rotate, signers })).seq).toBe(2);
    expect(codeOf(() => pathAfter(rotate, createUpdate(acme, { prv: rotate })))).toBe('not_entitled');
    expect(codeOf(() => pathAfter(createUpdate(acme, { signers })))).toBe('not_entitled');
  });

  test('PeerIds are for organisations only, in updates and recovers too', () => {
    const path = genesisPath(alice.genesis);
    expect(codeOf(() => successorPath(createUpdate(alice, { services: [['a', 'b']] }), path))).toBe('none');
    expect(codeOf(() => successorPath(createUpdate(alice, { nodes: [node] }), path))).toBe('not_entitled');
    expect(codeOf(() => successorPath(createRecover(alice, 'alice 1'), path))).toBe('none');
    expect(codeOf(() => successorPath(createRecover(alice, 'alice 1', { nodes: [node] }), path))).toBe('not_entitled');
  });

  const [r1, r2, r3] = acme.recovery as [TestKey, TestKey, TestKey];
  test.each<[string, TestKey[], string]>([
    ['two of three', [r1, r2, node], 'none'],
    ['another two', [r3, r1, node], 'none'],
    ['all three', [r1, r2, r3, node], 'none'],
    ['one', [r1, node], 'not_entitled'],
    ['none', [node], 'not_entitled'],
    ['one and a stranger', [r1, stranger, node], 'not_entitled'],
    ['two and a stranger', [r1, r2, stranger, node], 'not_entitled'],
    ['rotation keys', [acme.next, node], 'not_entitled'],
    ['two, but not the PeerId', [r1, r2], 'not_entitled'],
    ['two and another PeerId', [r1, r2, stranger], 'not_entitled'],
    ['the PeerId before them', [node, r1, r2], 'not_entitled'],
  ])('a recover signed by recovery keys: %s', (_, signers, code) => {
    expect(codeOf(() => pathAfter(createRecover(acme, 'acme 1', { signers })))).toBe(code);
  });

  test('a recover of more PeerIds than signers is refused', () => {
    const nodes = [node, moved, keyOf('third node')];
    expect(codeOf(() => pathAfter(createRecover(acme, 'acme 1', { nodes, signers: [r1, r2] })))).toBe('not_entitled');
  });

  test('a recover replaces keys, next and recovery keys, PeerIds and services', () => {
    const recover = createRecover(acme, 'acme 1', { nodes: [moved] });
    expect(pathAfter(recover)).toMatchObject({ keys: keySet('acme 1').listed, peers: [moved.peerId], services: [] });
    const old = createRecover(acme, 'acme 2', { prv: recover });
    expect(codeOf(() => pathAfter(recover, old))).toBe('not_entitled');
    const signers = [keyOf('acme 1 recovery 3'), keyOf('acme 1 recovery 2'), node];
    expect(pathAfter(recover, createRecover(acme, 'acme 2', { prv: recover, signers })).seq).toBe(2);
  });

  test.each<[string, TestKey[], string]>([
    ['the rotation key', [acme.next], 'none'],
    ['two recovery keys', [r1, r3], 'none'],
    ['one recovery key', [r1], 'not_entitled'],
    ['a rotation and a recovery key', [acme.next, r1], 'not_entitled'],
    ['a rotation and two recovery keys', [acme.next, r1, r2], 'not_entitled'],
    ['a current key', [sign], 'not_entitled'],
    ['two recovery keys and the PeerId', [r1, r2, node], 'not_entitled'],
  ])('a deactivate signed by %s', (_, signers, code) => {
    expect(codeOf(() => pathAfter(createDeactivate(acme, { signers })))).toBe(code);
  });

  test('nothing follows a deactivate', () => {
    const end = createDeactivate(acme);
    for (const after of [
      createRotate(acme, 'x', { prv: end }),
      createUpdate(acme, { prv: end }),
      createRecover(acme, 'x', { prv: end }),
      createDeactivate(acme, { prv: end }),
    ]) {
      expect(codeOf(() => pathAfter(end, after))).toBe('not_entitled');
    }
  });
});

describe('the keys of a DID', () => {
  const link = createRootLink(acme, alice, { aud: bot.did });
  const [first, second] = createRevocations(acme, [link, bot]);
  const old = acme.keys;

  test('are current when listed, with the uses listed', () => {
    const state = stateOf(acme.genesis);
    expect(state).toMatchObject({ status: 'active', seq: 0, head: acme.genesis.id, contested: false });
    expect(state).toMatchObject({ createdSeconds: NOW_SECONDS, updatedSeconds: NOW_SECONDS, organisation: acme.did });
    expect(standingOf(state, old.sign)).toEqual({ standing: 'current', uses: ['sign'] });
    expect(standingOf(state, stranger)).toBeUndefined();
    expect(stateOf(bot.genesis)).toMatchObject({ kind: 'agent', ctl: acme.did, organisation: acme.did });
  });

  test('are graced or dead as the rotate says, and dead if it says nothing', () => {
    const until = NOW_SECONDS + 3600;
    const state = stateOf(
      acme.genesis,
      createRotate(acme, 'acme 1', {
        iat: NOW_SECONDS + 60,
        rhead: second ?? null,
        retire: [
          [old.sign, until],
          [old.delegate, null, [link]],
        ],
      }),
    );
    const dead = { standing: 'dead', rseq: 2, rhead: second?.id };
    expect(standingOf(state, old.sign)).toEqual({ standing: 'grace', uses: ['sign'], untilSeconds: until });
    expect(standingOf(state, old.delegate)).toEqual({ ...dead, uses: ['delegate'], kept: new Set([link.id]) });
    expect(standingOf(state, old.auth)).toEqual({ ...dead, uses: ['auth'], kept: new Set() });
    expect(standingOf(state, keySet('acme 1').sign)).toEqual({ standing: 'current', uses: ['sign'] });
    expect(state).toMatchObject({ seq: 1, keys: keySet('acme 1').listed, updatedSeconds: NOW_SECONDS + 60 });
  });

  test('stay current when the rotate lists them again', () => {
    const kept = [...keySet('acme 1').listed, [old.sign.publicKey, ['sign']] as const];
    const state = stateOf(acme.genesis, createRotate(acme, 'acme 1', { keys: kept }));
    expect(standingOf(state, old.sign)).toEqual({ standing: 'current', uses: ['sign'] });
    expect(standingOf(state, old.auth)?.standing).toBe('dead');
  });

  test('cannot be listed and retired at once, nor graced beyond a day', () => {
    const retire = (until: number | null) => () => createRotate(acme, 'acme 1', { retire: [[old.sign, until]] });
    expect(codeOf(() => createRotate(acme, 'acme', { retire: [[old.sign, null]] }))).toBe('schema');
    expect(codeOf(retire(NOW_SECONDS + 86_400))).toBe('none');
    expect(codeOf(retire(NOW_SECONDS + 86_401))).toBe('schema');
  });

  test('come back to life when a later rotate lists them again, with the uses it lists', () => {
    const rotate = createRotate(acme, 'acme 1', { retire: [[old.sign, null]] });
    const keys = [[old.sign.publicKey, ['auth', 'sign'] as KeyUse[]] as const];
    const again = createRotate(acme, 'acme 2', { prv: rotate, keys, signers: [keyOf('acme 1 next')] });
    expect(standingOf(stateOf(acme.genesis, rotate), old.sign)?.standing).toBe('dead');
    const relisted = stateOf(acme.genesis, rotate, again);
    expect(standingOf(relisted, old.sign)).toEqual({ standing: 'current', uses: ['auth', 'sign'] });
    const signers = [keyOf('acme 2 next')];
    const gone = stateOf(
      acme.genesis,
      rotate,
      again,
      createRotate(acme, 'acme 3', { prv: again, signers, rhead: first ?? null }),
    );
    expect(standingOf(gone, old.sign)).toMatchObject({ standing: 'dead', uses: ['auth', 'sign'], rseq: 1 });
  });

  test('in grace die when a later rotate names them dead, and not when it says nothing', () => {
    const rotate = createRotate(acme, 'acme 1', { retire: [[old.sign, NOW_SECONDS + 3600]] });
    const signers = [keyOf('acme 1 next')];
    const silent = createRotate(acme, 'acme 2', { prv: rotate, signers });
    expect(standingOf(stateOf(acme.genesis, rotate, silent), old.sign)?.standing).toBe('grace');
    const loud = createRotate(acme, 'acme 2', { prv: rotate, signers, retire: [[old.sign, null]] });
    expect(standingOf(stateOf(acme.genesis, rotate, loud), old.sign)?.standing).toBe('dead');
  });

  test('that were never listed are not made known by retiring them', () => {
    const state = stateOf(acme.genesis, createRotate(acme, 'acme 1', { retire: [[stranger, NOW_SECONDS]] }));
    expect(standingOf(state, stranger)).toBeUndefined();
  });

  test('listed only beside the history are dead, and retired with the revocations that it last stood by', () => {
    const [ours, theirs] = [createRotate(acme, 'ours'), createRotate(acme, 'theirs')];
    const frozen = stateOf(acme.genesis, ours, theirs);
    const { sign } = keySet('theirs');
    const beside = { standing: 'dead', uses: ['sign'], kept: new Set() };
    expect(standingOf(frozen, sign)).toEqual({ ...beside, rseq: 0, rhead: null });
    const recover = createRecover(acme, 'acme 2', { prv: ours, rhead: first ?? null });
    const recovered = stateOf(acme.genesis, ours, theirs, recover);
    expect(standingOf(recovered, sign)).toEqual({ ...beside, rseq: 1, rhead: first?.id });
    const merciful = createRecover(acme, 'acme 2', { prv: ours, retire: [[sign, NOW_SECONDS + 600]] });
    expect(standingOf(stateOf(acme.genesis, ours, theirs, merciful), sign)?.standing).toBe('grace');
  });

  test('of a deactivated DID are all dead', () => {
    const state = stateOf(acme.genesis, createDeactivate(acme));
    expect(state.keys).toEqual([]);
    expect([...state.listed.values()].map(({ standing }) => standing)).toEqual(['dead', 'dead', 'dead']);
  });
});

describe('isListed()', () => {
  const [ours, theirs] = [createRotate(acme, 'ours'), createRotate(acme, 'theirs')];

  test('says yes for every operation held, on whichever branch, and for that use alone', () => {
    const log = logOf([acme.genesis, ours, theirs]);
    for (const name of ['acme', 'ours', 'theirs']) {
      expect(log.isListed(keySet(name).sign.publicKey, 'sign')).toBe(true);
      expect(log.isListed(keySet(name).sign.publicKey, 'delegate')).toBe(false);
    }
    expect(log.isListed(stranger.publicKey, 'sign')).toBe(false);
  });

  test('forgets what only a removed operation listed', () => {
    const log = logOf([acme.genesis, ours, theirs]);
    log.remove(theirs);
    expect(log.isListed(keySet('theirs').sign.publicKey, 'sign')).toBe(false);
    expect(log.isListed(keySet('ours').sign.publicKey, 'sign')).toBe(true);
    expect(formatState(log.state)).toBe(formatState(stateOf(acme.genesis, ours)));
  });
});

describe('a fork', () => {
  const update = createUpdate(acme, { services: [['a', '1']] });
  const other = createUpdate(acme, { services: [['a', '2']] });
  const rotate = createRotate(acme, 'ours');

  test('of two rotates freezes where they part', () => {
    const state = stateOf(acme.genesis, rotate, createRotate(acme, 'theirs'));
    expect(state).toMatchObject({ status: 'frozen', head: acme.genesis.id, seq: 0, contested: true });
    expect(state.keys).toEqual(acme.keys.listed);
  });

  test('of two rotates freezes also when updates lie between', () => {
    const later = createRotate(acme, 'theirs', { prv: update });
    expect(stateOf(acme.genesis, rotate, update, later)).toMatchObject({ status: 'frozen', head: acme.genesis.id });
    const branches = [createRotate(acme, 'left', { prv: update }), createRotate(acme, 'right', { prv: other })];
    expect(stateOf(acme.genesis, update, other, ...branches)).toMatchObject({
      status: 'frozen',
      head: acme.genesis.id,
    });
  });

  test('of two rotates further down freezes there', () => {
    const signers = [keyOf('ours next')];
    const [left, right] = [
      createRotate(acme, 'left', { prv: rotate, signers }),
      createRotate(acme, 'right', { prv: rotate, signers }),
    ];
    expect(stateOf(acme.genesis, rotate, left, right)).toMatchObject({ status: 'frozen', head: rotate.id, seq: 1 });
    expect(stateOf(acme.genesis, rotate, left)).toMatchObject({ status: 'active', head: left.id });
  });

  test('of two rotates stays frozen however far one side goes on', () => {
    const on = createRotate(acme, 'on', { prv: rotate, signers: [keyOf('ours next')] });
    const state = stateOf(acme.genesis, rotate, on, createRotate(acme, 'theirs'));
    expect(state).toMatchObject({ status: 'frozen', head: acme.genesis.id });
  });

  test('of rotates is ended by a recover, from either side', () => {
    const theirs = createRotate(acme, 'theirs');
    for (const prv of [acme.genesis, rotate, theirs]) {
      const recover = createRecover(acme, 'again', { prv });
      expect(stateOf(acme.genesis, rotate, theirs, recover)).toMatchObject({
        status: 'active',
        head: recover.id,
        contested: false,
      });
    }
  });

  test('of a rotate and a recover goes to the recover', () => {
    const recover = createRecover(acme, 'again');
    const on = createRotate(acme, 'on', { prv: rotate, signers: [keyOf('ours next')] });
    expect(stateOf(acme.genesis, rotate, on, recover)).toMatchObject({ status: 'active', head: recover.id, seq: 1 });
  });

  test('of two recovers kills, wherever on the way each began', () => {
    const deep = createRecover(acme, 'deep', { prv: rotate });
    const state = stateOf(acme.genesis, rotate, deep, createRecover(acme, 'again'));
    expect(state).toMatchObject({ status: 'deactivated', head: acme.genesis.id, contested: true, keys: [] });
    const below = createRotate(acme, 'below', { prv: deep, signers: [keyOf('deep next')] });
    expect(stateOf(acme.genesis, rotate, deep, below, createRecover(acme, 'again')).status).toBe('deactivated');
  });

  test('is none where a recover follows a recover', () => {
    const one = createRecover(acme, 'one');
    const signers = [keyOf('one recovery 1'), keyOf('one recovery 3'), acme.node];
    const two = createRecover(acme, 'two', { prv: one, signers });
    expect(stateOf(acme.genesis, one, two)).toMatchObject({ status: 'active', head: two.id });
    const three = createRecover(acme, 'three', { prv: one, signers });
    expect(stateOf(acme.genesis, one, two, three)).toMatchObject({ status: 'deactivated', head: one.id });
  });

  test('of updates goes to the lowest id, and is flagged', () => {
    expect(stateOf(acme.genesis, update)).toMatchObject({ head: update.id, contested: false });
    const state = stateOf(acme.genesis, update, other);
    expect(state).toMatchObject({ status: 'active', head: lowestOf(update, other).id, contested: true });
  });

  test('of updates is over once a rotate follows one of them', () => {
    for (const prv of [update, other]) {
      const after = createRotate(acme, 'ours', { prv });
      expect(stateOf(acme.genesis, update, other, after)).toMatchObject({
        status: 'active',
        head: after.id,
        contested: false,
      });
    }
  });

  test('of an update and a rotate goes to the rotate', () => {
    expect(stateOf(acme.genesis, update, rotate)).toMatchObject({ head: rotate.id, contested: false });
  });

  test('is nothing to a deactivate, wherever it stands', () => {
    const end = createDeactivate(acme, { prv: update });
    const rest = [rotate, createRotate(acme, 'theirs'), createRecover(acme, 'one'), createRecover(acme, 'two')];
    const state = stateOf(acme.genesis, update, end, ...rest);
    expect(state).toMatchObject({ status: 'deactivated', head: end.id, seq: 2 });
  });

  test('of deactivates ends at the lowest id', () => {
    const ends = [createDeactivate(acme), createDeactivate(acme, { signers: acme.recovery.slice(0, 2) })] as const;
    expect(stateOf(acme.genesis, ...ends)).toMatchObject({ status: 'deactivated', head: lowestOf(...ends).id });
  });
});

/** The rules once more, in the words of the specification: everything by asking what lies on an operation's path. */
function expectedState(operations: readonly Operation[]): Pick<DidState, 'status' | 'head' | 'contested'> {
  const byId = new Map(operations.map((operation) => [operation.id, operation]));
  const pathTo = (operation: Operation): Operation[] => {
    const prv = 'prv' in operation.payload ? byId.get(operation.payload.prv.text) : undefined;
    return prv === undefined ? [operation] : [...pathTo(prv), operation];
  };
  /** Operations of a type below `start` with only operations of `between` on the way. */
  const below = (start: Operation, type: string, between: readonly string[]): Operation[] =>
    operations.filter((operation) => {
      const path = pathTo(operation);
      const at = path.indexOf(start);
      const way = at < 0 ? [] : path.slice(at + 1);
      return way.at(-1)?.payload.op === type && way.slice(0, -1).every(({ payload }) => between.includes(payload.op));
    });

  const ends = operations.filter(({ payload }) => payload.op === 'deactivate');
  if (ends.length > 0) return { status: 'deactivated', head: lowestOf(...ends).id, contested: ends.length > 1 };
  let start = operations.find(({ payload }) => payload.op === 'genesis') as Operation;
  for (;;) {
    const [one, ...more] = below(start, 'recover', ['update', 'rotate']);
    if (more.length > 0) return { status: 'deactivated', head: start.id, contested: true };
    if (one === undefined) break;
    start = one;
  }
  for (;;) {
    const [one, ...more] = below(start, 'rotate', ['update']);
    if (more.length > 0) return { status: 'frozen', head: start.id, contested: true };
    if (one === undefined) break;
    start = one;
  }
  for (let contested = false; ; ) {
    const updates = operations.filter(({ payload }) => 'prv' in payload && payload.prv.text === start.id);
    if (updates.length === 0) return { status: 'active', head: start.id, contested };
    contested ||= updates.length > 1;
    start = lowestOf(...updates);
  }
}

function* permutations<T>(items: readonly T[]): Generator<T[]> {
  if (items.length === 0) yield [];
  for (const [i, item] of items.entries()) {
    for (const rest of permutations(items.toSpliced(i, 1))) yield [item, ...rest];
  }
}

const identities = fc.constantFrom<Identity>(acme, alice);

test('the state is what the rules say of the set', () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(identities, steps(1, 7), (identity, history) => {
      const operations = growHistory(identity, history);
      const { status, head, contested } = stateOf(...operations);
      expect({ status, head, contested }).toEqual(expectedState(operations));
      seen.add(`${status}${contested ? ', contested' : ''}`);
    }),
    { seed: 20_261, numRuns: 1_000 },
  );
  const all = ['active', 'active, contested', 'deactivated', 'deactivated, contested', 'frozen, contested'];
  expect([...seen].toSorted()).toEqual(all);
});

test('the state is the same bit for bit in all 720 orders in which six operations can follow a genesis', () => {
  let whole = 0;
  fc.assert(
    fc.property(identities, steps(6, 6), (identity, history) => {
      const [genesis, ...rest] = growHistory(identity, history) as [Operation, ...Operation[]];
      const want = formatState(stateOf(genesis, ...rest));
      for (const order of permutations(rest)) expect(formatState(stateOf(genesis, ...order))).toBe(want);
      if (rest.length === 6) whole++;
    }),
    { seed: 20_262, numRuns: 16 },
  );
  expect(whole).toBeGreaterThan(4); // steps that repeat others make fewer than six operations
});
