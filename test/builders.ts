/**
 * Signed statements for tests, all through signStatement. Everything follows from names: the same calls give the same
 * bytes on every machine. Whatever a test is about it overrides; the rest has defaults that every check accepts.
 */
import type { Delegation, DidKind, Genesis, KeyUse, Revocation, RevocationTarget } from '../protocol/index.ts';
import {
  didOfGenesis,
  digestOf,
  Link,
  multikeyText,
  peerIdOfKey,
  type Statement,
  type StatementSigner,
  signStatement,
} from '../protocol/index.ts';
import { SecretKey } from '../protocol/sodium.ts';

/** When every organisation is founded, and the default `iat`: 2026-11-18T11:06:40Z. */
export const NOW_SECONDS = 1_795_000_000;
export const NOW_MS: number = NOW_SECONDS * 1000;

export interface TestKey extends StatementSigner {
  readonly seed: Uint8Array;
  /** z6Mk… */
  readonly text: string;
  /** 12D3KooW… */
  readonly peerId: string;
}

const made = new Map<number | string, TestKey>();

/** The key whose seed is 32 times this byte, or the SHA-256 of this name. */
export function keyOf(name: number | string): TestKey {
  const held = made.get(name);
  if (held !== undefined) return held;
  const seed = typeof name === 'number' ? new Uint8Array(32).fill(name) : digestOf(new TextEncoder().encode(name));
  const secret = new SecretKey(seed);
  const { publicKey } = secret;
  const key: TestKey = {
    seed,
    publicKey,
    text: multikeyText(publicKey),
    peerId: peerIdOfKey(publicKey),
    sign: (message) => secret.sign(message),
  };
  made.set(name, key);
  return key;
}

export type Operation = Statement<'didop/v1'>;
export type ListedKeys = readonly (readonly [multikey: Uint8Array, uses: readonly KeyUse[]])[];

/** One key a use, so that a test notices when the wrong one is taken. */
export interface KeySet {
  readonly auth: TestKey;
  readonly delegate: TestKey;
  readonly sign: TestKey;
  readonly listed: ListedKeys;
}

export function keySet(name: string): KeySet {
  const [auth, delegate, sign] = [keyOf(`${name} auth`), keyOf(`${name} delegate`), keyOf(`${name} sign`)];
  const listed: ListedKeys = [
    [sign.publicKey, ['sign']],
    [auth.publicKey, ['auth']],
    [delegate.publicKey, ['delegate']],
  ];
  return { auth, delegate, sign, listed };
}

export interface Identity {
  readonly name: string;
  readonly kind: DidKind;
  readonly did: string;
  readonly genesis: Operation;
  /** Listed by the genesis. */
  readonly keys: KeySet;
  /** The rotation key that the genesis commits to; agents have none. */
  readonly next: TestKey;
  /** Three recovery keys, of which two suffice; agents have none. */
  readonly recovery: readonly TestKey[];
  /** Whose PeerId an organisation lists. */
  readonly node: TestKey;
  /** Of an agent or person. */
  readonly organisation: Identity | undefined;
}

const commit = (keys: readonly TestKey[]): Uint8Array[] => keys.map(({ publicKey }) => digestOf(publicKey));
const nonceOf = (name: string): Uint8Array => digestOf(new TextEncoder().encode(`nonce ${name}`)).slice(0, 16);

interface GenesisOptions {
  readonly iat?: number;
  /** Of the organisation, for an agent or person that joins after a rotation. */
  readonly controllerKey?: TestKey;
  /** In place of the right signers, in order. */
  readonly signers?: readonly TestKey[];
  readonly fields?: Partial<Omit<Genesis, 't' | 'op' | 'by'>>;
}

function createIdentity(
  kind: DidKind,
  name: string,
  organisation: Identity | undefined,
  options: GenesisOptions,
): Identity {
  const keys = keySet(name);
  const next = keyOf(`${name} next`);
  const node = keyOf(`${name} node`);
  const recovery = [1, 2, 3].map((i) => keyOf(`${name} recovery ${i}`));
  const isAgent = kind === 'agent';
  const signers = [keys.sign];
  if (organisation === undefined) signers.push(node);
  else signers.push(options.controllerKey ?? organisation.keys.sign);
  const genesis = signStatement<'didop/v1'>(
    {
      t: 'didop/v1',
      op: 'genesis',
      kind,
      iat: options.iat ?? NOW_SECONDS,
      keys: keys.listed,
      nxt: isAgent ? [] : commit([next]),
      nthr: isAgent ? 0 : 1,
      rec: isAgent ? [] : commit(recovery),
      rthr: isAgent ? 0 : 2,
      peer: organisation === undefined ? [node.peerId] : [],
      nce: nonceOf(name),
      ...(organisation === undefined ? {} : { ctl: organisation.did }),
      ...options.fields,
    },
    options.signers ?? signers,
  );
  return { name, kind, did: didOfGenesis(genesis.id), genesis, keys, next, recovery, node, organisation };
}

