import type { BackendOperationId, InputOf, ResponseOf } from './routes.ts';

/** Who asks: whoever may open the socket, or one agent by its token. */
export type Caller = { readonly kind: 'operator' } | { readonly kind: 'agent'; readonly did: string };

/** Calls to `anyone` routes without a token over TCP come as this caller. */
export type AnyCaller = Caller | { readonly kind: 'nobody' };

/**
 * What the control server asks of the daemon: one method per `backend` route of the table. Input has passed its schema
 * and the route's `who` and `own`; whatever needs state (may this agent see this link, this session?) is the
 * backend's to check. It throws MeshErrors with codes that the route lists. The signal fires when the client is gone
 * or the server stops.
 */
export type ControlBackend = {
  readonly [K in BackendOperationId]: (
    input: InputOf<K>,
    caller: CallerOf<K>,
    signal: AbortSignal,
  ) => Promise<ResponseOf<K>>;
};
type CallerOf<K extends BackendOperationId> = K extends 'login' | 'loginChallenge' ? AnyCaller : Caller;
