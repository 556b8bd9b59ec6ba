/**
 * Attenuation: the order of delegation links, and their meet (SPEC "Attenuation").
 *
 * A link may grant no more than any link above it, in each of the dimensions below; an absent optional field inherits.
 * Narrowing proves consistency alone: authority is proved by signatures from a trusted root (protocol/delegation/verify.ts).
 */
import { equalBytes } from '../encoding/bytes.ts';
import { multikeyText } from '../encoding/multikey.ts';
import { MeshError } from '../errors.ts';
import { CHAIN_COMPARISONS_MAX, DEPTH_DEFAULT, DEPTH_MAX } from '../limits.ts';
import type { Statement } from '../statement/statement.ts';
import { type Capability, isCovered, isResourceWithin } from './capability.ts';
import type { Delegation, Rate } from './link.ts';

/** What `widened` names in `data.dimension`. */
export const DIMENSIONS = [
  'capability', // an entry's `can` that no entry above covers
  'resource', // covered as a capability, but not in its resources
  'window', // begins before or ends after
  'depth', // names more further hops than are left; where none are left at all the code is `depth`
  'rate', // a higher rate for something whose rate is limited above
  'at', // usable at a DID where the link above is not
  'purpose', // for a purpose that the link above does not name
  'score', // asks less trust of the exerciser
  'staleness', // tolerates older knowledge of revocations
  'private', // would publish what continues a private link
] as const;
export type Dimension = (typeof DIMENSIONS)[number];

/** Comparisons left to one chain: nested capabilities with many resources make the order quadratic twice over. */
export interface Work {
  left: number;
}
export const freshWork = (): Work => ({ left: CHAIN_COMPARISONS_MAX });

function spend(work: Work, comparisons: number): void {
  work.left -= comparisons;
  if (work.left < 0) {
    throw new MeshError(
      'budget',
      `Cannot compare the links of a chain: more than ${CHAIN_COMPARISONS_MAX} comparisons`,
      {
        want: CHAIN_COMPARISONS_MAX,
      },
    );
  }
}

const widened = (dimension: Dimension, why: string, facts: object = {}): MeshError =>
  new MeshError('widened', `Cannot accept a link: ${why}`, { dimension, ...facts });
const broken = (field: string, is: string, want: string): MeshError =>
  new MeshError('broken_link', `Cannot continue a chain: "${field}" is "${is}", want "${want}"`, { field, is, want });

/** An agent's link to itself that binds an ephemeral key: no hop of authority, though one of the links of a chain. */
export const isCredential = (link: Delegation): boolean => link.aud === link.iss && link.cnf !== undefined;

/**
 * A link against its parent, alone: continuity, then every dimension. Inside a chain `verifyChain` compares each link
 * with all above it, so that a field absent in between inherits from further up. Errors: broken_link, widened, depth.
 */
export function verifyAttenuation(child: Delegation, parent: Delegation): void {
  verifyContinuity(child, parent);
  verifyNarrower(child, parent, freshWork());
  // A parent that is not a root and names no depth has what its own parent left it, which is not known here.
  depthLeft(child, parent.dep ?? (parent.prf === null ? DEPTH_DEFAULT : DEPTH_MAX));
}

/** Issued by whom the parent names, about the same root and sponsor, by the key that it binds. Errors: broken_link. */
export function verifyContinuity(child: Delegation, parent: Delegation): void {
  if (child.iss !== parent.aud) throw broken('iss', child.iss, parent.aud);
  if (child.sub !== parent.sub) throw broken('sub', child.sub, parent.sub);
  if (child.spo !== parent.spo) throw broken('spo', child.spo, parent.spo);
  const [key] = child.by;
  if (parent.cnf !== undefined && (key === undefined || !equalBytes(key, parent.cnf))) {
    throw broken('by', key === undefined ? '' : multikeyText(key), multikeyText(parent.cnf));
  }
}

/** Further hops that a root allows. */
export const rootDepth = (root: Delegation): number => root.dep ?? DEPTH_DEFAULT;

/** Further hops that a link leaves, given those that its parent left. Errors: depth, widened. */
export function depthLeft(child: Delegation, parentDepth: number): number {
  const hop = isCredential(child) ? 0 : 1;
  if (parentDepth < hop) {
    throw new MeshError('depth', 'Cannot accept a link: its parent allows no further delegation', { is: 1, want: 0 });
  }
  const most = parentDepth - hop;
  const left = child.dep ?? most;
  if (left > most)
    throw widened('depth', `it allows ${left} further hops, want at most ${most}`, { is: left, want: most });
  return left;
}