export const createOrganisation = (name: string, options: GenesisOptions = {}): Identity =>
  createIdentity('org', name, undefined, options);
/** A person, who may sponsor agents of the organisation. */
export const createPerson = (organisation: Identity, name: string, options: GenesisOptions = {}): Identity =>
  createIdentity('person', name, organisation, options);
export const createAgent = (organisation: Identity, name: string, options: GenesisOptions = {}): Identity =>
  createIdentity('agent', name, organisation, options);

// DID operations

interface SuccessorOptions {
  /** The operation that it builds on; by default the genesis. */
  readonly prv?: Operation;
  readonly iat?: number;
  /** In place of the right signers, in order. */
  readonly signers?: readonly TestKey[];
  /** In place of the right numbers. */
  readonly seq?: number;
}

export type Retired = readonly (readonly [key: TestKey, untilSeconds: number | null, kept?: readonly Statement[]])[];

interface RetirementOptions extends SuccessorOptions {
  readonly keys?: ListedKeys;
  readonly retire?: Retired;
  /** The rotation keys committed to, all of which are wanted. */
  readonly next?: readonly TestKey[];
  readonly rseq?: number;
  /** The newest revocation that the owner stands by. */
  readonly rhead?: Statement | null;
}

function following(identity: Identity, { prv = identity.genesis, iat, seq }: SuccessorOptions) {
  const before = 'seq' in prv.payload ? prv.payload.seq : 0;
  return {
    t: 'didop/v1',
    iat: iat ?? NOW_SECONDS,
    iss: identity.did,
    seq: seq ?? before + 1,
    prv: Link.ofDigest(prv.digest),
  } as const;
}

const retirement = (identity: Identity, name: string, options: RetirementOptions) => {
  const next = options.next ?? [keyOf(`${name} next`)];
  return {
    ...following(identity, options),
    keys: options.keys ?? keySet(name).listed,
    ret: (options.retire ?? []).map(
      ([{ publicKey }, until, kept = []]) => [publicKey, until, kept.map(linkTo)] as const,
    ),
    nxt: commit(next),
    nthr: next.length,
    rseq: options.rseq ?? seqOf(options.rhead),
    rhead: options.rhead ? linkTo(options.rhead) : null,
  };
};

const linkTo = ({ digest }: Statement): Link => Link.ofDigest(digest);
const seqOf = (statement: Statement | null | undefined): number =>
  statement && 'seq' in statement.payload ? statement.payload.seq : 0;

/** Lists keySet(name) and commits to keyOf(`${name} next`); by default the signer is what the genesis committed to. */
export const createRotate = (identity: Identity, name: string, options: RetirementOptions = {}): Operation =>
  signStatement<'didop/v1'>(
    { ...retirement(identity, name, options), op: 'rotate' },
    options.signers ?? [identity.next],
  );

/** Lists these nodes; by default signed by the genesis' sign key and the nodes. */
export const createUpdate = (
  identity: Identity,
  {
    nodes,
    services = [],
    ...options
  }: SuccessorOptions & {
    readonly nodes?: readonly TestKey[];
    readonly services?: readonly (readonly [string, string])[];
  } = {},
): Operation => {
  const listed = nodes ?? (identity.kind === 'org' ? [identity.node] : []);
  return signStatement<'didop/v1'>(
    { ...following(identity, options), op: 'update', peer: listed.map(({ peerId }) => peerId), svc: services },
    options.signers ?? [identity.keys.sign, ...listed],
  );
};

/** Lists keySet(name), three recovery keys `${name} recovery 1..3` and the nodes; signed by two recovery keys and them. */
export const createRecover = (
  identity: Identity,
  name: string,
  { nodes, ...options }: RetirementOptions & { readonly nodes?: readonly TestKey[] } = {},
): Operation => {
  const listed = nodes ?? (identity.kind === 'org' ? [identity.node] : []);
  return signStatement<'didop/v1'>(
    {
      ...retirement(identity, name, options),
      op: 'recover',
      rec: commit([1, 2, 3].map((i) => keyOf(`${name} recovery ${i}`))),
      rthr: 2,
      peer: listed.map(({ peerId }) => peerId),
      svc: [],
    },
    options.signers ?? [...identity.recovery.slice(0, 2), ...listed],
  );
};

export const createDeactivate = (identity: Identity, options: SuccessorOptions = {}): Operation =>
  signStatement<'didop/v1'>({ ...following(identity, options), op: 'deactivate' }, options.signers ?? [identity.next]);

// Links

type LinkFields = Partial<Omit<Delegation, 't' | 'by' | 'prf' | 'nce'>>;
interface LinkOptions extends LinkFields {
  /** Tells two links with the same fields apart. */
  readonly nonce?: string;
  /** In place of the right signers, in order. */
  readonly signers?: readonly TestKey[];
}

