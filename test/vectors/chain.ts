/** Vectors of chains, as bundles: what a verifier with nothing else must say of them. One at least for every code. */
import {
  type Capability,
  concatBytes,
  decodeCbor,
  encodeBundle,
  encodeCbor,
  fromHex,
  isMeshError,
  limits,
  parseMultikeyText,
  type Statement,
  toHex,
  verifyBundle,
} from '../../protocol/index.ts';
import { isSignatureValidSodium } from '../../protocol/sodium.ts';
import {
  createAgent,
  createChildLink,
  createCredential,
  createDeactivate,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRevocation,
  createRootLink,
  createRotate,
  keyOf,
  NOW_SECONDS,
} from '../builders.ts';
import type { InvalidVector, ValidVector, VectorSet } from './vectors.ts';

const SOURCE = 'Verifying a chain';
type Link = Statement<'delegation/v1'>;

const acme = createOrganisation('acme');
const beta = createOrganisation('beta');
const alice = createPerson(acme, 'alice');
const bob = createPerson(beta, 'bob');
const agent = createAgent(acme, 'agent');
const worker = createAgent(beta, 'worker');
const holder = keyOf('a credential');
const NOW = NOW_SECONDS + 30;

const constraints = {
  dep: 2,
  rate: [{ can: 'read:reports/*', n: 100, per: 60 }],
  at: [beta.did, acme.did],
  pur: ['billing', 'audit'],
  mts: 300,
  stl: 60,
};
const root = createRootLink(acme, alice, {
  aud: agent.did,
  cap: [{ can: 'read:reports/*', res: ['s3://reports/'] }],
  ...constraints,
});
const child = createChildLink(root, agent, { aud: worker.did, cap: [{ can: 'read:reports/q3' }] });
const credential = createCredential(child, worker, holder);

interface Case {
  readonly links?: readonly Link[];
  readonly logs?: readonly Statement[];
  /** In place of the newest heartbeats of both organisations. */
  readonly beats?: readonly Statement[];
  readonly roots?: readonly string[];
  readonly nowSeconds?: number;
  readonly capabilities?: readonly Capability[];
  readonly at?: readonly string[];
  readonly purpose?: string;
  readonly score?: number;
  readonly holder?: { readonly did: string; readonly key: string };
}

const LOGS = [acme, beta, alice, agent, worker].map(({ genesis }) => genesis);
const BEATS = [acme, beta].map((organisation) => createHeartbeat(organisation));
const CHAIN = [root, child, credential];

export interface ChainVector {
  readonly bundleBytes: string;
  readonly roots: readonly string[];
  readonly nowSeconds: number;
  readonly request: {
    readonly capabilities: readonly Capability[];
    readonly at: readonly string[];
    readonly purpose: string;
    readonly score: number;
  };
  readonly holder: { readonly did: string; readonly key: string };
}

function vectorOf(one: Case, bundle?: Uint8Array): ChainVector & { readonly source: string } {
  const { links = CHAIN, logs = LOGS, beats = BEATS } = one;
  const leaf = links.at(-1) as Link;
  return {
    source: SOURCE,
    roots: one.roots ?? [acme.did],
    nowSeconds: one.nowSeconds ?? NOW,
    request: {
      capabilities: one.capabilities ?? [{ can: 'read:reports/q3', res: ['s3://reports/2026'] }],
      at: one.at ?? [beta.did],
      purpose: one.purpose ?? 'billing',
      score: one.score ?? 300,
    },
    holder: one.holder ?? { did: worker.did, key: holder.text },
    bundleBytes: toHex(
      bundle ??
        encodeBundle({ leaf: leaf.id, envelopes: [...links, ...logs, ...beats].map(({ envelope }) => envelope) }),
    ),
  };
}

