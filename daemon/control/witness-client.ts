/** Asks a witness over HTTP (C2SP tlog-witness): one that is no daemon of ours, or whose daemon is out of reach. */
import { isMeshError, limits, MeshError } from '../../protocol/index.ts';
import { monitoringPath } from '../../protocol/log/index.ts';
import type { TlogAnswer } from '../core/log/tlog-stream.ts';
import { ADD_CHECKPOINT_PATH, type WitnessEndpoint } from '../core/log/witness-stream.ts';

/** `url` is the prefix of its paths, for submissions and for reading. */
export function witnessAtUrl(url: string): WitnessEndpoint {
  const prefix = url.endsWith('/') ? url : `${url}/`;
  return {
    addCheckpoint: (body, signal) => ask(`${prefix}${ADD_CHECKPOINT_PATH}`, { method: 'POST', body }, signal),
    readCheckpoint: (origin, signal) => ask(`${prefix}${monitoringPath(origin)}`, { method: 'GET' }, signal),
  };
}

/** Errors: unreachable, timeout, cancelled, too_large. */
async function ask(
  url: string,
  request: { readonly method: 'GET' | 'POST'; readonly body?: Uint8Array },
  signal: AbortSignal,
): Promise<TlogAnswer> {
  try {
    const response = await fetch(url, {
      method: request.method,
      signal,
      redirect: 'error', // a checkpoint goes where the configuration says
      ...(request.body === undefined ? {} : { body: Uint8Array.from(request.body) }),
    });
    const { status } = response;
    return { status, contentType: response.headers.get('content-type') ?? '', body: await readAll(response, url) };
  } catch (cause) {
    if (signal.aborted && isMeshError(signal.reason)) throw signal.reason;
    if (signal.aborted) throw new MeshError('cancelled', `Cannot ask "${url}": cancelled`, {}, { cause });
    if (isMeshError(cause)) throw cause;
    throw new MeshError('unreachable', `Cannot ask "${url}": ${reasonOf(cause)}`, {}, { cause });
  }
}

async function readAll(response: Response, url: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > limits.NOTE_BYTES_MAX)
      throw new MeshError('too_large', `Cannot ask "${url}": it answers with over ${limits.NOTE_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** fetch() says no more than that it failed; the cause knows why. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}
