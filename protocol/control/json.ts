import { scanJson } from '../encoding/json.ts';
import { MeshError } from '../errors.ts';

/** As JSON.parse, without what two readers may understand differently. Errors: bad_request. */
export function parseJsonStrict(text: string, depthMax: number): unknown {
  const { value, fault } = scanned(text, depthMax);
  if (fault !== undefined)
    throw new MeshError('bad_request', `Cannot accept the body: ${fault.why}`, { field: fault.field });
  return value;
}

function scanned(text: string, depthMax: number): ReturnType<typeof scanJson> {
  try {
    return scanJson(text, depthMax);
  } catch {
    // The engine's message quotes the text, which may hold a secret.
    throw new MeshError('bad_request', 'Cannot read the body: it is not JSON', { field: '' });
  }
}
