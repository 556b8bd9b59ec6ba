/**
 * Whatever a few organisations may have signed, honest or not: more than the quotas hold, forks, thefts, strangers and
 * things out of time. All from one seed.
 */
import type { RevocationTargetKey, Statement } from '../../../protocol/index.ts';
import {
  createAgent,
  createChildLink,
  createOrganisation,
  createPerson,
  createRevocation,
  createRootLink,
  type Identity,
  type KeySet,
  keySet,
  NOW_SECONDS,
} from '../../builders.ts';
import { type SeededRandom, seededRandom } from '../../fuzz/random.ts';
import { createBinding, createCheckpoint, createFork, ownLog, ownWitness } from '../log/own-log.ts';
import type { Signer } from '../log/sample.ts';
import { growHistory, keyNames, type Step } from './histories.ts';

export interface Universe {
  readonly statements: readonly Statement[];
  readonly targets: readonly RevocationTargetKey[];
}

interface Member {
  readonly identity: Identity;
  /** Of the key sets that its operations list. */
  readonly names: readonly string[];
  readonly history: readonly Step[];
}

const HISTORY_STEPS_MAX = 12;

const randomSteps = (random: SeededRandom, countMax: number): Step[] =>
  Array.from({ length: random.below(countMax + 1) }, () => ({
    parent: random.below(HISTORY_STEPS_MAX),
    type: random.pick([
      'update',
      'update',
      'update',
      'rotate',
      'rotate',
      'recover',
      ...(random.below(4) === 0 ? (['deactivate'] as const) : []),
    ] as const),
    variant: random.below(4),
    fate: random.pick(['dead', 'kept', 'grace', 'unnamed', 'listed again'] as const),
  }));

/** Mostly a set that is listed somewhere. */
const someKeys = (random: SeededRandom, { identity, names }: Member): KeySet =>
  keySet(random.below(30) === 0 ? `${identity.name} unlisted` : random.pick(names));

export function createUniverse(seed: number): Universe {
  const random = seededRandom(seed);
  const earlier = (minutes: number): number => NOW_SECONDS - 60 * random.below(minutes);
  const organisations = Array.from({ length: 2 + random.below(2) }, (_, i) => {
    const identity = createOrganisation(`org ${i}`, { iat: earlier(5) });
    const history = randomSteps(random, HISTORY_STEPS_MAX);
    return { identity, history, names: keyNames(identity, history) };
  });
  const members = organisations.flatMap((organisation) => membersOf(organisation, random, earlier));
  const everyone: readonly Member[] = [...organisations, ...members];

  const links: Statement<'delegation/v1'>[] = [];
  for (let i = 8 + random.below(16); i > 0; i--) links.push(randomLink(random, everyone, links, earlier(50)));

  const revocations = organisations.flatMap((organisation) => {
    const own: Statement<'revocation/v1'>[] = [];
    const mine = everyone.filter(({ identity }) => (identity.organisation ?? identity) === organisation.identity);
    for (let i = random.below(16); i > 0; i--) {
      // Now and then someone revokes who does not belong to the organisation.
      const issuer = random.pick(random.below(3) > 0 ? [organisation] : random.below(6) > 0 ? mine : everyone);
      own.push(randomRevocation(random, organisation, issuer, everyone, links, own, earlier(50)));
    }
    return own;
  });

  const operations = everyone.flatMap(({ identity, history }) =>
    growHistory(
      identity,
      history,
      revocations.filter(({ payload }) => payload.org === identity.did),
    ),
  );
  const logStatements = randomLogStatements(random, organisations, everyone, earlier);
  const all = new Map(
    [...operations, ...links, ...revocations, ...logStatements].map((statement) => [statement.id, statement]),
  );
  const targets: RevocationTargetKey[] = [
    ...links.map(({ id }) => ({ link: id })),
    ...everyone.map(({ identity }) => ({ did: identity.did })),
    ...everyone.map(({ identity }) => ({ did: identity.did, key: identity.keys.sign.publicKey })),
  ];
  return { statements: [...all.values()], targets };
}

