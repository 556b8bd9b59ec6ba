/** Who asks, and whether the table lets them. */
import type { IncomingHttpHeaders } from 'node:http';
import type { AnyCaller, Caller, Route } from '../../protocol/control/index.ts';
import { MeshError } from '../../protocol/index.ts';

export interface Tokens {
  /** The agent that the token acts for; undefined for one that is wrong, expired, or of a suspended or revoked agent. */
  agentOf(token: string): string | undefined;
}

export const tokenOf = (headers: IncomingHttpHeaders): string | undefined =>
  /^Bearer ([A-Za-z0-9_-]{43})$/i.exec(headers.authorization ?? '')?.[1];

/** Errors: unauthorized, for a header that leads to no agent: a bad token never falls back to more rights. */
export function callerOf(headers: IncomingHttpHeaders, overTcp: boolean, tokens: Tokens): AnyCaller {
  if (headers.authorization === undefined) return overTcp ? { kind: 'nobody' } : { kind: 'operator' };
  const token = tokenOf(headers);
  const did = token === undefined ? undefined : tokens.agentOf(token);
  if (did === undefined)
    throw new MeshError(
      'unauthorized',
      'Cannot accept the token: it is wrong, expired, or of an agent that may not work now',
    );
  return { kind: 'agent', did };
}

/** Errors: unauthorized, forbidden. */
export function verifyMayCall(route: Route, caller: AnyCaller): void {
  if (route.who === 'anyone') return;
  if (caller.kind === 'nobody')
    throw new MeshError('unauthorized', 'Cannot answer without a token over TCP: want "Authorization: Bearer …"');
  if (route.who === 'operator' && caller.kind === 'agent') {
    throw new MeshError('forbidden', "Cannot do this with an agent's token: it is the operator's business", {
      did: caller.did,
    });
  }
}

interface Input {
  readonly params: Readonly<Record<string, unknown>>;
  readonly query: Readonly<Record<string, unknown>>;
  readonly body: unknown;
}

/** An agent acts for itself alone; where it did not say for whom, it is filled in. Errors: forbidden. */
export function ownInput(route: Route, input: Input, caller: AnyCaller): Input {
  if (route.own === undefined || caller.kind !== 'agent') return input;
  const [place, name] = route.own.split('.') as ['params' | 'query' | 'body', string];
  const holder = input[place] as Readonly<Record<string, unknown>>;
  const named = holder[name];
  if (named === undefined) return { ...input, [place]: { ...holder, [name]: caller.did } };
  if (named !== caller.did) {
    throw new MeshError('forbidden', `Cannot act for another with an agent's token: "${name}" is not "${caller.did}"`, {
      did: caller.did,
    });
  }
  return input;
}

/**
 * A page of another site can make a browser send requests to 127.0.0.1 (DNS rebinding): the name it used and the page
 * it comes from give it away. Errors: forbidden.
 */
export function verifyLocal(headers: IncomingHttpHeaders, port: number): void {
  const names = ['127.0.0.1', 'localhost', '[::1]'].map((name) => `${name}:${port}`);
  const { host = '', origin } = headers;
  if (!names.includes(host))
    throw new MeshError(
      'forbidden',
      `Cannot answer a request for host "${host.slice(0, 100)}": want "${names.join('", "')}"`,
      { field: 'host' },
    );
  if (origin !== undefined && !names.some((name) => origin === `http://${name}`)) {
    throw new MeshError('forbidden', `Cannot answer a page of "${origin.slice(0, 100)}": want one of this listener`, {
      field: 'origin',
    });
  }
}

export const isCaller = (caller: AnyCaller): caller is Caller => caller.kind !== 'nobody';