/** The code with which this implementation refuses, with the dimension of `widened`; or what the chain allows. */
export function verdictOf(vector: ChainVector): {
  readonly code?: string;
  readonly dimension?: string;
  readonly effective?: unknown;
} {
  try {
    const report = verifyBundle(fromHex(vector.bundleBytes) ?? new Uint8Array(), {
      roots: new Set(vector.roots),
      nowMs: vector.nowSeconds * 1000,
      isSignatureValid: isSignatureValidSodium,
      request: vector.request,
      holder: { did: vector.holder.did, key: parseMultikeyText(vector.holder.key) },
    });
    return { effective: JSON.parse(JSON.stringify(report.effective)) };
  } catch (error) {
    if (!isMeshError(error)) throw error;
    const { dimension } = error.data;
    return { code: error.code, ...(dimension === undefined ? {} : { dimension }) };
  }
}

function valid(one: Case): ValidVector {
  const vector = vectorOf(one);
  const { code, effective } = verdictOf(vector);
  if (code !== undefined) throw new Error(`The vector is refused with "${code}"`);
  return { ...vector, effective };
}
const invalid = (code: string, one: Case, bundle?: Uint8Array): InvalidVector => ({ ...vectorOf(one, bundle), code });
const widened = (dimension: string, fields: Omit<Parameters<typeof createChildLink>[2], 'aud'>): InvalidVector => ({
  ...invalid(
    'widened',
    ended(createChildLink(root, agent, { aud: worker.did, cap: [{ can: 'read:reports/q3' }], ...fields })),
  ),
  dimension,
});
/** A chain whose second link is another, held by the worker with its auth key. */
const ended = (second: Link): Case => ({
  links: [root, second],
  holder: { did: worker.did, key: worker.keys.auth.text },
});

const whole = decodeCbor(fromHex(vectorOf({}).bundleBytes) ?? new Uint8Array()) as [string, unknown, Uint8Array[]];
const withLink = (at: number, envelope: Uint8Array): Uint8Array =>
  encodeCbor([whole[0], whole[1] as never, whole[2].map((other, i) => (i === at ? envelope : other))]);
const withLastBitFlipped = (bytes: Uint8Array): Uint8Array =>
  Uint8Array.from(bytes, (byte, i) => (i === bytes.length - 1 ? byte ^ 1 : byte));
const kept = createRotate(acme, 'acme second', { retire: [[acme.keys.delegate, null, [root]]] });
const dead = createRotate(acme, 'acme second', { retire: [[acme.keys.delegate, null]] });
const grace = createRotate(acme, 'acme second', {
  retire: [
    [acme.keys.delegate, NOW_SECONDS + 120],
    [acme.keys.sign, NOW_SECONDS + 600],
  ],
});
const rivals = [createRotate(acme, 'acme second'), createRotate(acme, 'acme rival')];
const revoked = createRevocation(acme, root);
const beatOf = (head: typeof kept): readonly Statement[] => [
  createHeartbeat(acme, { head, signers: [keyOf('acme second sign')] }),
  createHeartbeat(beta),
];
const later = (seconds: number): readonly Statement[] =>
  [acme, beta].map((organisation) => createHeartbeat(organisation, { iat: NOW_SECONDS + seconds }));
const longChain = (count: number): Link[] => {
  const links: Link[] = [createRootLink(acme, alice, { aud: agent.did, dep: limits.DEPTH_MAX })];
  while (links.length < count) {
    const last = links.at(-1) as Link;
    links.push(
      createCredential(
        last,
        agent,
        keyOf('an ephemeral key'),
        links.length === 1 ? {} : { signers: [keyOf('an ephemeral key')] },
      ),
    );
  }
  return links;
};