const delegation = (
  defaults: Omit<Delegation, 't' | 'by' | 'nce'>,
  { nonce = '', signers, ...fields }: LinkOptions,
  usual: readonly TestKey[],
) => {
  const start = fields.nbf ?? fields.iat ?? defaults.iat;
  return signStatement<'delegation/v1'>(
    {
      t: 'delegation/v1',
      ...defaults,
      nbf: start,
      exp: defaults.exp - defaults.nbf + start,
      ...fields,
      nce: nonceOf(`link ${nonce}`),
    },
    signers ?? usual,
  );
};

export const createRootLink = (
  organisation: Identity,
  sponsor: Identity,
  { aud, ...options }: LinkOptions & { readonly aud: string },
): Statement<'delegation/v1'> =>
  delegation(
    {
      iss: organisation.did,
      aud,
      sub: organisation.did,
      spo: sponsor.did,
      prf: null,
      cap: [{ can: 'read:reports/*' }],
      iat: NOW_SECONDS,
      nbf: NOW_SECONDS,
      exp: NOW_SECONDS + 86_400,
    },
    options,
    [organisation.keys.delegate, sponsor.keys.delegate],
  );

/** From the parent's audience onwards; everything not named is the parent's. */
export const createChildLink = (
  parent: Statement<'delegation/v1'>,
  issuer: Identity,
  { aud, ...options }: LinkOptions & { readonly aud: string },
): Statement<'delegation/v1'> => {
  const { sub, spo, cap, iat, nbf, exp } = parent.payload;
  return delegation({ iss: issuer.did, aud, sub, spo, prf: linkTo(parent), cap, iat, nbf, exp }, options, [
    issuer.keys.delegate,
  ]);
};

/** An agent's link to itself, bound to one ephemeral key, for 15 minutes. */
export const createCredential = (
  parent: Statement<'delegation/v1'>,
  agent: Identity,
  cnf: TestKey,
  options: LinkOptions = {},
): Statement<'delegation/v1'> => {
  const start = options.nbf ?? options.iat ?? parent.payload.iat;
  return createChildLink(parent, agent, {
    aud: agent.did,
    cnf: cnf.publicKey,
    pri: true,
    exp: start + 900,
    ...options,
  });
};

// Revocations and heartbeats

type Target = Statement | Identity | { readonly of: Identity; readonly key: TestKey };

const revocationTarget = (target: Target): RevocationTarget => {
  if ('of' in target) return { did: target.of.did, key: target.key.publicKey };
  return 'genesis' in target ? { did: target.did } : { link: linkTo(target) };
};

interface RevocationOptions {
  /** The revocation that it follows, which gives its number; null for number 1. */
  readonly prv?: Statement<'revocation/v1'> | null;
  readonly iat?: number;
  readonly rsn?: string;
  /** Who revokes; by default the organisation itself. */
  readonly iss?: Identity;
  /** In place of the right signers, in order. */
  readonly signers?: readonly TestKey[];
  /** In place of the right number. */
  readonly seq?: number;
}

/** A revocation of a link, a DID or a key, numbered by the organisation. */
export const createRevocation = (
  organisation: Identity,
  target: Target,
  { prv = null, iat = NOW_SECONDS, rsn = 'superseded', iss = organisation, signers, seq }: RevocationOptions = {},
): Statement<'revocation/v1'> => {
  const payload: Omit<Revocation, 'by'> = {
    t: 'revocation/v1',
    iat,
    iss: iss.did,
    org: organisation.did,
    seq: seq ?? seqOf(prv) + 1,
    prv: prv === null ? null : linkTo(prv),
    tgt: revocationTarget(target),
    rsn,
  };
  const usual = iss === organisation ? [organisation.keys.sign] : [iss.keys.sign, organisation.keys.sign];
  return signStatement<'revocation/v1'>(payload, signers ?? usual);
};

/** As numbers 1, 2, 3 … of one organisation. */
export function createRevocations(organisation: Identity, targets: readonly Target[]): Statement<'revocation/v1'>[] {
  const all: Statement<'revocation/v1'>[] = [];
  for (const target of targets) all.push(createRevocation(organisation, target, { prv: all.at(-1) ?? null }));
  return all;
}

interface HeartbeatOptions {
  readonly iat?: number;
  /** Newest operation and revocation that it vouches for. */
  readonly head?: Operation;
  readonly rhead?: Statement<'revocation/v1'> | null;
  readonly nonce?: Uint8Array;
  readonly signers?: readonly TestKey[];
}

export const createHeartbeat = (
  organisation: Identity,
  { iat = NOW_SECONDS, head = organisation.genesis, rhead = null, nonce, signers }: HeartbeatOptions = {},
): Statement<'heartbeat/v1'> =>
  signStatement<'heartbeat/v1'>(
    {
      t: 'heartbeat/v1',
      iat,
      iss: organisation.did,
      dseq: seqOf(head),
      head: linkTo(head),
      rseq: seqOf(rhead),
      rhead: rhead === null ? null : linkTo(rhead),
      ...(nonce === undefined ? {} : { non: nonce }),
    },
    signers ?? [organisation.keys.sign],
  );
