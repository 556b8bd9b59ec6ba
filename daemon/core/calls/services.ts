/**
 * What is exposed to whom. Others are told the names and descriptions of those servers of which the capabilities of
 * their session cover something, and nothing of any other; this side asks them with each chain that it holds of theirs.
 */
import { coversSome, isExposedName } from '../../../protocol/call/index.ts';
import { type Capability, isCovered, isMeshError, limits, MeshError } from '../../../protocol/index.ts';
import { visibleText } from '../../../protocol/mcp/index.ts';
import type { Logger } from '../../ports.ts';
import { ask, type AskComponents } from './ask.ts';
import type { CallerSessions } from './caller-sessions.ts';
import type { Exposures } from './exposures.ts';
import { type ChosenGrant, type GrantsComponents, heldGrants } from './grants.ts';
import type { AskHandler } from './node-calls.ts';

export interface Service {
  readonly name: string;
  readonly description: string | null;
}

export interface Services {
  readonly did: string;
  readonly organisation: string;
  /** By name. */
  readonly services: readonly Service[];
  /** How many chains were presented: with none nothing is told. */
  readonly grants: number;
}

export interface ServicesComponents extends AskComponents, GrantsComponents {
  readonly log: Logger;
  readonly lines: Pick<CallerSessions, 'acquire'>;
  /** Own agent or organisation that may act now. Errors: not_found, suspended, revoked. */
  readonly acting: (did: string) => unknown;
  /** Of a DID, whose log is fetched if it is not held. Errors: did_unknown, unreachable, cancelled. */
  readonly organisationOf: (did: string, signal: AbortSignal) => Promise<string>;
  /** Own organisation. */
  readonly organisation: string;
}

const ABOUT = 'mcp:*';

const encoder = new TextEncoder();

/** Answers whoever asks for services. */
export const serviceAnswers =
  (exposures: Pick<Exposures, 'list'>): AskHandler =>
  async ({ session, messages }) => {
    const services = exposures
      .list()
      .filter((exposure) => coversSome(exposure, session.granted))
      .map(({ name, description }): Service => ({ name, description }));
    await messages.send({ f: 'told' }, encoder.encode(JSON.stringify({ services })));
  };

/**
 * What another agent or organisation exposes to an own one. Each chain that it holds of theirs is presented in a session
 * of its own, SERVICES_GRANTS_MAX at most, but those that grant nothing further.
 * Errors: not_found, suspended, revoked (own agent); did_unknown, unreachable, cancelled; where every chain fails, why
 * the first did: those of the handshake, and what the other side refuses with.
 */
export async function askServices(
  components: ServicesComponents,
  { did, as = components.organisation }: { readonly did: string; readonly as?: string | undefined },
  signal: AbortSignal,
): Promise<Services> {
  components.acting(as);
  const organisation = await components.organisationOf(did, signal);
  const grants = further(heldGrants(components, { as, did, organisation, about: ABOUT }));
  const found = new Map<string, Service>();
  let failure: MeshError | undefined;
  let answers = 0;
  for (const grant of grants) {
    try {
      for (const service of await askWith(components, { did, as, grant }, signal)) found.set(service.name, service);
      answers++;
    } catch (error) {
      if (!isMeshError(error) || signal.aborted) throw error;
      components.log.debug({ did, code: error.code, reason: error.message }, 'a chain learnt nothing of services');
      failure ??= error;
    }
  }
  if (answers === 0 && failure !== undefined) throw failure;
  const services = [...found.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { did, organisation, services, grants: grants.length };
}

async function askWith(
  components: ServicesComponents,
  { did, as, grant: { leaf: grant, capabilities } }: { did: string; as: string; grant: ChosenGrant },
  signal: AbortSignal,
): Promise<readonly Service[]> {
  await components.chains.freshen(grant, { ageShare: 0.5, signal });
  const held = await components.lines.acquire({ as, did, grant, capabilities }, signal);
  try {
    return parseServices(await ask(components, held.session, { what: 'services' }, signal), did);
  } finally {
    held.release();
  }
}

/** Without those that grant nothing which one before them does not. */
function further(grants: readonly ChosenGrant[]): readonly ChosenGrant[] {
  const kept: ChosenGrant[] = [];
  for (const grant of grants) {
    const isKnown = ({ can }: Capability): boolean =>
      kept.some(({ capabilities }) => capabilities.some((wide) => isCovered(can, wide.can)));
    if (!grant.capabilities.every(isKnown)) kept.push(grant);
    if (kept.length === limits.SERVICES_GRANTS_MAX) break;
  }
  return kept;
}

const decoder = new TextDecoder('utf-8', { fatal: true });

/** Errors: malformed, too_large. */
function parseServices(bytes: Uint8Array, did: string): readonly Service[] {
  const refuse = (why: string, cause?: unknown): MeshError =>
    new MeshError('malformed', `Cannot read the services of "${did}": ${why}`, { side: 'peer' }, { cause });
  if (bytes.length > limits.SERVICES_BYTES_MAX)
    throw new MeshError('too_large', `Cannot read the services of "${did}": they have ${bytes.length} bytes`, {
      is: bytes.length,
      want: limits.SERVICES_BYTES_MAX,
      side: 'peer',
    });
  let value: unknown;
  try {
    value = JSON.parse(decoder.decode(bytes));
  } catch (cause) {
    throw refuse('they are not JSON', cause);
  }
  const { services } = (typeof value === 'object' && value !== null ? value : {}) as { readonly services?: unknown };
  if (!Array.isArray(services) || services.length > limits.EXPOSED_MAX)
    throw refuse(`they are no list of at most ${limits.EXPOSED_MAX}`);
  return services.map((each: unknown) => {
    const { name, description } = (typeof each === 'object' && each !== null ? each : {}) as Readonly<
      Record<string, unknown>
    >;
    if (typeof name !== 'string' || !isExposedName(name)) throw refuse('one has no name');
    const isShort = typeof description === 'string' && description.length <= limits.EXPOSED_DESCRIPTION_TEXT_MAX;
    return { name, description: isShort ? visibleText(description.toWellFormed()) : null };
  });
}
