/**
 * Which of the held chains an own agent presents to another organisation (SPEC "Making calls"): the caller chooses,
 * the callee judges. What is chosen depends on what is held and on nothing else, so that asking twice is the same.
 */
import {
  type Capability,
  type ChainReport,
  isCovered,
  isCredential,
  isMeshError,
  isRequestCovered,
  limits,
  MeshError,
  type MeshState,
  type Statement,
} from '../../../protocol/index.ts';
import type { Clock } from '../../ports.ts';
import type { Chains } from '../chains.ts';
import { grantChain } from '../presenter.ts';

type Link = Statement<'delegation/v1'>;

export interface GrantsComponents {
  readonly state: MeshState;
  readonly chains: Pick<Chains, 'judge' | 'freshen'>;
  readonly clock: Clock;
}

export interface GrantWanted {
  /** Own agent, or the organisation, that presents it. */
  readonly as: string;
  /** Whom it is presented to, and its organisation, at which the chain has to begin. */
  readonly did: string;
  readonly organisation: string;
  /** What it is for, as "mcp:files/*" or "mesh:message". */
  readonly about: string;
  readonly purpose?: string | undefined;
  /** The leaf, where somebody named it: then no other is looked at. */
  readonly grant?: string | undefined;
}

export interface ChosenGrant {
  readonly leaf: string;
  /** The meet of its links. */
  readonly capabilities: readonly Capability[];
}

interface Candidate extends ChosenGrant {
  readonly link: Link;
  /** Whether something of what it is for is granted by its name. */
  readonly isAbout: boolean;
}

/**
 * Named: that one, as far as it verifies. Else of all that begin at the organisation and may be used there: those that
 * grant something of `about` by name before others, since an exposure may ask for capabilities of its own; of these the
 * one that covers most others, then the newest, then the lowest id.
 * Errors: caps_insufficient, saying how one is got; for a named one not_found, holder_mismatch, CHAIN_CODES.
 */
export async function chooseGrant(
  components: GrantsComponents,
  wanted: GrantWanted,
  signal: AbortSignal,
): Promise<ChosenGrant> {
  if (wanted.grant !== undefined) return namedGrant(components, wanted, wanted.grant, signal);
  for (const candidate of ranked(candidatesFor(components, wanted))) {
    // By what is known once it is fresh: what was revoked is not presented.
    const fresh = await refreshed(components, wanted, candidate, signal);
    if (fresh !== undefined) return fresh;
  }
  throw noneHeld(wanted);
}

/** All that could be presented there by what is known now, the best first. */
export const heldGrants = (components: GrantsComponents, wanted: Omit<GrantWanted, 'grant'>): readonly ChosenGrant[] =>
  ranked(candidatesFor(components, wanted));

async function namedGrant(
  components: GrantsComponents,
  wanted: GrantWanted,
  grant: string,
  signal: AbortSignal,
): Promise<ChosenGrant> {
  const [root] = grantChain(components.state, wanted.as, grant);
  const organisation = root?.payload.sub ?? wanted.organisation;
  await components.chains.freshen(grant, { ageShare: 0.5, signal });
  return { leaf: grant, capabilities: capabilitiesOf(judged(components, grant, organisation)) };
}

/** Undefined: it does not verify any more. */
async function refreshed(
  components: GrantsComponents,
  wanted: GrantWanted,
  { leaf }: Candidate,
  signal: AbortSignal,
): Promise<ChosenGrant | undefined> {
  await components.chains.freshen(leaf, { ageShare: 0.5, signal });
  const report = judgedOr(components, leaf, wanted.organisation);
  return report === undefined ? undefined : { leaf, capabilities: capabilitiesOf(report) };
}

function candidatesFor(components: GrantsComponents, wanted: GrantWanted): Candidate[] {
  const { state, clock } = components;
  const nowSeconds = clock.nowMs() / 1000;
  const held = [...state.linksTo(wanted.as)]
    .filter(({ payload }) => payload.sub === wanted.organisation && !isCredential(payload) && payload.cnf === undefined)
    .filter(({ payload }) => payload.exp > nowSeconds && payload.nbf <= nowSeconds + limits.SKEW_SECONDS)
    .sort(byNewest)
    .slice(0, limits.GRANTS_LOOKED_AT_MAX);
  return held.flatMap((link) => {
    const report = judgedOr(components, link.id, wanted.organisation);
    if (report === undefined || !isUsable(report, wanted)) return [];
    const capabilities = capabilitiesOf(report);
    const isAbout = capabilities.some(({ can }) => isCovered(can, wanted.about) || isCovered(wanted.about, can));
    return [{ link, leaf: link.id, capabilities, isAbout }];
  });
}

function isUsable({ effective }: ChainReport, { did, organisation, purpose }: GrantWanted): boolean {
  if (effective === null || effective.capabilities.length === 0) return false;
  const { at, purposes } = effective;
  const isHere = at === null || at.includes(did) || at.includes(organisation);
  return isHere && (purposes === null || (purpose !== undefined && purposes.includes(purpose)));
}

/** The best first. */
function ranked(candidates: readonly Candidate[]): Candidate[] {
  const covers = new Map(
    candidates.map((one) => [one, candidates.filter((other) => coversAll(one, other)).length] as const),
  );
  return [...candidates].sort(
    (a, b) =>
      Number(b.isAbout) - Number(a.isAbout) || (covers.get(b) ?? 0) - (covers.get(a) ?? 0) || byNewest(a.link, b.link),
  );
}

function coversAll({ capabilities }: Candidate, other: Candidate): boolean {
  try {
    return other.capabilities.every((one) => isRequestCovered(one, capabilities));
  } catch (error) {
    if (isMeshError(error) && error.code === 'budget') return false; // too much to compare: then it is not preferred
    throw error;
  }
}

const byNewest = (a: Link, b: Link): number => b.payload.iat - a.payload.iat || (a.id < b.id ? -1 : 1);

/** Errors: CHAIN_CODES but status_stale: how recent knowledge must be is for the callee to say. */
function judged({ chains }: GrantsComponents, leaf: string, organisation: string): ChainReport {
  try {
    return chains.judge(leaf, { roots: new Set([organisation]) });
  } catch (error) {
    if (!isMeshError(error) || error.code !== 'status_stale') throw error;
    return error.data.report as ChainReport;
  }
}

function judgedOr(components: GrantsComponents, leaf: string, organisation: string): ChainReport | undefined {
  try {
    return judged(components, leaf, organisation);
  } catch (error) {
    if (isMeshError(error)) return undefined; // one that does not verify is none
    throw error;
  }
}

const capabilitiesOf = ({ effective }: ChainReport): readonly Capability[] =>
  (effective?.capabilities ?? []).slice(0, limits.CAPABILITIES_MAX);

const noneHeld = ({ as, did, organisation, about }: GrantWanted): MeshError =>
  new MeshError(
    'caps_insufficient',
    `Cannot present a grant to "${did}": no chain is held here that "${organisation}" begins and that gives "${as}" anything`,
    {
      did,
      want: about,
      next: `ask the operator of "${organisation}" for "agentmesh delegate --to ${as} --can ${about}"`,
    },
  );
