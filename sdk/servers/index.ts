/**
 * MCP servers as programs and daemons hold them: child processes that speak lines, and what paths mean on this machine.
 * What speaks HTTP is in http.ts, a door of its own, since few need it and it takes time to load; child.ts is one for
 * whoever starts a server before anything else.
 */
import type * as Http from './http.ts';

export { type Child, type ChildOptions, type Ended, type EndSignal, startChild } from './child.ts';
export { createLineReader, createLineWriter } from './lines.ts';
export { createPaths, directoriesIn } from './paths.ts';
export {
  type ChildEndOptions,
  childEnd,
  isMessage,
  linkEnd,
  type ServerEnd,
  type ServerEvents,
  setPaused,
} from './server-end.ts';
export type { Upstream } from './http-client.ts';

export const loadHttp = (): Promise<typeof Http> => import('./http.ts');
