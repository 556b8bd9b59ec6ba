/** What a revocation takes with it (SPEC "Revocation and freshness"): computed, never stored. */
import { equalBytes, toHex } from '../encoding/bytes.ts';
import type { Revocation } from '../revocation/revocation.ts';
import type { MeshView } from '../state/view.ts';
import type { Statement } from '../statement/statement.ts';

type Link = Statement<'delegation/v1'>;
type Revoked = Pick<Revocation, 'iss' | 'tgt'>;

/**
 * Ids of the links among `links` that no longer verify once the revocation counts: those that it hits, then whatever
 * continues them. None where its issuer is not entitled.
 */
export function cascadeOf(
  links: Iterable<Link>,
  revocation: Revoked,
  view: Pick<MeshView, 'didState' | 'link'>,
): string[] {
  const children = new Map<string, Link[]>();
  const hit = new Set<string>();
  const open: Link[] = [];
  const isHit = hitBy(revocation, view);
  for (const link of links) {
    const parent = link.payload.prf?.text;
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), link]);
    if (isHit(link)) open.push(link);
  }
  for (let link = open.shift(); link !== undefined; link = open.shift()) {
    if (hit.has(link.id)) continue;
    hit.add(link.id);
    open.push(...(children.get(link.id) ?? []));
  }
  return [...hit];
}

function hitBy({ iss, tgt }: Revoked, view: Pick<MeshView, 'didState' | 'link'>): (link: Link) => boolean {
  if (tgt.link !== undefined) {
    const id = tgt.link.text;
    return (link) => link.id === id && isEntitled(iss, link, view);
  }
  const { did, key } = tgt;
  const state = did === undefined ? undefined : view.didState(did);
  if (state?.ctl === undefined || (iss !== state.ctl && (key === undefined || iss !== did))) return () => false;
  if (key === undefined) return ({ payload }) => payload.iss === did || payload.spo === did || payload.aud === did;
  const standing = state.listed.get(toHex(key));
  const kept = standing?.standing === 'dead' ? standing.kept : undefined;
  const isKey = (other: Uint8Array | undefined): boolean => other !== undefined && equalBytes(other, key);
  return ({ id, payload }) => {
    if (kept?.has(id) === true) return false;
    if (payload.iss === did && isKey(payload.by[0])) return true;
    return (payload.spo === did && isKey(payload.by[1])) || (payload.aud === did && isKey(payload.cnf));
  };
}

/** Whether a DID may revoke a link: its issuer, any issuer above, the root organisation, the sponsor, its audience. */
export function isEntitled(did: string, link: Link, view: Pick<MeshView, 'link'>): boolean {
  const { sub, spo, aud } = link.payload;
  if (did === sub || did === spo || did === aud) return true;
  for (
    let at: Link | undefined = link;
    at !== undefined;
    at = at.payload.prf === null ? undefined : view.link(at.payload.prf.text)
  ) {
    if (at.payload.iss === did) return true;
  }
  return false;
}
