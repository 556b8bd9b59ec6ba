/**
 * The witness as C2SP tlog-witness has it, over HTTP, for logs and monitors that are no daemons of ours:
 *
 *   POST /add-checkpoint            GET /<hex SHA-256 of the origin>/checkpoint
 *
 * It may face the internet, so it says nothing but what a witness says, and everything has a bound.
 */
import type { AddressInfo } from 'node:net';
import fastify, { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { isMeshError, limits, MeshError } from '../../protocol/index.ts';
import { prefixOf } from '../core/address-prefix.ts';
import { plainAnswer, type TlogAnswer } from '../core/log/tlog-stream.ts';
import type { Witness } from '../core/log/witness.ts';
import { ADD_CHECKPOINT_PATH, answerWitness } from '../core/log/witness-stream.ts';
import type { Logger } from '../ports.ts';

export interface WitnessServerOptions {
  /** Port 0: any that is free. */
  readonly host: string;
  readonly port: number;
  readonly log: Logger;
  /** To send a request. Default API_HEADERS_MS. */
  readonly requestMs?: number;
}

export interface WitnessServer extends AsyncDisposable {
  /** http://<host>:<port>, below which the paths are. */
  readonly url: string;
  close(): Promise<void>;
}

/** Listens before it resolves. Errors: already_running (the port is taken), config_invalid (no such address here). */
export async function createWitnessServer(witness: Witness, options: WitnessServerOptions): Promise<WitnessServer> {
  const app = createApp(witness, options);
  const shown = options.host.includes(':') ? `[${options.host}]` : options.host;
  try {
    await app.listen({ host: options.host, port: options.port, exclusive: true });
  } catch (cause) {
    await app.close();
    throw refused(`${shown}:${options.port}`, cause);
  }
  const { port } = app.server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    await app.close();
  };
  return { url: `http://${shown}:${port}`, close, [Symbol.asyncDispose]: close };
}

function createApp(
  witness: Witness,
  { log, requestMs = limits.API_HEADERS_MS }: WitnessServerOptions,
): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: limits.ADD_CHECKPOINT_BYTES_MAX,
    requestTimeout: requestMs,
    connectionTimeout: limits.API_IDLE_MS,
    keepAliveTimeout: limits.API_IDLE_MS,
    forceCloseConnections: true, // what is under way is either stored or not; its sender asks again
    exposeHeadRoutes: false,
    http: { maxHeaderSize: limits.API_HEADER_BYTES_MAX, connectionsCheckingInterval: requestMs / 2 },
  });
  app.server.maxConnections = limits.API_CONNECTIONS_MAX;
  app.server.headersTimeout = Math.min(requestMs, limits.API_HEADERS_MS);
  app.removeAllContentTypeParsers();
  // The specification names no content type for requests.
  app.addContentTypeParser('*', { parseAs: 'buffer' }, async (_request: FastifyRequest, body: Buffer) => body);
  app.setErrorHandler((error: FastifyError, _request, reply) => answer(reply, answerToError(error, log)));
  app.setNotFoundHandler((_request, reply) => answer(reply, plainAnswer(404, 'no such path')));
  app.post(`/${ADD_CHECKPOINT_PATH}`, async (request, reply) => {
    const body = request.body instanceof Uint8Array ? request.body : new Uint8Array();
    return answer(reply, await answerWitness(witness, { path: ADD_CHECKPOINT_PATH, body }, submitterOf(request)));
  });
  app.get<{ Params: { hash: string } }>('/:hash/checkpoint', async (request, reply) => {
    const path = `${request.params.hash}/checkpoint`;
    return answer(reply, await answerWitness(witness, { path, body: new Uint8Array() }, submitterOf(request)));
  });
  return app;
}

/** Fastify adds a charset to the type of texts, which these types either have or must not have: so bytes. */
const answer = (reply: FastifyReply, { status, contentType, body }: TlogAnswer): FastifyReply =>
  reply
    .code(status)
    .headers({ 'content-type': contentType, 'cache-control': 'no-store', 'x-content-type-options': 'nosniff' })
    .send(Buffer.from(body));

/** Whose budget a request takes: a host's with all its addresses, as far as they show that they are one. */
function submitterOf({ ip }: FastifyRequest): string {
  const v4 = /^(?:::ffff:)?(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1];
  return `http ${prefixOf(v4 === undefined ? `/ip6/${ip}` : `/ip4/${v4}`)}`;
}

function answerToError(error: FastifyError, log: Logger): TlogAnswer {
  const { statusCode = 500 } = error;
  if (statusCode < 500) return plainAnswer(statusCode, 'bad request');
  if (isMeshError(error)) log.warn({ code: error.code, reason: error.message }, 'a witness request failed');
  else log.error({ error }, 'a witness request failed by a fault of this program');
  return plainAnswer(500, 'internal');
}

function refused(where: string, cause: unknown): unknown {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined;
  const data = { field: 'witness_listen' };
  if (code === 'EADDRINUSE')
    return new MeshError('already_running', `Cannot listen on "${where}": something is there`, data, { cause });
  if (code === 'EADDRNOTAVAIL' || code === 'ENOTFOUND' || code === 'EACCES')
    return new MeshError('config_invalid', `Cannot listen on "${where}": ${String(code)}`, data, { cause });
  return cause;
}