/** Every dimension but depth, against one link above. Errors: widened, budget. */
export function verifyNarrower(child: Delegation, above: Delegation, work: Work): void {
  for (const entry of child.cap) verifyEntry(entry, above.cap, work);
  if (child.nbf < above.nbf || child.exp > above.exp) {
    const [is, want] = child.nbf < above.nbf ? [child.nbf, above.nbf] : [child.exp, above.exp];
    throw widened('window', `its window ${child.nbf}..${child.exp} is not within ${above.nbf}..${above.exp}`, {
      is,
      want,
    });
  }
  verifyRates(child.rate, above.rate, work);
  verifySubset('at', child.at, above.at);
  verifySubset('purpose', child.pur, above.pur);
  if (above.mts !== undefined && child.mts !== undefined && child.mts < above.mts) {
    throw widened('score', `its minimum score is ${child.mts}, want >= ${above.mts}`, {
      is: child.mts,
      want: above.mts,
    });
  }
  if (above.stl !== undefined && child.stl !== undefined && child.stl > above.stl) {
    throw widened('staleness', `it tolerates ${child.stl} s, want at most ${above.stl} s`, {
      is: child.stl,
      want: above.stl,
    });
  }
  // What continues a private link names its id and its parties; a link signed by a bound key is such a one.
  if (above.pri === true && child.pri !== true)
    throw widened('private', 'it is not private, and continues a private link');
}

function verifyEntry(entry: Capability, entries: readonly Capability[], work: Work): void {
  let covered = false;
  for (const above of entries) {
    spend(work, 1);
    if (!isCovered(entry.can, above.can)) continue;
    covered = true;
    // An entry without resources has those of the entry above.
    if (entry.res === undefined || above.res === undefined || isEachWithin(entry.res, above.res, work)) return;
  }
  if (covered) {
    throw widened('resource', `the resources of "${entry.can}" are not within those above`, { is: entry.can });
  }
  throw widened('capability', `it grants "${entry.can}", which no entry above covers`, { is: entry.can });
}

function isEachWithin(narrow: readonly string[], wide: readonly string[], work: Work): boolean {
  return narrow.every((resource) => {
    spend(work, wide.length);
    return wide.some((other) => isResourceWithin(resource, other));
  });
}

/**
 * For everything that is limited in both: the lowest limit stated below against the lowest stated above. It is enough to
 * ask this of the capabilities that the entries name, since the entries that cover any one capability are nested, so all
 * of them cover the narrowest of them.
 */
function verifyRates(below: readonly Rate[] | undefined, above: readonly Rate[] | undefined, work: Work): void {
  if (below === undefined || above === undefined) return;
  for (const { can } of [...below, ...above]) {
    spend(work, below.length + above.length);
    const is = lowestRate(below, can);
    const want = lowestRate(above, can);
    if (is !== undefined && want !== undefined && isFaster(is, want)) {
      throw widened('rate', `${is.n} in ${is.per} s for "${can}", want at most ${want.n} in ${want.per} s`, {
        is: `${is.n}/${is.per}`,
        want: `${want.n}/${want.per}`,
      });
    }
  }
}

/** Both factors are bounded in limits.ts so that the products are exact. */
const isFaster = (a: Rate, b: Rate): boolean => a.n * b.per > b.n * a.per;

function lowestRate(rates: readonly Rate[], can: string): Rate | undefined {
  let lowest: Rate | undefined;
  for (const rate of rates) {
    if (isCovered(can, rate.can) && (lowest === undefined || isFaster(lowest, rate))) lowest = rate;
  }
  return lowest;
}

function verifySubset(
  dimension: 'at' | 'purpose',
  below: readonly string[] | undefined,
  above: readonly string[] | undefined,
): void {
  if (below === undefined || above === undefined) return;
  const extra = below.find((value) => !above.includes(value));
  if (extra !== undefined) throw widened(dimension, `"${extra}" is not among those above`, { is: extra });
}

/** What holds at use of a chain: the meet of its links. Null where nothing is said: anywhere, any purpose, no minimum. */
export interface Authority {
  readonly capabilities: readonly Capability[];
  readonly notBeforeSeconds: number;
  readonly expiresSeconds: number;
  /** Further hops allowed to the audience of the leaf. */
  readonly depth: number;
  /** All limits along the chain. Each counts under its own link id, so ten children share their parent's. */
  readonly rates: readonly { readonly link: string; readonly can: string; readonly n: number; readonly per: number }[];
  readonly at: readonly string[] | null;
  readonly purposes: readonly string[] | null;
  readonly minScore: number | null;
  readonly stalenessSeconds: number | null;
  readonly private: boolean;
}

