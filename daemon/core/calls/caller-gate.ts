/**
 * Where a link's requests are decided on the side that calls: by the policies of its own daemon and those that the
 * client brought, about a server that they name "DID/NAME". What is decided is in the log before anything leaves.
 */
import type { Json } from '../../../protocol/index.ts';
import type { Paths } from '../../../protocol/mcp/index.ts';
import type { DecideOptions, Gate, GateRequest, Verdict } from '../../../protocol/policy/index.ts';
import type { Clock } from '../../ports.ts';
import type { Acting, Governance } from '../governance/governance.ts';
import type { Session } from '../sessions.ts';
import { holdDecision } from './held-gate.ts';
import { detailsOf, factsOf } from './session-facts.ts';

/** What the engine hands back with everything that belongs to one message of the client. */
export interface Asked {
  /** A request that has an order, once it is allowed; else it is told nothing. */
  readonly isCall: boolean;
  /** Id of the entry that allowed it. */
  intent: string | undefined;
  /** The tool that is called, as the log names it. */
  tool: string | undefined;
  /** The client gave it up: nothing goes back for it. */
  isDropped: boolean;
}
export const asking = (isCall: boolean): Asked => ({ isCall, intent: undefined, tool: undefined, isDropped: false });

export interface CallerGateComponents {
  readonly governance: Pick<Governance, 'decide' | 'filter' | 'settle' | 'checkTools' | 'waitForApproval'>;
  readonly clock: Pick<Clock, 'monotonicMs'>;
  /** Own agent that calls, as long as it may. Errors: not_found, suspended, revoked. */
  readonly acting: () => Acting;
  /** Digests of the policies that the client brought. */
  readonly policies: readonly string[];
  /** The newest under the link. */
  readonly session: () => Session;
  /** A call that is not let through. */
  readonly refused: () => void;
}

export type LinkGate = Omit<Gate, 'close' | typeof Symbol.asyncDispose>;

export function createCallerGate(components: CallerGateComponents): LinkGate {
  const { governance, clock, acting, policies, session, refused } = components;
  const approvals = { wait: governance.waitForApproval.bind(governance) };

  const decide = async (request: GateRequest, options: DecideOptions = {}): Promise<Verdict> => {
    const once = (): Promise<Verdict> => {
      const now = session();
      const how = { signal: options.signal, details: detailsOf(now) };
      return governance.decide(acting(), policies, request, factsOf(now), how);
    };
    const verdict = await holdDecision({ clock, approvals }, once, options);
    note(verdict, request, options.origin as Asked | undefined);
    return verdict;
  };

  const note = ({ effect, id }: Verdict, { tool }: GateRequest, asked: Asked | undefined): void => {
    if (asked?.isCall !== true || asked.intent !== undefined) return; // of what comes back, the intent is the request's
    if (effect !== 'allow') return refused();
    asked.intent = id ?? undefined;
    asked.tool = tool?.name;
  };

  return {
    description: { mode: 'daemon', agent: session().as, organisation: null, policies: [], missing: [] },
    decide,
    filter: async (requests) => governance.filter(acting(), policies, requests, factsOf(session())),
    settle: ({ id, effect }, outcome) => {
      if (id !== null && effect === 'allow') governance.settle(session().as, id, outcome);
    },
    checkTools: async (server, tools, options) => governance.checkTools(acting(), policies, server, tools, options),
  };
}

/**
 * As a path is written, without the machine that it is on: from which directory a relative one starts is not known here,
 * so it is told as it is and as from the root. The other side judges by what its own files are.
 */
export const LEXICAL_PATHS: Paths = {
  canonicalPaths: (texts) => {
    const found = new Set<string>();
    for (const text of texts) {
      if (text.includes('\0')) continue; // no system call takes it
      if (!/^(?:\/|[A-Za-z]:[\\/]|\\\\)/.test(text)) found.add(text);
      found.add(rooted(text));
    }
    return [...found];
  },
};

function rooted(text: string): string {
  const [drive = ''] = /^[A-Za-z]:(?=[\\/])/.exec(text) ?? [];
  const segments: string[] = [];
  for (const segment of text.slice(drive.length).split('/')) {
    if (segment === '..') segments.pop();
    else if (segment !== '' && segment !== '.') segments.push(segment);
  }
  return `${drive}/${segments.join('/')}`;
}

/** Of a call, in `_meta`: the same key again is the same call, done once. */
export const META_KEY = 'agentmesh/idempotency-key';

/** Undefined: it names none. */
export const keyNamedIn = (meta: Readonly<Record<string, Json>> | undefined): Json | undefined => meta?.[META_KEY];
