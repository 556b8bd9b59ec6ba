/** A request as policies see it: what the caller asks, and what whoever asks the policy knows beside it. */
import type { ErrorCode } from '../errors.ts';
import type { PolicyContext } from './context.ts';
import type { Decision } from './decision.ts';
import type { GateRequest } from './gate.ts';

/** What the caller of a gate does not say itself. */
export interface RequestFacts {
  readonly agent: PolicyContext['agent'];
  readonly principal?: PolicyContext['principal'] | undefined;
  readonly peer?: PolicyContext['peer'] | undefined;
  readonly trust?: PolicyContext['trust'] | undefined;
  readonly delegation?: PolicyContext['delegation'] | undefined;
  readonly environment?: PolicyContext['environment'] | undefined;
  /**
   * What the detectors found (`protocol/detect`); absent where nothing looked: then rules about data fail closed, as
   * for anything that is not known.
   */
  readonly detected?: Detected | undefined;
  readonly nowMs: number;
}

export type Detected = NonNullable<PolicyContext['data']>;

/** What is decided of a request that whoever asks does not do: a denial of the policies stays as it is. */
export function withholding(decision: Decision, code: ErrorCode | undefined): Decision {
  if (code === undefined || decision.effect === 'deny') return decision;
  const { approval: _, ...rest } = decision;
  return { ...rest, effect: 'deny', code, rule: null, limits: [], reason: `Whoever asks does not do it: "${code}"` };
}

export function contextOf(request: GateRequest, facts: RequestFacts): PolicyContext {
  const { action, tool, resource, prompt, mcp, labels } = request;
  const { agent, principal, peer, trust, delegation, environment, detected, nowMs } = facts;
  const data = detected && withLabels(detected, labels);
  return {
    action: { type: action },
    ...(tool && { tool }),
    ...(resource && { resource }),
    ...(prompt && { prompt }),
    ...(mcp && { mcp }),
    agent,
    ...(principal && { principal }),
    ...(peer && { peer }),
    ...(trust && { trust }),
    ...(delegation && { delegation }),
    ...(data && { data }),
    time: timeOf(nowMs),
    ...(environment && { environment }),
    ...(request.facts && { facts: request.facts }),
  };
}

/** A caller may say that there is more than was found, never that there is less. */
function withLabels(found: Detected, said: readonly string[] | undefined): Detected {
  if (said === undefined || said.length === 0) return found;
  const labels = [...new Set([...found.labels, ...said])].sort();
  const has = (kind: string): boolean => labels.some((label) => label === kind || label.startsWith(`${kind}.`));
  return {
    ...found,
    labels,
    contains_pii: found.contains_pii || has('pii'),
    contains_phi: found.contains_phi || has('phi'),
    contains_card: found.contains_card || has('card'),
    contains_secret: found.contains_secret || has('secret'),
  };
}

/** UTC. */
export function timeOf(nowMs: number): PolicyContext['time'] {
  const now = new Date(nowMs);
  return {
    iso: now.toISOString(),
    unix: Math.floor(nowMs / 1000),
    hour: now.getUTCHours(),
    weekday: now.getUTCDay() === 0 ? 7 : now.getUTCDay(),
  };
}