export const chainVectors: VectorSet = {
  valid: {
    'three-links-ending-in-a-credential': valid({}),
    'two-links-held-by-the-auth-key': valid(ended(child)),
    'root-alone': valid({ links: [root], holder: { did: agent.did, key: agent.keys.auth.text } }),
    'link-kept-by-the-rotate-that-retired-its-key': valid({ logs: [...LOGS, kept], beats: beatOf(kept) }),
    'link-of-a-key-in-its-grace': valid({ logs: [...LOGS, grace], beats: beatOf(grace) }),
    'revocation-by-a-stranger': valid({
      logs: [...LOGS, createRevocation(beta, root)],
      beats: [createHeartbeat(acme), createHeartbeat(beta, { rhead: createRevocation(beta, root) })],
    }),
    'at-the-edge-of-the-skew': valid({ nowSeconds: NOW_SECONDS + 900 + limits.SKEW_SECONDS - 1, beats: later(900) }),
    'eight-links': valid({
      links: longChain(limits.CHAIN_LINKS_MAX),
      holder: { did: agent.did, key: keyOf('an ephemeral key').text },
    }),
  },
  invalid: {
    malformed: invalid('malformed', {}, withLink(1, new Uint8Array())),
    'broken-link-leaf-of-another-kind': invalid(
      'broken_link',
      {},
      encodeBundle({ leaf: acme.genesis.id, envelopes: LOGS.map(({ envelope }) => envelope) }),
    ),
    noncanonical: invalid(
      'noncanonical',
      {},
      concatBytes(Uint8Array.of(0x98, 0x03), (fromHex(vectorOf({}).bundleBytes) ?? new Uint8Array()).subarray(1)),
    ),
    'unknown-root': invalid('unknown_root', { roots: [beta.did] }),
    'unknown-root-without-any': invalid('unknown_root', { roots: [] }),
    'sponsor-of-another-organisation': invalid('sponsor_missing', {
      links: [createRootLink(acme, bob, { aud: worker.did })],
      logs: [...LOGS, bob.genesis],
      holder: { did: worker.did, key: worker.keys.auth.text },
    }),
    'sponsor-who-is-an-agent': invalid('sponsor_missing', {
      links: [createRootLink(acme, agent, { aud: worker.did })],
      holder: { did: worker.did, key: worker.keys.auth.text },
    }),
    'broken-link-by-another-issuer': invalid(
      'broken_link',
      ended(createChildLink(root, worker, { aud: worker.did, cap: [{ can: 'read:reports/q3' }] })),
    ),
    'broken-link-parent-missing': invalid('broken_link', { links: [child, credential] }),
    'broken-link-bound-key-not-used': invalid('broken_link', {
      links: [...CHAIN, createCredential(credential, worker, holder, { nonce: 'again' })],
    }),
    'key-unknown': invalid(
      'key_unknown',
      ended(
        createChildLink(root, agent, {
          aud: worker.did,
          cap: [{ can: 'read:reports/q3' }],
          signers: [keyOf('a thief')],
        }),
      ),
    ),
    'key-of-another-use': invalid(
      'key_unknown',
      ended(
        createChildLink(root, agent, {
          aud: worker.did,
          cap: [{ can: 'read:reports/q3' }],
          signers: [agent.keys.auth],
        }),
      ),
    ),
    'key-retired-as-dead': invalid('key_retired', { logs: [...LOGS, dead], beats: beatOf(dead) }),
    'key-after-its-grace': invalid('key_retired', {
      logs: [...LOGS, grace],
      nowSeconds: NOW_SECONDS + 120 + limits.SKEW_SECONDS,
    }),
    'did-unknown': invalid('did_unknown', { logs: LOGS.filter((genesis) => genesis !== agent.genesis) }),
    'did-forked': invalid('did_forked', { logs: [...LOGS, ...rivals] }),
    'did-deactivated': invalid('did_deactivated', { logs: [...LOGS, createDeactivate(alice)] }),
    'bad-signature-on-a-link': invalid('bad_signature', {}, withLink(1, withLastBitFlipped(child.envelope))),
    'bad-signature-on-a-heartbeat': invalid(
      'bad_signature',
      {},
      withLink(CHAIN.length + LOGS.length, withLastBitFlipped((BEATS[0] as Statement).envelope)),
    ),
    'widened-capability': widened('capability', { cap: [{ can: 'read:secrets' }] }),
    'widened-capability-by-a-prefix': widened('capability', { cap: [{ can: 'read:reports2/q3' }] }),
    'widened-resource': widened('resource', { cap: [{ can: 'read:reports/q3', res: ['s3://report'] }] }),
    'widened-window': widened('window', { exp: root.payload.exp + 1 }),
    'widened-depth': widened('depth', { dep: 2 }),
    'widened-rate': widened('rate', { rate: [{ can: 'read:reports/q3', n: 101, per: 60 }] }),
    'widened-at': widened('at', { at: [agent.did] }),
    'widened-purpose': widened('purpose', { pur: ['fraud'] }),
    'widened-score': widened('score', { mts: 299 }),
    'widened-staleness': widened('staleness', { stl: 61 }),
    'widened-private': {
      ...invalid('widened', {
        links: [
          root,
          createChildLink(root, agent, { aud: worker.did, pri: true }),
          createChildLink(createChildLink(root, agent, { aud: worker.did, pri: true }), worker, { aud: agent.did }),
        ],
        holder: { did: agent.did, key: agent.keys.auth.text },
      }),
      dimension: 'private',
    },
    'not-yet': invalid(
      'not_yet',
      ended(
        createChildLink(root, agent, { aud: worker.did, nbf: NOW + limits.SKEW_SECONDS + 1, exp: root.payload.exp }),
      ),
    ),
    expired: invalid('expired', { nowSeconds: NOW_SECONDS + 900 + limits.SKEW_SECONDS }),
    depth: invalid('depth', {
      links: (() => {
        const leafOnly = createChildLink(root, agent, { aud: worker.did, cap: [{ can: 'read:reports/q3' }], dep: 0 });
        return [root, leafOnly, createChildLink(leafOnly, worker, { aud: agent.did })];
      })(),
      holder: { did: agent.did, key: agent.keys.auth.text },
    }),
    'revoked-link': invalid('revoked', {
      logs: [...LOGS, revoked],
      beats: [createHeartbeat(acme, { rhead: revoked }), createHeartbeat(beta)],
    }),
    'revoked-link-surrendered-by-its-audience': invalid('revoked', {
      logs: [...LOGS, createRevocation(beta, child, { iss: worker })],
      beats: [createHeartbeat(acme), createHeartbeat(beta, { rhead: createRevocation(beta, child, { iss: worker }) })],
    }),
    'revoked-agent': invalid('revoked', { logs: [...LOGS, createRevocation(acme, agent)] }),
    'revoked-key': invalid('revoked', {
      logs: [...LOGS, createRevocation(acme, { of: agent, key: agent.keys.delegate })],
    }),
    'status-stale-without-a-heartbeat': invalid('status_stale', { beats: [createHeartbeat(beta)] }),
    'status-stale-heartbeat-too-old': invalid('status_stale', { nowSeconds: NOW_SECONDS + 61 }),
    'status-stale-heartbeat-naming-what-is-missing': invalid('status_stale', {
      beats: [createHeartbeat(acme, { rhead: createRevocation(acme, worker) }), createHeartbeat(beta)],
    }),
    'status-stale-for-what-is-critical': invalid('status_stale', {
      links: [createRootLink(acme, alice, { aud: agent.did, cap: [{ can: 'pay:*' }] })],
      capabilities: [{ can: 'pay:invoice' }],
      holder: { did: agent.did, key: agent.keys.auth.text },
    }),
    'holder-another-did': invalid('holder_mismatch', { holder: { did: agent.did, key: holder.text } }),
    'holder-another-key': invalid('holder_mismatch', { holder: { did: worker.did, key: worker.keys.auth.text } }),
    'holder-key-of-another-use': invalid('holder_mismatch', {
      links: [root, child],
      holder: { did: worker.did, key: worker.keys.sign.text },
    }),
    'not-covered-capability': invalid('not_covered', { capabilities: [{ can: 'read:reports/q4' }] }),
    'not-covered-all-resources': invalid('not_covered', { capabilities: [{ can: 'read:reports/q3' }] }),
    'not-covered-place': invalid('not_covered', { at: [agent.did] }),
    'not-covered-purpose': invalid('not_covered', { purpose: 'fraud' }),
    'score-below': invalid('score_below', { score: 299 }),
    'budget-nine-links': invalid('budget', {
      links: longChain(limits.CHAIN_LINKS_MAX + 1),
      holder: { did: agent.did, key: keyOf('an ephemeral key').text },
    }),
  },
};