/** Logs that several claim, histories of equal and of other sizes that part, by keys of the log and of witnesses. */
function randomLogStatements(
  random: SeededRandom,
  organisations: readonly Member[],
  everyone: readonly Member[],
  earlier: (minutes: number) => number,
): Statement[] {
  const logOf = (name: string): Signer => ownLog(name, random.below(4));
  const names = organisations.map(({ identity }) => identity.name);
  const someLog = (own: string): Signer =>
    logOf(random.below(4) === 0 ? random.pick(names) : `${own} ${random.below(2)}`);
  const witnesses = names.map((name) => ownWitness(name));
  const bindings = organisations.flatMap((member) =>
    Array.from({ length: random.below(10) }, () => {
      const { name } = member.identity;
      const log = someLog(name);
      const witness = random.below(4) === 0 ? random.pick(witnesses) : ownWitness(name);
      const owner = random.below(15) === 0 ? random.pick(everyone) : member;
      const signer = someKeys(random, owner).sign;
      return { log, witness, statement: createBinding(owner.identity, { log, witness, iat: earlier(50), signer }) };
    }),
  );
  const logs = [...bindings.map(({ log }) => log), logOf('nobody')];
  const checkpoints = Array.from({ length: random.below(25) }, () =>
    createCheckpoint(random.pick(logs), random.below(6), random.pick(['', 'other', 'another'])),
  );
  const proofs = Array.from({ length: bindings.length === 0 ? 0 : random.below(12) }, () => {
    const { log, witness, statement } = random.pick(bindings);
    const m = 1 + random.below(4);
    const sizes = [m, m + random.below(4)] as const;
    return createFork(statement, random.below(2) === 0 ? log : witness, sizes, { log, salt: random.pick(['x', 'y']) });
  });
  return [...bindings.map(({ statement }) => statement), ...checkpoints, ...proofs];
}

function membersOf(organisation: Member, random: SeededRandom, earlier: (minutes: number) => number): Member[] {
  const { identity } = organisation;
  const options = () => ({ iat: earlier(5), controllerKey: someKeys(random, organisation).sign });
  const persons = [1, 2].map((i) => createPerson(identity, `${identity.name} person ${i}`, options()));
  const agents = Array.from({ length: random.below(5) }, (_, i) =>
    createAgent(identity, `${identity.name} agent ${i}`, options()),
  );
  return [...persons, ...agents].map((member) => {
    const history = member.kind === 'person' ? randomSteps(random, 4) : [];
    return { identity: member, history, names: keyNames(member, history) };
  });
}

function randomLink(
  random: SeededRandom,
  everyone: readonly Member[],
  links: readonly Statement<'delegation/v1'>[],
  iat: number,
): Statement<'delegation/v1'> {
  const aud = random.pick(everyone).identity.did;
  const options = { aud, iat, nonce: `${random.below(1_000)}`, exp: iat + 100 + 60 * random.below(120) };
  const signerOf = (member: Member) => someKeys(random, member).delegate;
  if (links.length > 0 && random.below(2) === 0) {
    const issuer = random.pick(everyone);
    const start = random.below(12) === 0 ? { ...options, iat: NOW_SECONDS + 600, exp: NOW_SECONDS + 900 } : options;
    return createChildLink(random.pick(links), issuer.identity, { ...start, signers: [signerOf(issuer)] });
  }
  const organisation = random.pick(everyone.filter(({ identity }) => identity.kind === 'org'));
  const persons = everyone.filter(({ identity }) => identity.kind === 'person');
  const own = persons.filter(({ identity }) => identity.organisation === organisation.identity);
  const sponsor = random.pick(random.below(8) > 0 ? own : persons);
  const times = random.below(10) === 0 ? { ...options, iat: NOW_SECONDS - 8_000, exp: NOW_SECONDS - 3_600 } : options;
  return createRootLink(organisation.identity, sponsor.identity, {
    ...times,
    signers: [signerOf(organisation), signerOf(sponsor)],
  });
}

function randomRevocation(
  random: SeededRandom,
  organisation: Member,
  issuer: Member,
  everyone: readonly Member[],
  links: readonly Statement<'delegation/v1'>[],
  own: readonly Statement<'revocation/v1'>[],
  iat: number,
): Statement<'revocation/v1'> {
  const someone = random.pick(everyone).identity;
  const target = random.pick([
    random.pick(links),
    random.pick(links),
    someone,
    { of: someone, key: someone.keys.sign },
  ]);
  const prv = random.below(4) === 0 ? null : (own[random.below(own.length + 1)] ?? null);
  const signers = [someKeys(random, organisation).sign];
  if (issuer !== organisation) signers.unshift(someKeys(random, issuer).sign);
  return createRevocation(organisation.identity, target, {
    prv,
    iat,
    iss: issuer.identity,
    signers,
    rsn: `${random.below(1_000)}`,
  });
}
