/** What the control API shows of statements and states: JSON, times as RFC 3339, ids and keys as text. */
import type { DidView, LinkView, RevocationTargetJson, RevocationView } from '../../protocol/control/index.ts';
import {
  type Capability,
  didDocument,
  didDocumentMetadata,
  type DidState,
  type MeshState,
  MeshError,
  multikeyText,
  parseMultikeyText,
  Link,
  type RevocationTarget,
  type Statement,
  toHex,
} from '../../protocol/index.ts';

export const timeOf = (ms: number): string => new Date(ms).toISOString();
export const timeOfSeconds = (seconds: number): string => `${new Date(seconds * 1000).toISOString().slice(0, 19)}Z`;

export const capabilitiesOf = (cap: readonly Capability[]): { can: string; res?: string[] }[] =>
  cap.map(({ can, res }) => (res === undefined ? { can } : { can, res: [...res] }));

/** What came in over the API, as the protocol has it. */
export const capabilitiesFrom = (cap: readonly { can: string; res?: readonly string[] }[]): Capability[] =>
  cap.map(({ can, res }) => (res === undefined ? { can } : { can, res }));

export function linkView({ id, payload }: Pick<Statement<'delegation/v1'>, 'id' | 'payload'>): LinkView {
  const { prf, iss, aud, sub, spo, cap, iat, nbf, exp, dep, rate, pur, at, mts, stl, pri, cnf, by } = payload;
  return {
    id,
    parent: prf?.text ?? null,
    issuer: iss,
    audience: aud,
    organisation: sub,
    sponsor: spo,
    capabilities: capabilitiesOf(cap),
    issuedAt: timeOfSeconds(iat),
    notBefore: timeOfSeconds(nbf),
    expiresAt: timeOfSeconds(exp),
    depth: dep ?? null,
    rates: [...(rate ?? [])],
    purposes: [...(pur ?? [])],
    at: [...(at ?? [])],
    minScore: mts ?? null,
    stalenessSeconds: stl ?? null,
    private: pri === true,
    holderKey: cnf === undefined ? null : multikeyText(cnf),
    signedBy: by.map((key) => multikeyText(key)),
  };
}

export const targetView = ({ link, did, key }: RevocationTarget): RevocationTargetJson => {
  if (link !== undefined) return { link: link.text };
  const target = { did: did as string }; // the schema wants one of the two
  return key === undefined ? target : { ...target, key: multikeyText(key) };
};

export const targetFrom = (target: RevocationTargetJson): RevocationTarget => {
  if ('link' in target) return { link: Link.parse(target.link) };
  return 'key' in target ? { did: target.did, key: parseMultikeyText(target.key) } : { did: target.did };
};

export function revocationView({ id, payload }: Statement<'revocation/v1'>): RevocationView {
  const { seq, org, iss, tgt, rsn, iat } = payload;
  return {
    id,
    number: seq,
    organisation: org,
    issuer: iss,
    target: targetView(tgt),
    reason: rsn,
    at: timeOfSeconds(iat),
  };
}

/** Errors: did_unknown. */
export function didView(state: MeshState, did: string, nowMs: number): DidView {
  const held = requireState(state, did);
  const [newest] = [...state.heartbeatsOf(held.organisation, nowMs)].sort(
    (a, b) => b.statement.payload.iat - a.statement.payload.iat,
  );
  const beat = newest?.statement.payload;
  const [revocation] = state.revocationsOf({ did }).filter(({ payload }) => payload.iss === held.ctl);
  const revocations = state.revocationsBy(held.organisation);
  return {
    did,
    kind: held.kind,
    organisation: held.organisation,
    status: held.status,
    revoked:
      revocation === undefined
        ? null
        : { by: revocation.payload.iss, at: timeOfSeconds(revocation.payload.iat), reason: revocation.payload.rsn },
    seq: held.seq,
    head: held.head,
    contested: held.contested,
    keys: keysOf(state, held),
    peers: [...held.peers],
    services: held.services.map(([type, endpoint]) => ({ type, endpoint })),
    rotation: { threshold: held.next.threshold, commitments: held.next.commitments.length },
    recovery: { threshold: held.recovery.threshold, commitments: held.recovery.commitments.length },
    createdAt: timeOfSeconds(held.createdSeconds),
    updatedAt: timeOfSeconds(held.updatedSeconds),
    freshness: {
      heartbeatAt: beat === undefined ? null : timeOfSeconds(beat.iat),
      ageSeconds: beat === undefined ? null : Math.max(0, Math.round(nowMs / 1000 - beat.iat)),
      revocations: revocations.at(-1)?.payload.seq ?? 0,
    },
    document: didDocument(held),
    documentMetadata: metadataView(held),
  };
}

export function requireState(state: MeshState, did: string): DidState {
  const held = state.didState(did);
  if (held === undefined) throw new MeshError('did_unknown', `Cannot show "${did}": its log is not held here`, { did });
  return held;
}

function metadataView(held: DidState): DidView['documentMetadata'] {
  const { versionId, deactivated, created, updated } = didDocumentMetadata(held);
  return { versionId, deactivated, created, updated };
}

/** Keys in use first, then the retired ones. */
function keysOf(state: MeshState, held: DidState): DidView['keys'] {
  const listed = new Map<string, Uint8Array>();
  for (const { payload } of state.operationsOf(held.did)) {
    if ('keys' in payload) for (const [key] of payload.keys) listed.set(multikeyText(key), key);
  }
  const rank = { current: 0, grace: 1, dead: 2 } as const;
  return [...listed]
    .flatMap(([text, key]) => {
      const standing = held.listed.get(toHex(key));
      if (standing === undefined) return [];
      const until = standing.standing === 'grace' ? timeOfSeconds(standing.untilSeconds) : null;
      return [{ key: text, uses: [...standing.uses], standing: standing.standing, until }];
    })
    .sort((a, b) => rank[a.standing] - rank[b.standing]);
}