/** Root first. Errors: depth, widened (in its depth alone), budget; malformed for no links. */
export function meetOf(links: readonly Statement<'delegation/v1'>[], work: Work = freshWork()): Authority {
  const [root] = links;
  const leaf = links.at(-1);
  if (root === undefined || leaf === undefined)
    throw new MeshError('malformed', 'Cannot meet the links of a chain: there are none');
  let capabilities: readonly Capability[] = leaf.payload.cap;
  let depth = rootDepth(root.payload);
  for (let i = links.length - 2; i >= 0; i--) capabilities = meetCapabilities(capabilities, linkAt(links, i).cap, work);
  for (let i = 1; i < links.length; i++) depth = depthLeft(linkAt(links, i), depth);
  const payloads = links.map(({ payload }) => payload);
  return {
    capabilities,
    notBeforeSeconds: Math.max(...payloads.map(({ nbf }) => nbf)),
    expiresSeconds: Math.min(...payloads.map(({ exp }) => exp)),
    depth,
    rates: links.flatMap(({ id, payload }) =>
      (payload.rate ?? []).map(({ can, n, per }) => ({ link: id, can, n, per })),
    ),
    at: intersection(payloads.map(({ at }) => at)),
    purposes: intersection(payloads.map(({ pur }) => pur)),
    minScore: most(payloads.map(({ mts }) => mts)),
    stalenessSeconds: least(payloads.map(({ stl }) => stl)),
    private: payloads.some(({ pri }) => pri === true),
  };
}

const linkAt = (links: readonly Statement<'delegation/v1'>[], i: number): Delegation =>
  (links[i] as Statement<'delegation/v1'>).payload;

function intersection(lists: readonly (readonly string[] | undefined)[]): readonly string[] | null {
  const [first, ...rest] = lists.filter((list) => list !== undefined);
  return first === undefined ? null : first.filter((value) => rest.every((list) => list.includes(value)));
}

const stated = (values: readonly (number | undefined)[]): number[] => values.filter((value) => value !== undefined);
const most = (values: readonly (number | undefined)[]): number | null => {
  const known = stated(values);
  return known.length === 0 ? null : Math.max(...known);
};
const least = (values: readonly (number | undefined)[]): number | null => {
  const known = stated(values);
  return known.length === 0 ? null : Math.min(...known);
};

/** Everything that both lists cover and nothing else. Errors: budget. */
export function meetCapabilities(
  a: readonly Capability[],
  b: readonly Capability[],
  work: Work = freshWork(),
): Capability[] {
  const met = new Map<string, Set<string> | 'all'>();
  for (const entry of a) {
    const within = b.find((above) => isWhollyCovered(entry, above, work));
    if (within !== undefined) addTo(met, entry.can, entry.res);
    else for (const other of b) meetEntries(met, entry, other, work);
  }
  const entries = [...met].map(([can, res]): Capability => (res === 'all' ? { can } : { can, res: [...res] }));
  return entries.filter((entry) => !entries.some((other) => other !== entry && isWhollyCovered(entry, other, work)));
}

function meetEntries(met: Map<string, Set<string> | 'all'>, a: Capability, b: Capability, work: Work): void {
  spend(work, 1);
  const can = isCovered(a.can, b.can) ? a.can : isCovered(b.can, a.can) ? b.can : undefined;
  if (can === undefined) return;
  if (a.res === undefined || b.res === undefined) return addTo(met, can, a.res ?? b.res);
  const common: string[] = [];
  for (const x of a.res) {
    spend(work, b.res.length);
    for (const y of b.res) {
      if (isResourceWithin(x, y)) common.push(x);
      else if (isResourceWithin(y, x)) common.push(y);
    }
  }
  if (common.length > 0) addTo(met, can, common);
}

function addTo(met: Map<string, Set<string> | 'all'>, can: string, res: readonly string[] | undefined): void {
  const known = met.get(can);
  if (res === undefined || known === 'all') met.set(can, 'all');
  else if (known === undefined) met.set(can, new Set(res));
  else for (const resource of res) known.add(resource);
}

/**
 * Whether an entry covers a request or another entry as it stands: here no resources mean all of them, on both sides, so
 * a request that names none is not covered by an entry that is limited to some.
 */
function isWhollyCovered(wanted: Capability, entry: Capability, work: Work): boolean {
  spend(work, 1);
  if (!isCovered(wanted.can, entry.can)) return false;
  return entry.res === undefined || (wanted.res !== undefined && isEachWithin(wanted.res, entry.res, work));
}

/** Whether a list of entries covers a request: each of its resources is asked for separately. */
export function isRequestCovered(
  wanted: Capability,
  entries: readonly Capability[],
  work: Work = freshWork(),
): boolean {
  const { can, res = [] } = wanted;
  if (res.length === 0) return entries.some((entry) => isWhollyCovered({ can }, entry, work));
  return res.every((resource) => entries.some((entry) => isWhollyCovered({ can, res: [resource] }, entry, work)));
}
