/** Rows of the control API about calls between organisations: what is exposed, links to it, receipts, messages. */
import type { Route } from './route.ts';

export const CALL_ROUTES = {} as const satisfies Record<string, Route>;
