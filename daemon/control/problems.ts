import { COMMON_ERRORS, problemOf, type Problem, type Route } from '../../protocol/control/index.ts';
import { type ErrorCode, isMeshError, MeshError } from '../../protocol/index.ts';
import type { Logger } from '../ports.ts';

/** Any error as the problem that a client reads. What is not a coded error tells the client nothing but that. */
export function problemOfError(error: unknown, log: Logger, facts: object): Problem {
  const coded = codedOf(error);
  if (coded === undefined || coded.code === 'internal') {
    log.error({ ...facts, err: error }, 'request failed by a fault of the daemon');
    return problemOf('internal', 'Cannot answer: a fault of the daemon, whose log holds the detail');
  }
  return problemOf(coded.code, coded.message, coded.data);
}

function codedOf(error: unknown): MeshError | undefined {
  if (isMeshError(error)) return error;
  if (!(error instanceof Error)) return undefined;
  if (error.name === 'AbortError') return new MeshError('cancelled', 'Cannot answer: the request was cancelled');
  const { code, statusCode } = error as { code?: unknown; statusCode?: unknown };
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE')
    return new MeshError('too_large', 'Cannot accept the body: it is too large');
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
    return new MeshError('bad_request', 'Cannot accept the body: want content-type application/json');
  // Fastify's own complaints about a request; their texts may quote it.
  if (typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500) {
    return new MeshError('bad_request', 'Cannot read the request: it is not HTTP as this server wants it');
  }
  return undefined;
}

/** Whether the table says that the route may answer with this code. */
export const isListed = (code: ErrorCode, route: Route | undefined): boolean =>
  (COMMON_ERRORS as readonly ErrorCode[]).includes(code) || route === undefined || route.errors.includes(code);
